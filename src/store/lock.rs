//! The locks of an object: who lives, and who is busy with it.
//!
//! The life lock is an open-file-description lock (`F_OFD_SETLK`) on the container's state file. Like `flock` it
//! belongs to the open file and so passes to the shim with the descriptor; unlike `flock` it can be asked about
//! without being taken (`F_OFD_GETLK`), so that a `ps` never makes a `start` fail. The operation lock is a `flock`
//! on the container's directory. Both vanish with their holder, however it ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::container::STATE_FILE;
use super::id::ContainerId;
use super::{Error, Layout, Result};
use crate::sys::Context;

/// Held for as long as a container's shim lives; the descriptor (close-on-exec) is handed down to it. Taken by
/// whoever starts the container.
#[derive(Debug)]
pub struct LifeLock(OwnedFd);

/// Held for the length of one operation on a container (start, rm, rename).
#[derive(Debug)]
pub struct OperationLock(#[allow(dead_code, reason = "held, not read")] OwnedFd);

impl LifeLock {
    /// That of a container whose directory is still in staging, and follows it to its name: nobody can have it.
    pub fn of_new(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE_FILE);
        take(&path)?.ok_or_else(|| crate::sys::Error::with_subject("lock", path, libc::EAGAIN).into())
    }
}

impl From<LifeLock> for OwnedFd {
    fn from(lock: LifeLock) -> Self {
        lock.0
    }
}

impl AsFd for LifeLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Layout {
    /// Takes the life lock. `None` when a shim holds it.
    pub fn life_lock(&self, id: &ContainerId) -> Result<Option<LifeLock>> {
        match take(&self.life_lock_path(id)) {
            Err(Error::Sys(e)) if e.is(libc::ENOENT) => Err(Error::NoSuchContainer(id.to_string())),
            other => other,
        }
    }

    /// Whether a shim holds the life lock. Asks without taking, so it never gets in the way of a start.
    pub fn life_lock_held(&self, id: &ContainerId) -> Result<bool> {
        Ok(self.look_in(id, |dir| held(&dir.join(STATE_FILE)))?.unwrap_or(false))
    }

    /// Waits until the shim is gone, and takes the lock. `None` when `patience` ends first.
    pub fn wait_life_lock(&self, id: &ContainerId, patience: Duration) -> Result<Option<LifeLock>> {
        // The kernel has no waiting with a limit here, and a shim is seldom waited for longer than its clearing up.
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(lock) = self.life_lock(id)? {
                return Ok(Some(lock));
            }
            let Some(left) = patience.checked_sub(begun.elapsed()).filter(|d| !d.is_zero()) else {
                return Ok(None);
            };
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Waits for whoever is busy with the container. `NoSuchContainer` when it is gone by then.
    pub fn operation_lock(&self, id: &ContainerId) -> Result<OperationLock> {
        let lock = self.lock_place(id)?;
        lock.map(OperationLock).ok_or_else(|| Error::NoSuchContainer(id.to_string()))
    }

    /// The lock of a network's directory, which whoever joins has, and its process when it goes. `None`: there is no
    /// such network (any more), or somebody has it and `operation` does not wait.
    pub fn network_lock(&self, id: &str, operation: FlockOperation) -> Result<Option<OwnedFd>> {
        lock_dir(&self.network_dir(id), operation)
    }

    pub(super) fn life_lock_path(&self, id: &ContainerId) -> std::path::PathBuf {
        self.container_dir(id).join(STATE_FILE)
    }
}

/// `None` when somebody holds it.
fn take(path: &Path) -> Result<Option<LifeLock>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::RUSR | Mode::WUSR).op_on("open", path)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(Some(LifeLock(file))),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(None),
        Err(e) => Ok(Err(e).op_on("lock", path)?),
    }
}

/// Whether the lock file at `path` is locked; `None` when there is no such file.
pub(super) fn held(path: &Path) -> Result<Option<bool>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.op_on("open", path)?,
    };
    let mut question = whole_file();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut question)).op_on("ask for the lock of", path)?;
    Ok(Some(i32::from(question.l_type) != libc::F_UNLCK))
}

#[allow(clippy::cast_possible_truncation, reason = "constants below ten, of types that differ by platform")]
fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Locks the directory at `path`, and makes sure that it is still the one at `path` once the lock is held. `None`
/// when there is none (any more). `EWOULDBLOCK` when it is held and the operation does not wait.
pub(super) fn lock_dir(path: &Path, operation: FlockOperation) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.op_on("open", path)?,
    };
    loop {
        match fs::flock(&dir, operation) {
            Err(Errno::INTR) => {}
            other => break other.op_on("lock", path)?,
        }
    }
    let held = fs::fstat(&dir).op_on("stat", path)?;
    match fs::lstat(path) {
        Ok(there) if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) => Ok(Some(dir)),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(e) => Ok(Err(e).op_on("stat", path)?),
    }
}
