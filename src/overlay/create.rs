//! New names: files, directories, links of both kinds, fifos, sockets.
//!
//! Where a whiteout has the name, the new object is finished in the work directory and takes the whiteout's place
//! in one step, so that what is hidden below shows at no moment.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::attr::Attr;
use super::copy_up::discard;
use super::file::Data;
use super::inode::{Found, Heritage};
use super::number::Key;
use super::owner::{Kept, an_id};
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
    dir: Arc<OwnedFd>,
    /// With a default access control list the umask counts for nothing.
    heritage: Heritage,
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
        let plain = if home.heritage.list { mode } else { mode & !maker.umask } & 0o7777;
        let new = New { name, kind, mode: plain, maker };
        let (made, stat) = match self.make_at(&home.dir, name, new) {
            Err(Errno::EXIST) => {
                let made = self.make_over_whiteout(&home, new)?;
                (made, rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
            }
            other => {
                let made = other?.map(Arc::new);
                let place = match &made {
                    Some(fd) => Place::Data(Arc::clone(fd)),
                    None => Place::Name { dir: home.dir.clone(), name: Box::from(name) },
                };
                let finished = self
                    .finish(&home, &place, new, home.heritage.list)
                    .and_then(|stat| self.take_mark(&home, &place, new, stat));
                match finished {
                    Ok(stat) => (made, stat),
                    Err(e) => {
                        let _ = rustix::fs::unlinkat(&home.dir, name, removal_of(kind));
                        return Err(e);
                    }
                }
            }
        };
        self.changed(parent);
        let attr = self.enter(parent, name, Found { layer: 0, stat, below: Vec::new() })?;
        if let Some(fd) = made {
            // Nobody knows it yet who could give it any.
            let mut table = lock(&self.table);
            let changes = table.power_changes();
            table.set_powerless(attr.id, changes);
            drop(table);
            let _ = self.keep_open(attr.id, Data { fd, key: Key::of(&stat), writable: true });
        }
        Ok(attr)
    }

    /// Where a dotted mark hid the name, it goes; a directory hides by itself what the mark did. Gives the object's
    /// state, which is `stat` so far.
    fn take_mark(&self, home: &Home, place: &Place, new: New<'_>, stat: Stat) -> Result<Stat> {
        if !self.hides.has_mark(&home.dir, new.name)? {
            return Ok(stat);
        }
        if matches!(new.kind, Kind::Directory) {
            self.hides.make_opaque(place.pin()?)?;
        }
        self.hides.unhide(&home.dir, new.name)?;
        place.stat()
    }

    fn usable<'a>(&self, name: &'a [u8]) -> Result<&'a [u8]> {
        let name = checked(name)?;
        if self.hides.reserves(name) { Err(Errno::INVAL) } else { Ok(name) }
    }

    fn home(&self, parent: u64) -> Result<Home> {
        let dir = self.upper_dir(parent)?;
        let (known, node) = {
            let table = lock(&self.table);
            (table.heritage(parent), table.get(parent)?)
        };
        if node.pinned.is_some() {
            return Err(Errno::NOENT);
        }
        let heritage = match known {
            Some(heritage) => heritage,
            None => {
                let stat = rustix::fs::fstat(&dir)?;
                let list =
                    rustix::fs::getxattr_query(magic(&dir).as_str(), "system.posix_acl_default").is_ok();
                let group = (stat.st_mode & 0o2000 != 0).then_some(stat.st_gid);
                let heritage = Heritage { list, group };
                lock(&self.table).set_heritage(parent, Some(heritage));
                heritage
            }
        };
        Ok(Home { dir, heritage, merged: node.merged })
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

    /// Gives the new object its owner and its mode, as far as it did not come with them. Gives its state.
    fn finish(&self, home: &Home, place: &Place, new: New<'_>, mode_is_right: bool) -> Result<Stat> {
        let stat = place.stat()?;
        let New { kind, mut mode, maker, .. } = new;
        if home.heritage.group.is_some() && matches!(kind, Kind::Directory) {
            mode |= 0o2000;
        }
        let mut changed = false;
        if self.owners.are_kept() && ((maker.uid, maker.gid) != (0, 0) || mode & 0o600 != 0o600) {
            if !matches!(kind, Kind::Symlink(_)) {
                let kept = Kept { uid: maker.uid, gid: maker.gid, mode };
                self.keep(place, FileType::from_raw_mode(stat.st_mode), kept)?;
                changed = true;
            }
        } else {
            if !self.owners.are_kept() {
                let (uid, gid) =
                    (an_id(maker.uid)?, home.heritage.group.map_or_else(|| an_id(maker.gid), Ok)?);
                if (uid, gid) != (stat.st_uid, stat.st_gid) {
                    place.chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
                    changed = true;
                }
            }
            changed |= place_mode(place, kind, &stat, mode, mode_is_right)?;
        }
        if changed { place.stat() } else { Ok(stat) }
    }

    /// The name is taken above, which can only be by a whiteout.
    fn make_over_whiteout(&self, home: &Home, new: New<'_>) -> Result<Option<Arc<OwnedFd>>> {
        let New { name, kind, .. } = new;
        let stat = rustix::fs::statat(&home.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !is_whiteout(&stat) {
            return Err(Errno::EXIST);
        }
        if home.heritage.list {
            // Only what is made in the directory itself inherits.
            rustix::fs::unlinkat(&home.dir, name, AtFlags::empty())?;
            let made = self.make_at(&home.dir, name, new)?;
            let place = Place::Name { dir: home.dir.clone(), name: Box::from(name) };
            if matches!(kind, Kind::Directory) && home.merged {
                self.hides.make_opaque(place.pin()?)?;
            }
            self.finish(home, &place, new, true)?;
            return Ok(made.map(Arc::new));
        }
        let (work, temporary) = (self.work()?, self.temporary_name());
        let made = self.make_at(work, temporary.as_bytes(), new)?;
        let done = self.finish_in_work(home, &temporary, new);
        if done.is_err() {
            let _ = rustix::fs::unlinkat(work, temporary.as_str(), removal_of(kind));
        }
        done.map(|()| made.map(Arc::new))
    }

    /// Makes what is in the work directory complete, and gives it its name.
    fn finish_in_work(&self, home: &Home, temporary: &str, new: New<'_>) -> Result<()> {
        let work = self.work()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pin = rustix::fs::openat(work, temporary, flags, Mode::empty())?;
        let place = Place::Open(Arc::new(pin));
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
/// Gives whether it had to be changed.
fn place_mode(place: &Place, kind: Kind<'_>, stat: &Stat, mode: u32, is_right: bool) -> Result<bool> {
    let special = mode & 0o7000 & !(stat.st_mode & 0o7000);
    if matches!(kind, Kind::Symlink(_)) || (is_right && special == 0) {
        return Ok(false);
    }
    let wanted = if is_right { (stat.st_mode & 0o7777) | special } else { mode };
    if stat.st_mode & 0o7777 == wanted { Ok(false) } else { place.chmod(wanted).map(|()| true) }
}
