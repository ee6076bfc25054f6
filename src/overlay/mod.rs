//! The union file system: any number of read-only directories and one that is written to, shown as one tree.
//!
//! The format on disk is the kernel overlay's own in its `userxattr` dress: character devices 0:0 hide a name,
//! `user.overlay.opaque` hides what lies under a directory. What one driver wrote the other reads.
//!
//! What happens to a request, in the order in which it passes:
//!
//! 1. `adapter` takes it from the kernel (crate `fuser`), counts it, and answers with what the logic returns.
//! 2. `inode` knows which node a number means: its place in the tree, its layer, how often the kernel was told it;
//!    `number` which number a file has.
//! 3. `place` turns a node into descriptors. Nothing is opened by a path from outside the layers, no link followed.
//! 4. `lookup` and `readdir` merge the layers; `attr`, `xattr`, `flags`, `file` and `seek` serve one object; `create`,
//!    `remove` and `rename` change names; whatever changes an object from below has it brought up first by `copy_up`,
//!    and `settle` has the disk begin to write it. `late` tells writers of what no longer fitted, `syncing` waits for
//!    the disk.
//! 5. `company` decides which of the workers takes requests, and on which processor; `linger` has one that is to wait
//!    for the next look out for it first; `threads` has others begin threads and do what takes long, where a worker must not.
//! 6. `whiteout` is the format of what is hidden, `owner` that of ids that cannot be on disk as they are shown.
//!
//! Ids are the kernel's to translate: the mount belongs to the user namespace that sees it, whatever its map, and what
//! is stored are the numbers that are seen in there.
//!
//! Nobody else may write to the layers while they are mounted: the kernel is told to believe what it has seen for
//! ever. Names are bytes. Every failure is an errno; a malformed request is an error reply.
//!
//! Two ways of the kernel's around the server are not gone. Passthrough of reads is refused to whoever is not root of
//! the machine (`EPERM` for a backing file), and costs an OPEN a file; requests through io_uring need a module
//! parameter (`fuse.enable_uring`) that root sets. Who is root has the kernel's overlay.

mod adapter;
mod attr;
mod company;
mod copy_up;
mod counts;
mod create;
mod file;
mod flags;
mod inode;
mod late;
mod linger;
mod lookup;
mod lru;
mod number;
mod owner;
mod place;
mod readdir;
mod remove;
mod rename;
mod seek;
mod serve;
mod settle;
mod syncing;
mod threads;
mod whiteout;
mod wire;
mod xattr;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::io::Errno;

pub use counts::{Counts, Operation};
pub use owner::Owners;
pub use serve::{Mounted, Server, mount};

/// What logic returns.
type Result<T> = std::result::Result<T, Errno>;

/// The directories that make the tree. Descriptors of directories; `O_PATH` will do.
#[derive(Debug)]
pub struct Layers {
    /// From the top one down.
    pub lowers: Vec<OwnedFd>,
    /// Without one the tree is read-only.
    pub upper: Option<Upper>,
}

/// Where changes go. Both are on one file system.
#[derive(Debug)]
pub struct Upper {
    pub dir: OwnedFd,
    /// Used alone by this mount; what is in its `work` is removed.
    pub work: OwnedFd,
}

/// How the tree is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nothing written needs to survive a crash of the machine: fsync does nothing.
    pub volatile: bool,
    pub owners: Owners,
    /// Threads that answer requests; at least one.
    pub workers: usize,
    /// Each of them has a clone of the device, which some kernels give only in the user namespace that opened it.
    pub clone_device: bool,
}

impl Default for Options {
    fn default() -> Self {
        // Two at a time: more find nothing to do, what they wait for is the disk and the kernel's locks. The third is the
        // companion, who works alone. On a single processor two only take turns, which costs a tenth.
        let single = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        let workers = if single { 1 } else { 3 };
        Self { volatile: false, owners: Owners::AsStored, workers, clone_device: true }
    }
}

/// Number of a layer; 0 is the top.
type LayerIndex = u16;

/// The number of the root, to the kernel and to us.
const ROOT: u64 = 1;

/// The file system's state.
struct Overlay {
    layers: Vec<Arc<OwnedFd>>,
    /// The directory that files are finished in before they get their names. `None`: read-only.
    work: Option<OwnedFd>,
    volatile: bool,
    owners: Owners,
    hides: whiteout::Form,
    table: Mutex<inode::Table>,
    dirs: Mutex<lru::Lru<(u64, LayerIndex), OwnedFd>>,
    files: Mutex<lru::Lru<u64, file::Data>>,
    /// Held, shared, while files without a name are let go and the disk clears them away.
    clearing: RwLock<()>,
    listings: Mutex<lru::Lru<u64, readdir::Listing>>,
    copying: copy_up::Turns,
    temporary: AtomicU64,
    settling: settle::Settling,
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("layers", &self.layers.len()).finish_non_exhaustive()
    }
}

impl Overlay {
    /// The work directory, or the answer to whoever wants to write without one.
    fn work(&self) -> Result<&OwnedFd> {
        self.work.as_ref().ok_or(Errno::ROFS)
    }

    /// A name in the work directory that nothing has.
    fn temporary_name(&self) -> String {
        format!("#{:x}", self.temporary.fetch_add(1, Ordering::Relaxed))
    }

    fn has_upper(&self) -> bool {
        self.work.is_some()
    }
}

/// A thread that panicked left nothing half done that the others may not see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as requests bring it. Refuses what could leave the directory.
fn checked(name: &[u8]) -> Result<&[u8]> {
    let plain =
        !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0));
    match plain {
        false => Err(Errno::INVAL),
        true if name.len() > 255 => Err(Errno::NAMETOOLONG),
        true => Ok(name),
    }
}
