//! `WWW-Authenticate`: no panic, no endless loop, and no more challenges than the header has room for.
#![no_main]

use kelp::registry::answers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    assert!(answers::challenges(header) <= header.len() / "basic".len());
});
