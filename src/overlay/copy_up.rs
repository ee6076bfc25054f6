//! Bringing an object up: what is about to be changed is copied from its lower layer to the upper one first.
//!
//! The copy is finished in the work directory and then renamed, so that nobody sees half of it, and a full disk
//! leaves the lower file shown as it was. It keeps owner, mode, times, attributes, access control lists, holes,
//! and the links that are known.
//!
//! The disk is told to write the copy soon, and not waited for as the kernel's overlay does, a millisecond a file.
//! What a power failure within that moment can cost is the copy, in a container that the failure ended as well; whoever
//! calls fsync(2) waits as ever.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::file::{Data, errno};
use super::inode::Where;
use super::number::Key;
use super::place::{PATIENCE, Place};
use super::threads::{LARGE, by_deputy_if};
use super::whiteout::{is_format_attribute, magic};
use super::{Overlay, Result, lock};
use crate::sys::content;

/// What becomes of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Kept,
    /// It is about to be cut to nothing.
    Dropped,
}

/// Who brings something up: one at a time for an object, and for those whose numbers leave the same rest.
///
/// A file's turn is kept while its further names are linked, for which their directories are brought up. So these have
/// turns of their own: whoever waited for a file's turn there could be waiting for itself.
#[derive(Debug, Default)]
pub(super) struct Turns {
    directories: [Mutex<()>; 32],
    others: [Mutex<()>; 32],
}

