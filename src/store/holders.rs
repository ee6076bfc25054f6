//! Who holds the user namespace that a user's containers share: `userns` in the store, a line for each shim that made
//! or joined it.
//!
//! A line is believed only if pid, start time and the namespace's inode all agree, so a recycled pid leads nowhere; the
//! newest are asked first. Whoever joins does so and adds its line under a shared `userns.lock`; whoever makes a new
//! namespace, because nobody lives who has one, holds it alone and begins the file anew. So a living holder is always
//! in it, and however many containers there are, none but its lines are looked at.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::userns::Patience;
use super::{Layout, Result};
use crate::sys::{Context, process};

const FILE: &str = "userns";
const LOCK: &str = "userns.lock";
/// Beyond this the lines of the dead are dropped, in bytes: some eighty lines.
const LONG: u64 = 2 << 10;
/// What is read of the file.
const LIMIT: u64 = 64 << 10;

/// A process that holds the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: u32,
    start: u64,
    inode: u64,
}

impl Holder {
    fn this_process() -> Result<Self> {
        let pid = std::process::id();
        let inode = rustix::fs::stat("/proc/self/ns/user").op("stat own user namespace")?.st_ino;
        Ok(Self { pid, start: process::start_time(pid).unwrap_or_default(), inode })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace();
        Some(Self {
            pid: numbers.next()?.parse().ok()?,
            start: numbers.next()?.parse().ok()?,
            inode: numbers.next()?.parse().ok()?,
        })
    }

    fn line(&self) -> String {
        format!("{} {} {}\n", self.pid, self.start, self.inode)
    }

    /// The namespace, if the process is still the one that was named.
    fn open(&self) -> Option<OwnedFd> {
        let namespace = process::namespace(self.pid, "user").ok()?;
        let inode = rustix::fs::fstat(&namespace).ok()?.st_ino;
        (inode == self.inode && process::start_time(self.pid) == Some(self.start)).then_some(namespace)
    }
}

/// How the lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Shared,
    Alone,
}

/// The lock on the file. `None`: it would have to be waited for.
pub(super) fn lock(root: &Path, hold: Hold, patience: Patience) -> Result<Option<OwnedFd>> {
    let operation = match (hold, patience) {
        (Hold::Shared, Patience::Endless) => FlockOperation::LockShared,
        (Hold::Shared, Patience::None) => FlockOperation::NonBlockingLockShared,
        (Hold::Alone, Patience::Endless) => FlockOperation::LockExclusive,
        (Hold::Alone, Patience::None) => FlockOperation::NonBlockingLockExclusive,
    };
    Layout::new(root).lock_file(LOCK, operation)
}

/// A living holder.
pub(super) fn living(root: &Path) -> Option<Holder> {
    read(root).into_iter().rev().find(|holder| holder.open().is_some())
}

/// Makes the calling process root of the namespace of a living holder. `false`: there is none.
pub(super) fn join(root: &Path) -> bool {
    let namespaces = read(root).into_iter().rev().filter_map(|holder| holder.open());
    namespaces.into_iter().any(|namespace| process::enter(namespace, libc::CLONE_NEWUSER).is_ok())
}

/// Adds the calling process, which has joined under a `shared` lock, of which this is the end.
pub(super) fn enlist(root: &Path, shared: OwnedFd) -> Result<()> {
    let path = root.join(FILE);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).op_on("open", &path)?;
    let mut file = std::fs::File::from(file);
    file.write_all(Holder::this_process()?.line().as_bytes()).op_on("write", &path)?;
    if file.metadata().op_on("stat", &path)?.len() > LONG {
        drop(shared);
        // Another time, where others are at it.
        let Some(_alone) = lock(root, Hold::Alone, Patience::None)? else { return Ok(()) };
        let living: Vec<_> = read(root).into_iter().filter(|holder| holder.open().is_some()).collect();
        write(root, &living)?;
    }
    Ok(())
}

/// Names the calling process as the only holder, of a namespace that it has made. It has the lock alone.
pub(super) fn begin(root: &Path) -> Result<()> {
    write(root, &[Holder::this_process()?])
}

fn read(root: &Path) -> Vec<Holder> {
    let mut text = String::with_capacity(1024);
    let read =
        std::fs::File::open(root.join(FILE)).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    read.map_or_else(|_| Vec::new(), |_| text.lines().filter_map(Holder::parse).collect())
}

fn write(root: &Path, holders: &[Holder]) -> Result<()> {
    let temporary = root.join(format!("{FILE}.{}", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(0o600)).op_on("create", &temporary)?;
    let text: String = holders.iter().map(Holder::line).collect();
    std::fs::File::from(fd).write_all(text.as_bytes()).op_on("write", &temporary)?;
    rustix::fs::rename(&temporary, root.join(FILE)).op_on("rename", &temporary)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(root: &Path) -> OwnedFd {
        lock(root, Hold::Shared, Patience::Endless).unwrap().unwrap()
    }

    #[test]
    fn the_living_are_found_among_the_dead() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(living(dir.path()), None);
        enlist(dir.path(), shared(dir.path())).unwrap();
        let own = Holder::this_process().unwrap();
        // The same pid at another time, and another namespace.
        let recycled = Holder { start: own.start + 1, ..own };
        let elsewhere = Holder { inode: own.inode + 1, ..own };
        write(dir.path(), &[own, recycled, elsewhere]).unwrap();
        assert_eq!(living(dir.path()), Some(own));
        write(dir.path(), &[recycled, elsewhere]).unwrap();
        assert_eq!(living(dir.path()), None);
    }

    #[test]
    fn a_torn_line_is_nobody() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path()).unwrap();
        let mut file = std::fs::File::create(dir.path().join(FILE)).unwrap();
        file.write_all(b"12 34\nx y z\n\n1").unwrap();
        assert_eq!(read(dir.path()), []);
    }

    #[test]
    fn a_long_list_is_cut_to_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let own = Holder::this_process().unwrap();
        let dead = Holder { start: own.start + 1, ..own };
        write(dir.path(), &vec![dead; 100]).unwrap();
        enlist(dir.path(), shared(dir.path())).unwrap();
        assert_eq!(read(dir.path()), [own]);
    }
}
