//! Layers as nobody makes them: whiteouts of all forms of everything, absurd names, pipes and sockets, marks on what is
//! no directory, attributes of every size. All of it is looked at, then changed; nothing outside the upper layer is
//! touched.
//!
//! As for `overlay`: `-len_control=0 -max_len=2000`, as root of a user namespace; once with `TMPDIR` on a ramfs, which
//! keeps no attributes.
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
    requests::explore(base.path(), bytes);
});
