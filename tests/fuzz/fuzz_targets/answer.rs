//! Bodies of errors, and `Link`: no panic, words of bounded length, and pages that have an address.
#![no_main]

use kelp::registry::answers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(answers::explanation(bytes).chars().count() <= 300);
    if let Ok(link) = std::str::from_utf8(bytes)
        && let Some(next) = answers::next_page("https://registry.example/v2/a/tags/list?n=100", link)
    {
        assert_eq!(answers::next_page(&next, &format!("<{next}>; rel=\"next\"")), Some(next));
    }
});
