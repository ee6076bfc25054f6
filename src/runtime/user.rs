//! Who a process of the container is: docker's `USER` forms resolved against the image's own files.

use std::ffi::OsString;
use std::os::fd::AsFd;

/// Ids inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// For `setgroups`: the primary group, those of the image's group file, and `--group-add`; no duplicates.
    pub groups: Vec<u32>,
    /// The home directory of the passwd entry, `/` without one.
    pub home: OsString,
}

/// Why a user cannot be used. Displayed as docker words it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoSuchUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoSuchGroup(String),
    #[error("uids and gids must be in range 0-2147483647: `{0}`")]
    OutOfRange(String),
    #[error("/etc/{file} of the container cannot be used: {reason}")]
    File { file: &'static str, reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Looks up `user` (docker's forms; empty is root) and `additional` groups in `/etc/passwd` and `/etc/group`
/// below `root`, a directory descriptor.
pub fn resolve(_root: impl AsFd, _user: &str, _additional: &[String]) -> Result<Identity> {
    todo!()
}
