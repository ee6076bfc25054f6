//! New names: files, directories, links of both kinds, fifos, sockets.
//!
//! Where a whiteout has the name, the new object is finished in the work directory and takes the whiteout's place
//! in one step, so that what is hidden below shows at no moment.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::attr::Attr;
use super::copy_up::discard;
use super::file::Data;
use super::inode::{Found, Key};
use super::owner::Kept;
use super::place::Place;
use super::whiteout::{is_whiteout, magic};
use super::{Overlay, Result, checked, lock};

/// Who makes something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    pub uid: u32,
    pub gid: u32,
    pub umask: u32,
}

/// What is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    File,
    Directory,
    Symlink(&'a [u8]),
    Special(FileType),
}

/// What is made, with its mode after the umask, and for whom.
#[derive(Clone, Copy)]
struct New<'a> {
    name: &'a [u8],
    kind: Kind<'a>,
    mode: u32,
    maker: Maker,
}

/// The directory in which something is made, as it is above.
struct Home {
    dir: std::sync::Arc<OwnedFd>,
    stat: Stat,
    /// What is made inherits a default access control list, and the umask counts for nothing.
    inherits: bool,
    merged: bool,
}

impl Overlay {
    /// Makes a regular file and opens it.
    pub(super) fn create(&self, parent: u64, name: &[u8], mode: u32, maker: Maker) -> Result<Attr> {
        self.make(parent, name, Kind::File, mode, maker)
    }

