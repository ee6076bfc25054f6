//! Bringing an object up: what is about to be changed is copied from its lower layer to the upper one first.
//!
//! The copy is finished in the work directory and then renamed, so that nobody sees half of it, and a full disk
//! leaves the lower file shown as it was. It keeps owner, mode, times, attributes, access control lists, holes,
//! and the links that are known.
//!
//! The disk is told to write the copy at once, and not waited for as the kernel's overlay does, a millisecond a file.
//! What a power failure within that moment can cost is the copy, in a container that the failure ended as well; whoever
//! calls fsync(2) waits as ever.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::file::errno;
use super::inode::{Key, Where};
use super::place::Place;
use super::whiteout::{is_format_attribute, magic};
use super::xattr::{list_raw, read_raw};
use super::{Overlay, Result, lock};
use crate::sys::content;

/// What becomes of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Kept,
    /// It is about to be cut to nothing.
    Dropped,
}

/// What is copied.
struct Original<'a> {
    node: &'a Where,
    place: &'a Place,
    stat: &'a Stat,
}

impl Overlay {
    pub(super) fn copy_up(&self, id: u64) -> Result<()> {
        self.copy_up_as(id, Content::Kept)
    }

    /// Makes sure that the object and all directories above it are in the upper layer.
    pub(super) fn copy_up_as(&self, id: u64, content: Content) -> Result<()> {
        self.work()?;
        let mut chain = Vec::new();
        let mut at = id;
        loop {
            let node = self.where_is(at)?;
            if node.layer == 0 {
                break;
            }
            // What has no name any more has no place above either.
            if node.pinned.is_some() {
                chain.push(at);
                break;
            }
            chain.push(at);
            at = node.parent;
        }
        for step in chain.into_iter().rev() {
            self.copy_up_one(step, content)?;
        }
        Ok(())
    }

    fn copy_up_one(&self, id: u64, content: Content) -> Result<()> {
        let turn = usize::try_from(id).unwrap_or_default() % self.copying.len();
        let _turn = self.copying.get(turn).map(lock);
        let (node, place, stat) = self.reach(id)?;
        if node.layer == 0 {
            return Ok(());
        }
        let work = self.work()?;
        let temporary = self.temporary_name();
        let original = Original { node: &node, place: &place, stat: &stat };
        let made = self.copy_to(work, &temporary, &original, content);
        let named = made.and_then(|fd| self.give_name(work, &temporary, &node, fd));
        let key = match named {
            Ok(key) => key,
            Err(e) => {
                discard(work, &temporary, node.kind);
                return Err(e);
            }
        };
        lock(&self.table).brought_up(id, key);
        let _old = lock(&self.files).remove(id);
        if node.kind == FileType::Directory {
            return Ok(());
        }
        let aliases = lock(&self.table).take_aliases(id);
        aliases.iter().try_for_each(|(parent, name)| self.link_alias(id, *parent, name))
    }

    /// Gives the copy its name; an object without one stays reachable through its descriptor.
    fn give_name(&self, work: &OwnedFd, temporary: &str, node: &Where, fd: OwnedFd) -> Result<Key> {
        let stat = rustix::fs::statat(work, temporary, AtFlags::SYMLINK_NOFOLLOW)?;
        let key = Key::of(&stat);
        if node.pinned.is_some() {
            rustix::fs::unlinkat(work, temporary, AtFlags::empty())?;
            lock(&self.table).unlinked(node.id, node.parent, &node.name, fd.into());
            return Ok(key);
        }
        let parent = self.dir(node.parent, 0)?;
        let before = rustix::fs::fstat(&parent)?;
        rustix::fs::renameat_with(work, temporary, &parent, &*node.name, RenameFlags::NOREPLACE)?;
        // The directory above did not change, as far as anybody can see.
        let _ = Place::Open(parent).set_times(&times_of(&before));
        Ok(key)
    }

    /// A further name of a file that was brought up: it is a link of the same file above, too.
    pub(super) fn link_alias(&self, id: u64, parent: u64, name: &[u8]) -> Result<()> {
        let dir = self.upper_dir(parent)?;
        let before = rustix::fs::fstat(&dir)?;
        let (_, place, _) = self.reach(id)?;
        match self.link_to(&place, &dir, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let _ = Place::Open(dir).set_times(&times_of(&before));
        Ok(())
    }

    pub(super) fn link_to(&self, place: &Place, dir: &OwnedFd, name: impl rustix::path::Arg) -> Result<()> {
        match place {
            Place::Name { dir: from, name: old } => {
                rustix::fs::linkat(from, &**old, dir, name, AtFlags::empty())
            }
            Place::Open(fd) | Place::Data(fd) => {
                rustix::fs::linkat(rustix::fs::CWD, magic(fd).as_str(), dir, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }

    /// Makes the whole copy under a name in the work directory; the descriptor names it.
    fn copy_to(
        &self,
        work: &OwnedFd,
        name: &str,
        original: &Original<'_>,
        content: Content,
    ) -> Result<OwnedFd> {
        let Original { node, place, stat } = *original;
        let source = place.pin()?;
        match node.kind {
            FileType::RegularFile => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let to = rustix::fs::openat(work, name, flags, Mode::from_raw_mode(0o600))?;
                if content == Content::Kept && stat.st_size > 0 {
                    let from = place.open(OFlags::RDONLY)?;
                    let size = u64::try_from(stat.st_size).unwrap_or_default();
                    content::copy(&from, &to, size).map_err(errno)?;
                    if !self.volatile {
                        content::start_writing(&to).map_err(errno)?;
                    }
                }
            }
            FileType::Directory => rustix::fs::mkdirat(work, name, Mode::RWXU)?,
            FileType::Symlink => {
                let target = match place {
                    Place::Name { dir, name } => rustix::fs::readlinkat(dir, &**name, Vec::new())?,
                    Place::Open(fd) | Place::Data(fd) => rustix::fs::readlinkat(fd, "", Vec::new())?,
                };
                rustix::fs::symlinkat(target, work, name)?;
            }
            kind => {
                let device: Dev = stat.st_rdev;
                rustix::fs::mknodat(work, name, kind, Mode::from_raw_mode(0o600), device)?;
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(work, name, flags, Mode::empty())?;
        self.copy_attributes(&source, &copy, node.kind, stat)?;
        Ok(copy)
    }

    /// The owner first, which takes setuid away; the times last.
    fn copy_attributes(&self, from: &OwnedFd, to: &OwnedFd, kind: FileType, stat: &Stat) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        if !self.owners.are_kept() {
            rustix::fs::chownat(to, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        let path = magic(to);
        copy_xattrs(from, to)?;
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::chmodat(rustix::fs::CWD, path.as_str(), mode, AtFlags::empty())?;
        }
        rustix::fs::utimensat(rustix::fs::CWD, path.as_str(), &times_of(stat), AtFlags::empty())
    }
}

/// Takes back what was begun.
pub(super) fn discard(work: &OwnedFd, name: &str, kind: FileType) {
    let flags = if kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    let _ = rustix::fs::unlinkat(work, name, flags);
}

pub(super) fn times_of(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// All but the overlay's own; what the file system above does not take is left out, except access control lists.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let (source, target) = (magic(from), magic(to));
    for name in list_raw(&source)?.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        if is_format_attribute(name) && !name.starts_with(b"user.overlay.overlay.") {
            continue;
        }
        let value = match read_raw(&source, name) {
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            other => other?,
        };
        match rustix::fs::setxattr(target.as_str(), name, &value, XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) if !name.starts_with(b"system.posix_acl_") => {}
            other => other?,
        }
    }
    Ok(())
}
