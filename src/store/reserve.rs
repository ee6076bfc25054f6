//! Room set aside for removals. Removing is written down before anything goes, and a disk that is full has no room for
//! that: `reserve`, a file of nothing, is given up for it, and made again when there is room.
//!
//! Nothing depends on it: that it is missing, or cannot be made, costs the removal on a full disk and nothing else.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{self, FallocateFlags, Mode, OFlags};

use super::{Layout, Store};

/// Bytes set aside: the database's log and the journal of an image of some fifty layers.
const SIZE: u64 = 512 << 10;
/// A disk without room for so many bytes more is full.
const NEEDED: u64 = 128 << 10;

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

impl Store {
    /// Sets room aside, unless it is: as much as there is, where there is little.
    pub fn set_room_aside(&self) {
        let path = self.layout().reserve();
        let there = fs::lstat(&path).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        for size in [SIZE, SIZE / 2, SIZE / 4, SIZE / 8] {
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