impl Turns {
    fn wait(&self, id: u64, kind: FileType) -> Option<MutexGuard<'_, ()>> {
        let turns = if kind == FileType::Directory { &self.directories } else { &self.others };
        turns.get(usize::try_from(id).unwrap_or_default() % turns.len()).map(lock)
    }
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
        for _ in 0..PATIENCE {
            match self.try_to_copy_up(id, content) {
                // It had no name in the beginning, and got one meanwhile.
                Err(Errno::STALE) if self.where_is(id).is_ok() => {}
                other => return other,
            }
        }
        Err(Errno::STALE)
    }

    fn try_to_copy_up(&self, id: u64, content: Content) -> Result<()> {
        let mut chain = Vec::new();
        let mut at = id;
        loop {
            let node = self.where_is(at)?;
            if node.layer == 0 {
                break;
            }
            chain.push(at);
            // What has no name any more has no place above either.
            if node.pinned.is_some() {
                break;
            }
            at = node.parent;
        }
        for step in chain.into_iter().rev() {
            self.copy_up_one(step, content)?;
        }
        Ok(())
    }

    fn copy_up_one(&self, id: u64, content: Content) -> Result<()> {
        let _turn = self.copying.wait(id, self.where_is(id)?.kind);
        let (node, place, stat) = self.reach(id)?;
        if node.layer == 0 {
            return Ok(());
        }
        let work = self.work()?;
        let temporary = self.temporary_name();
        let original = Original { node: &node, place: &place, stat: &stat };
        let made = self.copy_to(work, &temporary, &original, content);
        let named = made.and_then(|copy| Ok((self.give_name(work, &temporary, &node, &copy)?, copy)));
        let (key, copy) = match named {
            Ok(named) => named,
            Err(e) => {
                discard(work, &temporary, node.kind);
                return Err(e);
            }
        };
        lock(&self.table).brought_up(id, key);
        let _old = lock(&self.files).remove(id);
        if let Place::Data(fd) = copy {
            if !self.volatile && content == Content::Kept {
                self.settling.soon(Arc::clone(&fd));
            }
            // Whatever it was brought up for comes next.
            let _kept = self.keep_open(id, Data { fd, key, writable: true });
        }
        if node.kind == FileType::Directory {
            return Ok(());
        }
        let aliases = lock(&self.table).take_aliases(id);
        aliases.iter().try_for_each(|(parent, name)| self.link_alias(id, *parent, name))
    }

    /// Gives the copy its name; an object without one stays reachable through its descriptor.
    fn give_name(&self, work: &OwnedFd, temporary: &str, node: &Where, copy: &Place) -> Result<Key> {
        let key = Key::of(&copy.stat()?);
        if node.pinned.is_some() {
            let pin = copy.pin()?;
            let mut table = lock(&self.table);
            if table.get(node.id)?.pinned.is_none() {
                return Err(Errno::STALE);
            }
            rustix::fs::unlinkat(work, temporary, AtFlags::empty())?;
            table.unlinked(node.id, node.parent, &node.name, pin);
            // What has no name cannot be given another one: lower names that nobody has asked for yet stay the lower
            // file's, as with the kernel's overlay.
            table.part(node.key);
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

    /// Makes the whole copy under a name in the work directory.
    fn copy_to(
        &self,
        work: &OwnedFd,
        name: &str,
        original: &Original<'_>,
        content: Content,
    ) -> Result<Place> {
        let Original { node, place, stat } = *original;
        if node.kind == FileType::RegularFile {
            return self.copy_file(work, name, original, content);
        }
        match node.kind {
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
        let copy = Place::Open(rustix::fs::openat(work, name, flags, Mode::empty())?.into());
        self.copy_attributes(&Place::Open(place.pin()?), &copy, node.kind, stat)?;
        Ok(copy)
    }

    /// Everything by two descriptors, without a path: thousands of files are brought up in a row by a `chmod -R`.
    fn copy_file(
        &self,
        work: &OwnedFd,
        name: &str,
        original: &Original<'_>,
        content: Content,
    ) -> Result<Place> {
        let Original { node, place, stat } = *original;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // Nobody else reaches into the work directory, and most files need no other mode or owner than they begin with.
        let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
        let to = Arc::new(rustix::fs::openat(work, name, flags, mode)?);
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let source = if content == Content::Kept && size > 0 {
            let from = Arc::new(place.open(OFlags::RDONLY)?);
            let (source, target, holes) = (Arc::clone(&from), Arc::clone(&to), may_have_holes(stat));
            let copy = move || content::copy_data(&source, &target, size, holes).map_err(errno);
            by_deputy_if(|| size > LARGE, copy).unwrap_or(Err(Errno::IO))?;
            Place::Data(from)
        } else {
            Place::Open(place.pin()?)
        };
        let copy = Place::Data(to);
        self.copy_attributes(&source, &copy, node.kind, stat)?;
        Ok(copy)
    }

    /// The owner first, which takes setuid away; the times last. What is as it should be is not set again: each change
    /// is an entry in the disk's journal.
    fn copy_attributes(&self, from: &Place, to: &Place, kind: FileType, stat: &Stat) -> Result<()> {
        let now = to.stat()?;
        let owner_differs = (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid);
        if owner_differs && !self.owners.are_kept() {
            to.chown(Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        }
        copy_xattrs(from, to)?;
        if kind != FileType::Symlink && (now.st_mode ^ stat.st_mode) & 0o7777 != 0 {
            to.chmod(stat.st_mode)?;
        }
        to.set_times(&times_of(stat))
    }
}

/// Fewer blocks than bytes: holes, or content that is compressed or beside the blocks.
fn may_have_holes(stat: &Stat) -> bool {
    stat.st_blocks.saturating_mul(512) < stat.st_size
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

const ACL: &[u8] = b"system.posix_acl_";

/// An access control list as the kernel hands it out, without the entries of those who have no id in this user namespace
/// and whom nobody in it could name: with them it cannot be set.
fn without_strangers(list: &[u8]) -> Vec<u8> {
    const USER: u8 = 2;
    const GROUP: u8 = 8;
    // A version of four bytes, then a tag, permissions and an id for each entry.
    let (version, entries) = list.split_at(list.len().min(4));
    let is_stranger =
        |entry: &[u8]| matches!(entry, [USER | GROUP, 0, _, _, id @ ..] if *id == u32::MAX.to_le_bytes());
    let known = entries.chunks(8).filter(|entry| !is_stranger(entry)).flatten();
    version.iter().chain(known).copied().collect()
}

/// All but the overlay's own; what the file system above does not take is left out, except access control lists.
fn copy_xattrs(from: &Place, to: &Place) -> Result<()> {
    for name in from.list_xattrs()?.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        if is_format_attribute(name) && !name.starts_with(b"user.overlay.overlay.") {
            continue;
        }
        let value = match from.get_xattr(name) {
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            other => other?,
        };
        match to.set_xattr(name, &value, XattrFlags::empty()) {
            Err(Errno::INVAL) if name.starts_with(ACL) => {
                to.set_xattr(name, &without_strangers(&value), XattrFlags::empty())?;
            }
            Err(Errno::NOTSUP | Errno::PERM) if !name.starts_with(ACL) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_taken_off_a_list() {
        let list = |entries: &[(u8, u32)]| {
            let entry = |(tag, id): &(u8, u32)| [&[*tag, 0, 7, 0], &id.to_le_bytes()[..]].concat();
            [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat()
        };
        let nobody = u32::MAX;
        let with =
            [(1, nobody), (2, 0), (2, nobody), (4, nobody), (8, nobody), (8, 5), (16, nobody), (32, nobody)];
        let without = [(1, nobody), (2, 0), (4, nobody), (8, 5), (16, nobody), (32, nobody)];
        assert_eq!(without_strangers(&list(&with)), list(&without));
        assert_eq!(without_strangers(b"abc"), b"abc");
    }
}
