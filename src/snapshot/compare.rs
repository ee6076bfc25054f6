//! What a container has made of its root where that is a copy of its layers: the tree as it is against the layers.
//!
//! Two measures. What `diff` shows is docker's ([`diff::differ`]), so that it says the same on every driver. What
//! `commit` stores must be all: what the container has touched since the copy was complete, which the time of an
//! inode's last change gives away and nobody can set, is compared to the last byte.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::attributes::{self, Side};
use super::copy::Moment;
use super::diff::{Change, Kind, Part, differ, joined, push};
use super::merged::{Merged, Node};
use crate::sys::{Context, Error, Result, path};

/// How much of a difference counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    Shown,
    /// The copy was complete at this moment.
    Stored(Moment),
}

/// What `tree` has that `layers` have not, by path.
pub(super) fn changes(tree: &Merged, layers: &Merged, measure: Measure) -> Result<Vec<Change>> {
    let mut walk = Walk { found: Vec::new(), measure };
    walk.directory(tree, layers, &mut Vec::new())?;
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

/// Hands `each` the changes as a layer has them, a directory before what is in it.
pub(super) fn walk_layer<E: From<Error>>(
    root: &OwnedFd,
    changes: &[Change],
    each: &mut dyn FnMut(Part<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    for change in changes {
        let path = change.path.get(1..).unwrap_or_default();
        if change.kind == Kind::Deleted {
            each(Part::Whiteout { path })?;
            continue;
        }
        let whole = Path::new(OsStr::from_bytes(path));
        let (Some(name), Some(above)) = (whole.file_name(), whole.parent()) else { continue };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let place = path::place_in(root, above.join(name), false)?;
        each(Part::Entry { dir: place.dir.as_fd(), name, path })?;
    }
    Ok(())
}

struct Walk {
    found: Vec<Change>,
    measure: Measure,
}

impl Walk {
    fn directory(&mut self, tree: &Merged, layers: &Merged, path: &mut Vec<u8>) -> Result<()> {
        let names = tree.names()?;
        for name in layers.names()? {
            // Both are sorted.
            if names.binary_search(&name).is_err() {
                self.found.push(Change { kind: Kind::Deleted, path: joined(path, name.as_bytes()) });
            }
        }
        for name in names {
            let length = path.len();
            push(path, name.as_bytes())?;
            self.entry(tree, layers, OsStr::from_bytes(name.as_bytes()), path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, tree: &Merged, layers: &Merged, name: &OsStr, path: &mut Vec<u8>) -> Result<()> {
        let Some(node) = tree.look(name)? else { return Ok(()) };
        let below = layers.look(name)?;
        let new = Seen { dir: tree.holder(&node), name, node: &node };
        let kind = match &below {
            None => Some(Kind::Added),
            Some(old) => {
                let old = Seen { dir: layers.holder(old), name, node: old };
                self.is_change(&new, &old)?.then_some(Kind::Changed)
            }
        };
        if let Some(kind) = kind {
            self.found.push(Change { kind, path: path.clone() });
        }
        if !node.is_directory() {
            return Ok(());
        }
        let beneath = match &below {
            Some(old) if old.is_directory() => layers.enter(name)?,
            _ => layers.empty(),
        };
        let before = self.found.len();
        self.directory(&tree.enter(name)?, &beneath, path)?;
        // As docker: a directory in which something has changed has changed.
        if kind.is_none() && self.found.len() > before {
            self.found.push(Change { kind: Kind::Changed, path: path.clone() });
        }
        Ok(())
    }

    fn is_change(&self, new: &Seen<'_>, old: &Seen<'_>) -> Result<bool> {
        if differ(&new.node.stat, new.dir, &old.node.stat, old.dir, new.name) {
            return Ok(true);
        }
        match self.measure {
            Measure::Stored(complete) if changed_at(&new.node.stat) >= complete => is_touched(new, old),
            _ => Ok(false),
        }
    }
}

/// A name in one of the two.
struct Seen<'a> {
    dir: BorrowedFd<'a>,
    name: &'a OsStr,
    node: &'a Node,
}

impl Seen<'_> {
    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::openat(self.dir, Path::new(self.name), flags, Mode::empty()).op_on("open", self.name)
    }
}

fn changed_at(stat: &Stat) -> Moment {
    (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default())
}

/// Of two that look the same: whether they are another all the same.
fn is_touched(new: &Seen<'_>, old: &Seen<'_>) -> Result<bool> {
    let stat = &new.node.stat;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
            Ok(time(stat) != time(&old.node.stat) || attributes_differ(&new.open()?, &old.open()?)?)
        }
        // It may have got another name, which is to be a name of the same file.
        FileType::RegularFile if stat.st_nlink > 1 => Ok(true),
        FileType::RegularFile => {
            let (new, old) = (new.open()?, old.open()?);
            Ok(attributes_differ(&new, &old)? || content_differs(&new, &old)?)
        }
        FileType::Symlink => {
            let target = |seen: &Seen<'_>| rustix::fs::readlinkat(seen.dir, Path::new(seen.name), Vec::new());
            Ok(target(new).op("read a link")? != target(old).op("read a link")?)
        }
        _ => Ok(false),
    }
}

fn attributes_differ(new: &OwnedFd, old: &OwnedFd) -> Result<bool> {
    Ok(attributes::read(new, Side::Tree)? != attributes::read(old, Side::Layer)?)
}

fn content_differs(new: &OwnedFd, old: &OwnedFd) -> Result<bool> {
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    loop {
        let length = fill(new, &mut ours, at)?;
        if fill(old, &mut theirs, at)? != length || ours[..length] != theirs[..length] {
            return Ok(true);
        }
        if length == 0 {
            return Ok(false);
        }
        at += length as u64;
    }
}

/// As much as there is.
fn fill(file: &OwnedFd, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        let read = rustix::io::pread(file, &mut buffer[length..], at + length as u64).op("read")?;
        if read == 0 {
            break;
        }
        length += read;
    }
    Ok(length)
}
