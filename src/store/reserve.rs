//! Room set aside for removals. Removing is written down before anything goes, and a disk that is full has no room for
//! that: `reserve`, a file of nothing, is given up for it, and made again when there is room.
//!
//! Nothing depends on it: that it is missing, or cannot be made, costs the removal on a full disk and nothing else.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{self, FallocateFlags, Mode, OFlags};

use super::{Layout, Result, Store};
use crate::sys;
use crate::sys::space::Space;

/// Bytes set aside: the database's log and the journal of an image of some fifty layers.
const SIZE: u64 = 512 << 10;
/// A disk without room for so many bytes more is full.
const NEEDED: u64 = 128 << 10;
/// The parts in which less is set aside where there is less.
const STEPS: u64 = 16;
/// What SQLite maps of its index, and a little.
const INDEX: u64 = 64 << 10;
const PAGE: u64 = 4096;

impl Layout {
    fn reserve(&self) -> PathBuf {
        self.root().join("reserve")
    }
}

/// What was set aside may be used. Dropped, it is set aside again where there is room.
#[derive(Debug)]
pub struct Room<'a>(&'a Store);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.set_room_aside();
    }
}

impl Layout {
    /// For the database to be opened: SQLite lays its index out anew, and has it mapped. On a full disk gives up what
    /// was set aside; the caller sets it aside again when the database is open. Whether it did.
    ///
    /// With blocks smaller than a page SQLite allocates a part of each page of the index, and the kernel the rest when it
    /// is written to: without room the process would die of SIGBUS.
    pub(super) fn make_room_to_open(&self) -> Result<bool> {
        let space = || Space::at(self.root()).ok();
        if space().is_none_or(|space| space.bytes >= NEEDED) {
            return Ok(false);
        }
        let _ = fs::unlink(self.reserve());
        match space() {
            Some(left) if left.bytes < INDEX && left.block < PAGE => {
                Err(sys::Error::with_subject("open", self.database(), libc::ENOSPC).into())
            }
            _ => Ok(true),
        }
    }

    /// Sets room aside, unless it is: as much as there is, where there is little.
    pub(super) fn set_room_aside(&self) {
        let path = self.reserve();
        let there = fs::lstat(&path).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        for size in (1..=STEPS).rev().map(|n| SIZE / STEPS * n) {
            if there >= size {
                return;
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
                .and_then(|file| fs::fallocate(file, FallocateFlags::empty(), 0, size));
            if made.is_ok() {
                return;
            }
            // What was allocated of it before it failed.
            let _ = fs::unlink(&path);
        }
    }
}

impl Store {
    /// Sets room aside, unless it is.
    pub fn set_room_aside(&self) {
        self.layout().set_room_aside();
    }

    /// For a removal, before it writes anything: on a full disk gives up what was set aside.
    pub fn make_room(&self) -> Room<'_> {
        if !self.has_room() {
            let _ = fs::unlink(self.layout().reserve());
        }
        Room(self)
    }

    /// Tried, not asked: quotas count as well. A file system that cannot be tried has room.
    fn has_room(&self) -> bool {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let Ok(file) = fs::open(self.root(), flags, Mode::RUSR | Mode::WUSR) else { return true };
        let tried = fs::fallocate(File::from(file), FallocateFlags::empty(), 0, NEEDED);
        !matches!(tried, Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT))
    }
}
