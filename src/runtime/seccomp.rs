//! Seccomp: profiles in docker's format, compiled to BPF.

use std::path::Path;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("seccomp profile: {0}")]
    Profile(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// kelp's default profile.
pub const DEFAULT_PROFILE: &str = "";

/// A parsed profile.
#[derive(Debug, Clone)]
pub struct Profile {}

impl Profile {
    pub fn parse(_text: &str) -> Result<Self> {
        todo!()
    }
}

/// Assembles the filter for a process that may use the capabilities of the mask `capabilities`, on the running
/// kernel. The bytes are an array of `struct sock_filter` in the machine's byte order.
pub fn compile(_profile: &Profile, _capabilities: u64) -> Result<Vec<u8>> {
    todo!()
}

/// [`compile`] of a profile's text, remembered below `cache` (created when missing). A cache that cannot be
/// written or was tampered with only costs time.
pub fn cached(_cache: &Path, _text: &str, _capabilities: u64) -> Result<Vec<u8>> {
    todo!()
}
