//! What a container has made of its layers: its writable layer against those below it. Where there is no such layer,
//! [`super::compare`] finds the same.
//!
//! Two readings of the same walk. [`changes`] is what `diff` shows: what differs between the tree as it is and the
//! tree of the layers below, by docker's measure (kind, mode, owner, device, capabilities; of what is no directory
//! also size and time), so a file that was only opened for writing does not count. [`walk_layer`] is what `commit`
//! stores: all that the writable layer holds, in the order in which it is to be unpacked.
//!
//! To be called as root of the user namespace, by a process that may have many files open
//! ([`crate::sys::limits::many_files`]): one for each directory on the way, in each layer.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat};

use super::merged::{self, Merged, Says};
use crate::sys::Result;

/// Why a walk ends early.
pub use crate::sys::Error;

/// As the kernel: no path of a container's is longer. Also the bound of how deep a walk goes.
const MAX_PATH: usize = 4095;

/// docker's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Changed,
    Deleted,
}

/// One line of `diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    /// Absolute.
    pub path: Vec<u8>,
}

/// The changes that `upper` makes to the tree of `lower`. Of `parted`, a root made of several overlays, the top
/// directories themselves are not the container's doing.
pub(super) fn changes(upper: &OwnedFd, lower: &Merged, parted: bool) -> Result<Vec<Change>> {
    let mut walk = Changes { found: Vec::new(), parted };
    walk.directory(upper, lower, &mut Vec::new(), false)?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

struct Changes {
    found: Vec<Change>,
    parted: bool,
}

impl Changes {
    fn add(&mut self, kind: Kind, path: &[u8]) {
        self.found.push(Change { kind, path: path.to_vec() });
    }

    fn directory(&mut self, upper: &OwnedFd, lower: &Merged, path: &mut Vec<u8>, opaque: bool) -> Result<()> {
        let names = merged::names(upper)?;
        if opaque {
            // What is not here any more has no whiteout.
            for name in lower.names()?.into_iter().filter(|name| !names.contains(name)) {
                self.add(Kind::Deleted, &joined(path, name.as_bytes()));
            }
        }
        for name in names {
            let (length, name) = (path.len(), OsStr::from_bytes(name.as_bytes()));
            match merged::says(upper, name, lower.hiding())? {
                Says::Is(stat) => {
                    push(path, name.as_bytes())?;
                    self.entry(upper, lower, (name, &stat), path, opaque)?;
                    path.truncate(length);
                }
                Says::Hidden(name) if lower.look(name)?.is_some() => {
                    self.add(Kind::Deleted, &joined(path, name.as_bytes()));
                }
                Says::Hidden(_) | Says::Nothing => {}
            }
        }
        Ok(())
    }

    /// `opaque`: of the directory, the layers below show nothing, so neither do they of those in it.
    fn entry(
        &mut self,
        upper: &OwnedFd,
        lower: &Merged,
        (name, stat): (&OsStr, &Stat),
        path: &mut Vec<u8>,
        opaque: bool,
    ) -> Result<()> {
        let below = lower.look(name)?;
        let is_top = path.iter().filter(|b| **b == b'/').count() == 1;
        let kind = match &below {
            None => Some(Kind::Added),
            Some(_) if self.parted && is_top => None,
            Some(node) if differ(stat, upper.as_fd(), &node.stat, lower.holder(node), name) => {
                Some(Kind::Changed)
            }
            Some(_) => None,
        };
        if let Some(kind) = kind {
            self.add(kind, path);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let Some(dir) = merged::open(upper, name)? else { return Ok(()) };
        let opaque = opaque || merged::is_opaque(&dir);
        let beneath = match &below {
            // What lies below and is closed to this user matters only where something lies over it.
            Some(node) if node.is_directory() && (opaque || !merged::names(&dir)?.is_empty()) => {
                lower.enter(name)?
            }
            _ => lower.empty(),
        };
        let before = self.found.len();
        self.directory(&dir, &beneath, path, opaque)?;
        // As docker: a directory in which something has changed has changed.
        if kind.is_none() && self.found.len() > before {
            self.add(Kind::Changed, path);
        }
        Ok(())
    }
}

/// docker's measure of a change.
pub(super) fn differ(
    new: &Stat,
    upper: BorrowedFd<'_>,
    old: &Stat,
    lower: BorrowedFd<'_>,
    name: &OsStr,
) -> bool {
    let is_directory = FileType::from_raw_mode(new.st_mode) == FileType::Directory;
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    new.st_mode != old.st_mode
        || (new.st_uid, new.st_gid, new.st_rdev) != (old.st_uid, old.st_gid, old.st_rdev)
        || !is_directory && (new.st_size != old.st_size || time(new) != time(old))
        || FileType::from_raw_mode(new.st_mode) == FileType::RegularFile
            && capability(upper, name) != capability(lower, name)
}

fn capability(dir: BorrowedFd<'_>, name: &OsStr) -> Option<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, std::path::Path::new(name), flags, Mode::empty()).ok()?;
    let mut value = [0u8; 64];
    let length = rustix::fs::fgetxattr(file, "security.capability", &mut value).ok()?;
    value.get(..length).map(<[u8]>::to_vec)
}

pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path, name].join(&b'/')
}

pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) -> Result<()> {
    path.push(b'/');
    path.extend_from_slice(name);
    if path.len() > MAX_PATH {
        let subject = std::path::Path::new(OsStr::from_bytes(path));
        return Err(Error::with_subject("walk to", subject, libc::ENAMETOOLONG));
    }
    Ok(())
}

/// What a layer is made of. Paths have no slash before them; a directory comes before what is in it.
#[derive(Debug)]
pub enum Part<'a> {
    /// What `name` is in `dir`.
    Entry { dir: BorrowedFd<'a>, name: &'a OsStr, path: &'a [u8] },
    /// `path` is gone from the layers below.
    Whiteout { path: &'a [u8] },
    /// Of the directory `path`, the layers below show nothing.
    Opaque { path: &'a [u8] },
}

/// Hands `each` all that `upper` holds over `lower`.
pub(super) fn walk_layer<E: From<Error>>(
    upper: &OwnedFd,
    lower: &Merged,
    each: &mut dyn FnMut(Part<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    walk_directory(upper, lower, &mut Vec::new(), each)
}

fn walk_directory<E: From<Error>>(
    upper: &OwnedFd,
    lower: &Merged,
    path: &mut Vec<u8>,
    each: &mut dyn FnMut(Part<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    for name in merged::names(upper)? {
        let length = path.len();
        push(path, name.as_bytes())?;
        let name = OsStr::from_bytes(name.as_bytes());
        match merged::says(upper, name, lower.hiding())? {
            Says::Hidden(hidden) if lower.look(hidden)?.is_some() => {
                each(Part::Whiteout { path: &joined(&path[..length], hidden.as_bytes())[1..] })?;
            }
            Says::Hidden(_) | Says::Nothing => {}
            Says::Is(stat) => {
                let below = lower.look(name)?;
                each(Part::Entry { dir: upper.as_fd(), name, path: &path[1..] })?;
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if let Some(dir) = is_directory.then(|| merged::open(upper, name)).transpose()?.flatten() {
                    let beneath = match &below {
                        Some(node) if node.is_directory() => lower.enter(name)?,
                        _ => lower.empty(),
                    };
                    if merged::is_opaque(&dir) && !beneath.names()?.is_empty() {
                        each(Part::Opaque { path: &path[1..] })?;
                    }
                    walk_directory(&dir, &beneath, path, each)?;
                }
            }
        }
        path.truncate(length);
    }
    Ok(())
}

/// Hands `each` all that the merged tree holds, a directory before what is in it.
pub(super) fn walk_merged<E: From<Error>>(
    tree: &Merged,
    each: &mut dyn FnMut(Part<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    walk_whole(tree, &mut Vec::new(), each)
}

fn walk_whole<E: From<Error>>(
    tree: &Merged,
    path: &mut Vec<u8>,
    each: &mut dyn FnMut(Part<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    for name in tree.names()? {
        let length = path.len();
        push(path, name.as_bytes())?;
        let name = OsStr::from_bytes(name.as_bytes());
        if let Some(node) = tree.look(name)? {
            each(Part::Entry { dir: tree.holder(&node), name, path: &path[1..] })?;
            if node.is_directory() {
                walk_whole(&tree.enter(name)?, path, each)?;
            }
        }
        path.truncate(length);
    }
    Ok(())
}
