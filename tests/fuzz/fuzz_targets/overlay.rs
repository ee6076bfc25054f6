//! FUSE requests, hundreds of them from a short input: every one is answered, and nothing outside the upper layer is
//! touched.
//!
//! Inputs of one length serve best: `-len_control=0 -max_len=2000`. Devices that it may make are made: run it as root
//! of a user namespace only.
#![no_main]
#![allow(dead_code, reason = "the other target uses the rest")]

use libfuzzer_sys::fuzz_target;

#[path = "../../overlay/hostile.rs"]
mod hostile;
#[path = "../../overlay/requests.rs"]
mod requests;
#[path = "../../overlay/sequence.rs"]
mod sequence;

fuzz_target!(|bytes: &[u8]| {
    let base = tempfile::tempdir().expect("a directory of its own");
    requests::play(base.path(), bytes);
});
