//! Seccomp: profiles in docker's format, compiled to BPF, remembered in a cache.
//!
//! The compiler is kelp's own. A filter runs at every system call and is loaded at every start, and both cost by
//! the length of the path to an answer: a binary search over the numbers loads in 47 µs where the linear list that
//! the `seccompiler` crate makes takes 354; the crate also knows no i386 and no comparison of 32-bit arguments.
//!
//! What must hold: the architecture is checked before any number; x32 numbers get ENOSYS; a number that no table
//! here knows gets ENOSYS instead of the default, when that is an errno, so that C libraries fall back; arguments
//! that the kernel takes as 32-bit ints are compared as such, so that bits above cannot hide a forbidden value.
//!
//! Where several rules match one call: rules with conditions go before rules without, and among the matching the
//! most restrictive acts, in the kernel's own order (kill, trap, errno, trace, log, allow).

mod bpf;
mod cache;
mod profile;
mod table_aarch64;
mod table_i386;
mod table_x86_64;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use bpf::compile;
pub use profile::Profile;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seccomp profile: {0}")]
    Profile(String),
    #[error("seccomp profile: {0} is not built yet")]
    NotBuilt(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// kelp's default profile.
pub const DEFAULT_PROFILE: &str = include_str!("../../../config/seccomp.json");

/// [`compile`] of a profile's text for the running kernel, remembered below `cache` (created when missing). A cache
/// that cannot be written or was tampered with only costs time.
pub fn cached(cache: &Path, text: &str, capabilities: u64) -> Result<Vec<u8>> {
    let kernel = profile::running_kernel();
    let key = cache::key(text, capabilities, kernel);
    if let Some(filter) = cache::read(cache, &key) {
        return Ok(filter);
    }
    let filter = compile(&Profile::parse(text)?, capabilities, kernel)?;
    // Only the next start's time is at stake.
    let _ = cache::write(cache, &key, &filter);
    Ok(filter)
}
