//! Room set aside for removals, and for opening the database before them. Removing is written down before anything goes,
//! and a disk that is full has no room for that: `reserve`, a file of nothing, is given up for it, and made again when
//! there is room.
//!
//! Nothing depends on it: that it is missing, or cannot be made, costs the removal on a full disk and nothing else.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{self, FallocateFlags, Mode, OFlags};

use super::{Layout, Store};
use crate::sys::space::Space;

/// Bytes set aside: the database's log and the journal of an image of some fifty layers, and what opening the database
/// takes ten times.
const SIZE: u64 = 10 * PART;
/// A disk without room for so many bytes more is full.
const NEEDED: u64 = 128 << 10;
/// Bytes given up for an opening, and the parts in which less is set aside where there is less.
const PART: u64 = 192 << 10;
/// What SQLite maps of its index, four times: others may be writing to the disk until it is there.
const INDEX: u64 = 128 << 10;
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
    /// Gives up a part of what was set aside, for the database to be opened; whether there was any. A part, since others
    /// may be waiting for room, and stopping and removing a container takes several commands.
    pub(super) fn give_up_some_room(&self) -> bool {
        let path = self.reserve();
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let shrink = || {
            let file = fs::open(&path, flags, Mode::empty())?;
            let size = u64::try_from(fs::fstat(&file)?.st_size).unwrap_or(0);
            fs::ftruncate(&file, size.saturating_sub(PART)).map(|()| size > 0)
        };
        shrink().unwrap_or(false)
    }

    /// Whether the process could die of opening the database, instead of hearing that the disk is full: with blocks
    /// smaller than a page SQLite allocates a part of each page of its index, and the kernel the rest when it is written
    /// to, or sends SIGBUS.
    pub(super) fn is_dangerously_full(&self) -> bool {
        Space::at(self.root()).is_ok_and(|space| space.block < PAGE && space.bytes < INDEX)
    }

    /// Sets room aside, unless it is: as much as there is, where there is little. What is set aside already stays.
    pub(super) fn set_room_aside(&self) {
        let path = self.reserve();
        let there = fs::lstat(&path).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        if there >= SIZE {
            return;
        }
        let free = Space::at(self.root()).map_or(u64::MAX, |space| space.bytes).saturating_add(there);
        let sizes = (1..=SIZE / PART).rev().map(|parts| parts * PART);
        // The file system needs some of what is free for its own tables.
        for size in sizes.filter(|size| *size <= free).take_while(|size| *size > there) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(file) = fs::open(&path, flags, Mode::RUSR | Mode::WUSR) else { return };
            if fs::fallocate(&file, FallocateFlags::empty(), 0, size).is_ok() {
                return;
            }
            // What was allocated before it failed.
            let _ = if there == 0 { fs::unlink(&path) } else { fs::ftruncate(&file, there) };
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
