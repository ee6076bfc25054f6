//! The room that a file system has left for this user, statvfs(3). A quota of the user's does not show in it.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfs;

use super::{Context, Result};

/// What is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// `u64::MAX` where the file system counts no blocks, as ramfs.
    pub bytes: u64,
    /// Bytes that are allocated at once.
    pub block: u64,
}

impl Space {
    /// Of the file system that a file lies on.
    pub fn around(file: impl AsFd) -> Result<Self> {
        rustix::fs::fstatvfs(file).op("statvfs").map(Self::of)
    }

    /// Of the file system that `path` leads to.
    pub fn at(path: &Path) -> Result<Self> {
        rustix::fs::statvfs(path).op_on("statvfs", path).map(Self::of)
    }

    fn of(stat: StatVfs) -> Self {
        let bytes = if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(stat.f_frsize) };
        Self { bytes, block: stat.f_frsize }
    }
}