    pub(super) fn mknod(&self, parent: u64, name: &[u8], mode: u32, maker: Maker) -> Result<Attr> {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => self.make(parent, name, Kind::File, mode, maker),
            kind @ (FileType::Fifo | FileType::Socket) => {
                self.make(parent, name, Kind::Special(kind), mode, maker)
            }
            // No user namespace may make devices, and 0:0 would be a whiteout.
            _ => Err(Errno::PERM),
        }
    }

    pub(super) fn make(
        &self,
        parent: u64,
        name: &[u8],
        kind: Kind<'_>,
        mode: u32,
        maker: Maker,
    ) -> Result<Attr> {
        let name = self.usable(name)?;
        let home = self.home(parent)?;
        let plain = if home.inherits { mode } else { mode & !maker.umask } & 0o7777;
        let new = New { name, kind, mode: plain, maker };
        let made = match self.make_at(&home.dir, name, new) {
            Err(Errno::EXIST) => self.make_over_whiteout(&home, new)?,
            other => {
                let made = other?;
                let place = Place::Name { dir: home.dir.clone(), name: Box::from(name) };
                let finished = self
                    .finish(&home, &place, new, home.inherits)
                    .and_then(|()| self.take_mark(&home, &place, name, kind));
                if let Err(e) = finished {
                    let _ = rustix::fs::unlinkat(&home.dir, name, removal_of(kind));
                    return Err(e);
                }
                made
            }
        };
        let stat = match &made {
            Some(fd) => rustix::fs::fstat(fd)?,
            None => rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        self.changed(parent);
        let attr = self.enter(parent, name, Found { layer: 0, stat, below: Vec::new() })?;
        if let Some(fd) = made {
            let _ = self.keep_open(attr.id, Key::of(&stat), Data { fd: fd.into(), writable: true });
        }
        Ok(attr)
    }

    /// Where a dotted mark hid the name, it goes; a directory hides by itself what the mark did.
    fn take_mark(&self, home: &Home, place: &Place, name: &[u8], kind: Kind<'_>) -> Result<()> {
        if !self.hides.has_mark(&home.dir, name)? {
            return Ok(());
        }
        if matches!(kind, Kind::Directory) {
            self.hides.make_opaque(place.pin()?)?;
        }
        self.hides.unhide(&home.dir, name)
    }

    fn usable<'a>(&self, name: &'a [u8]) -> Result<&'a [u8]> {
        let name = checked(name)?;
        if self.hides.reserves(name) { Err(Errno::INVAL) } else { Ok(name) }
    }

    fn home(&self, parent: u64) -> Result<Home> {
        let dir = self.upper_dir(parent)?;
        let stat = rustix::fs::fstat(&dir)?;
        if stat.st_nlink == 0 {
            return Err(Errno::NOENT);
        }
        let (known, merged) = {
            let table = lock(&self.table);
            (table.inherits(parent), table.get(parent)?.merged)
        };
        let inherits = match known {
            Some(inherits) => inherits,
            None => {
                let asked = rustix::fs::getxattr_query(magic(&dir).as_str(), "system.posix_acl_default");
                lock(&self.table).set_inherits(parent, Some(asked.is_ok()));
                asked.is_ok()
            }
        };
        Ok(Home { dir, stat, inherits, merged })
    }

    /// The bare object; of a file its descriptor.
    fn make_at(&self, dir: impl AsFd, name: &[u8], new: New<'_>) -> Result<Option<OwnedFd>> {
        let mode = Mode::from_raw_mode(new.mode & 0o777);
        match new.kind {
            Kind::File => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(dir, name, flags, mode).map(Some)
            }
            Kind::Directory => rustix::fs::mkdirat(dir, name, mode).map(|()| None),
            Kind::Symlink(target) => rustix::fs::symlinkat(target, dir, name).map(|()| None),
            Kind::Special(kind) => rustix::fs::mknodat(dir, name, kind, mode, 0).map(|()| None),
        }
    }

    /// Gives the new object its owner and its mode, as far as it did not come with them.
    fn finish(&self, home: &Home, place: &Place, new: New<'_>, mode_is_right: bool) -> Result<()> {
        let stat = place.stat()?;
        let setgid = home.stat.st_mode & 0o2000 != 0;
        let New { kind, mut mode, maker, .. } = new;
        if setgid && matches!(kind, Kind::Directory) {
            mode |= 0o2000;
        }
        if self.owners.are_kept() {
            if (maker.uid, maker.gid) == (0, 0) && mode & 0o600 == 0o600 {
                return place_mode(place, kind, &stat, mode, mode_is_right);
            }
            return match kind {
                Kind::Symlink(_) => Ok(()),
                _ => {
                    let kept = Kept { uid: maker.uid, gid: maker.gid, mode };
                    self.keep(place, FileType::from_raw_mode(stat.st_mode), kept)
                }
            };
        }
        let uid = self.owners.stored_uid(maker.uid)?;
        let gid = if setgid { home.stat.st_gid } else { self.owners.stored_gid(maker.gid)? };
        if (uid, gid) != (stat.st_uid, stat.st_gid) {
            place.chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        place_mode(place, kind, &stat, mode, mode_is_right)
    }

    /// The name is taken above, which can only be by a whiteout.
    fn make_over_whiteout(&self, home: &Home, new: New<'_>) -> Result<Option<OwnedFd>> {
        let New { name, kind, .. } = new;
        let stat = rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_whiteout(&stat) {
            return Err(Errno::EXIST);
        }
        if home.inherits {
            // Only what is made in the directory itself inherits.
            rustix::fs::unlinkat(&home.dir, name, AtFlags::empty())?;
            let made = self.make_at(&home.dir, name, new)?;
            let place = Place::Name { dir: home.dir.clone(), name: Box::from(name) };
            if matches!(kind, Kind::Directory) && home.merged {
                self.hides.make_opaque(place.pin()?)?;
            }
            self.finish(home, &place, new, true)?;
            return Ok(made);
        }
        let (work, temporary) = (self.work()?, self.temporary_name());
        let made = self.make_at(work, temporary.as_bytes(), new)?;
        let done = self.finish_in_work(home, &temporary, new);
        if done.is_err() {
            let _ = rustix::fs::unlinkat(work, temporary.as_str(), removal_of(kind));
        }
        done.map(|()| made)
    }

    /// Makes what is in the work directory complete, and gives it its name.
    fn finish_in_work(&self, home: &Home, temporary: &str, new: New<'_>) -> Result<()> {
        let work = self.work()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pin = rustix::fs::openat(work, temporary, flags, Mode::empty())?;
        let place = Place::Open(std::sync::Arc::new(pin));
        self.finish(home, &place, new, false)?;
        let name = new.name;
        if matches!(new.kind, Kind::Directory) {
            self.hides.make_opaque(place.pin()?)?;
            // A directory takes no other object's place, but it can change places with one.
            rustix::fs::renameat_with(work, temporary, &home.dir, name, RenameFlags::EXCHANGE)?;
            rustix::fs::unlinkat(work, temporary, AtFlags::empty())
        } else {
            rustix::fs::renameat(work, temporary, &home.dir, name)
        }
    }

    /// One more name for a file.
    pub(super) fn link(&self, id: u64, parent: u64, name: &[u8]) -> Result<Attr> {
        let name = self.usable(name)?;
        self.copy_up(id)?;
        let home = self.home(parent)?;
        let (_, place, _) = self.reach(id)?;
        match self.link_to(&place, &home.dir, name) {
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if !is_whiteout(&stat) {
                    return Err(Errno::EXIST);
                }
                let (work, temporary) = (self.work()?, self.temporary_name());
                self.link_to(&place, work, temporary.as_str())?;
                let moved = rustix::fs::renameat(work, temporary.as_str(), &home.dir, name);
                if moved.is_err() {
                    discard(work, &temporary, FileType::RegularFile);
                }
                moved?;
            }
            other => {
                other?;
                self.hides.unhide(&home.dir, name)?;
            }
        }
        self.changed(parent);
        let stat = rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.enter(parent, name, Found { layer: 0, stat, below: Vec::new() })
    }
}

fn removal_of(kind: Kind<'_>) -> AtFlags {
    if matches!(kind, Kind::Directory) { AtFlags::REMOVEDIR } else { AtFlags::empty() }
}

/// The process's own umask took something away, or there are bits that no creation gives.
fn place_mode(place: &Place, kind: Kind<'_>, stat: &Stat, mode: u32, is_right: bool) -> Result<()> {
    let special = mode & 0o7000 & !(stat.st_mode & 0o7000);
    if matches!(kind, Kind::Symlink(_)) || (is_right && special == 0) {
        return Ok(());
    }
    let wanted = if is_right { (stat.st_mode & 0o7777) | special } else { mode };
    if stat.st_mode & 0o7777 == wanted { Ok(()) } else { place.chmod(wanted) }
}
