//! FUSE requests over hostile layers: every one is answered, and nothing outside the layers is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../overlay/requests.rs"]
mod requests;

fuzz_target!(|bytes: &[u8]| {
    let base = tempfile::tempdir().expect("a directory of its own");
    requests::play(base.path(), bytes);
});
