//! Requests counted by kind: a round trip to the server is what a FUSE file system costs, so tests hold budgets of
//! them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of requests, as [`Counts`] tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Operation {
    Lookup,
    Forget,
    GetAttr,
    SetAttr,
    ReadLink,
    MkNod,
    MkDir,
    Unlink,
    RmDir,
    Symlink,
    Rename,
    Link,
    Open,
    Read,
    Write,
    Flush,
    Fsync,
    OpenDir,
    ReadDir,
    ReadDirPlus,
    FsyncDir,
    StatFs,
    SetXattr,
    GetXattr,
    ListXattr,
    RemoveXattr,
    Create,
    Ioctl,
    Fallocate,
    Seek,
    CopyRange,
    Other,
}

const OPERATIONS: usize = Operation::Other as usize + 1;

/// Requests since the beginning, by kind.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; OPERATIONS]);

impl Counts {
    pub fn of(&self, operation: Operation) -> u64 {
        self.0.get(operation as usize).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    /// All that the caller waited for: everything but forgets, which have no reply.
    pub fn round_trips(&self) -> u64 {
        let all: u64 = self.0.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        all - self.of(Operation::Forget)
    }

    pub(super) fn count(&self, operation: Operation) {
        if let Some(n) = self.0.get(operation as usize) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }
}
