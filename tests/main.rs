//! The integration tests: the real binary, a real kernel, real images, an unprivileged user.
//!
//! One module for each noun of the command line under `suite`; `harness` owns accounts, homes, time limits and
//! the check that a test leaves nothing behind. Refuses mocks, and tests that skip themselves.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has to fail, and says where")]
#![allow(
    clippy::disallowed_methods,
    reason = "the fences of src/ keep the binary's rooms apart, not its tests"
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::print_stderr, reason = "what a test prints is shown when it fails")]

mod harness;
mod suite;
