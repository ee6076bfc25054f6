//! Attributes: what stat(2) shows, and what chmod, chown, truncate and utimensat change.

use rustix::fs::{FileType, Gid, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::copy_up::Content;
use super::inode::{Found, Where};
use super::owner::{KEPT, Kept, an_id};
use super::place::Place;
use super::whiteout::magic;
use super::{Overlay, Result, lock};

/// What the tree shows of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attr {
    pub id: u64,
    /// With owner, mode and links as shown; device and inode are those below.
    pub stat: Stat,
}

/// A time as utimensat(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Now,
    At(Timespec),
}

/// What a request wants changed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<Time>,
    pub mtime: Option<Time>,
}

impl Change {
    /// Nothing else is to change.
    fn is_of_times(&self) -> bool {
        let Self { mode, uid, gid, size, .. } = self;
        mode.is_none() && uid.is_none() && gid.is_none() && size.is_none()
    }
}

impl Overlay {
    pub(super) fn getattr(&self, id: u64) -> Result<Attr> {
        let (node, place, stat) = self.reach(id)?;
        self.attr_of(&node, &place, stat)
    }

    pub(super) fn attr_of(&self, node: &Where, place: &Place, mut stat: Stat) -> Result<Attr> {
        if node.pinned.is_some() {
            // A lower file keeps the name that is hidden.
            let hidden = u64::from(self.has_upper() && node.layer > 0);
            stat.st_nlink =
                if node.kind == FileType::Directory { 0 } else { stat.st_nlink.saturating_sub(hidden as _) };
        }
        self.attr(node.id, stat, node.merged, || self.kept_of(place))
    }

    /// `kept` is asked for what is kept beside the file, where anything is.
    pub(super) fn attr(
        &self,
        id: u64,
        mut stat: Stat,
        merged: bool,
        kept: impl FnOnce() -> Option<Kept>,
    ) -> Result<Attr> {
        if self.owners.are_kept()
            && let Some(kept) = kept()
        {
            kept.apply(&mut stat);
        }
        stat.st_uid = self.owners.shown(stat.st_uid);
        stat.st_gid = self.owners.shown(stat.st_gid);
        if merged {
            // Nobody counts the subdirectories of all layers; 1 says that the number tells nothing.
            stat.st_nlink = 1;
        }
        Ok(Attr { id, stat })
    }

    fn kept_of(&self, place: &Place) -> Option<Kept> {
        let mut text = [0u8; 128];
        let fd = place.pin().ok()?;
        let length = rustix::fs::getxattr(magic(&fd).as_str(), KEPT, &mut text).ok()?;
        Kept::parse(text.get(..length)?)
    }

    pub(super) fn kept_at(&self, parent: u64, name: &[u8], found: &Found) -> Option<Kept> {
        if found.kind() == FileType::Symlink {
            return None;
        }
        let dir = self.dir(parent, found.layer).ok()?;
        self.kept_of(&Place::Name { dir, name: Box::from(name) })
    }

    /// Changes attributes on behalf of a process whose user is `caller`.
    pub(super) fn setattr(&self, id: u64, change: &Change, caller: u32) -> Result<Attr> {
        self.work()?;
        [change.uid, change.gid].into_iter().flatten().try_for_each(|id| an_id(id).map(drop))?;
        if change.is_of_times()
            && let Some(attr) = self.lost(id)?
        {
            return Ok(attr);
        }
        match change.size {
            Some(0) => self.copy_up_as(id, Content::Dropped)?,
            _ => self.copy_up(id)?,
        }
        let (node, place, asked) = self.reach_unasked(id)?;
        // Kernels before 6.6 ask for it.
        if change.mode.is_some() && node.kind == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        let before = || asked.map_or_else(|| place.stat(), Ok);
        if let Some(size) = change.size {
            self.truncate(&node, size)?;
            if change.mode.is_none() && caller != 0 {
                self.drop_privileges(&place, &before()?)?;
            }
        }
        if self.owners.are_kept() && (change.uid.is_some() || change.gid.is_some() || change.mode.is_some()) {
            self.change_kept(&node, &place, &before()?, change)?;
        } else {
            if change.uid.is_some() || change.gid.is_some() {
                place.chown(change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw))?;
            }
            if let Some(mode) = change.mode {
                place.chmod(mode)?;
            }
        }
        if change.atime.is_some() || change.mtime.is_some() {
            if let Some(attr) = self.lost(id)? {
                return Ok(attr);
            }
            place.set_times(&timestamps(change))?;
        }
        if node.kind == FileType::Directory && (change.gid.is_some() || change.mode.is_some()) {
            lock(&self.table).set_heritage(id, None);
        }
        let stat = place.stat()?;
        self.attr_of(&node, &place, stat)
    }

    /// The state of a file that has lost its name. The kernel tells of a new time for each that is open then, and keeps
    /// it: nobody else will ever see it. A lower one is not brought up for that.
    fn lost(&self, id: u64) -> Result<Option<Attr>> {
        let node = self.where_is(id)?;
        if node.pinned.is_none() || node.kind != FileType::RegularFile {
            return Ok(None);
        }
        let (node, place, stat) = self.reach(id)?;
        // An upper one may have another name that was not asked for yet.
        if node.pinned.is_none() || node.layer == 0 && stat.st_nlink > 0 {
            return Ok(None);
        }
        self.attr_of(&node, &place, stat).map(Some)
    }

    /// Owner and mode where the file itself cannot have them.
    fn change_kept(&self, node: &Where, place: &Place, stat: &Stat, change: &Change) -> Result<()> {
        if node.kind == FileType::Symlink {
            return Ok(());
        }
        let mut kept = self.kept_of(place).unwrap_or(Kept::of(stat));
        if change.uid.is_some() || change.gid.is_some() {
            // As chown(2) does for everything but directories.
            if node.kind != FileType::Directory {
                kept.mode = unprivileged(kept.mode);
            }
            kept.uid = change.uid.unwrap_or(kept.uid);
            kept.gid = change.gid.unwrap_or(kept.gid);
        }
        kept.mode = change.mode.map_or(kept.mode, |mode| mode & 0o7777);
        self.keep(place, node.kind, kept)
    }

    pub(super) fn keep(&self, place: &Place, kind: FileType, kept: Kept) -> Result<()> {
        let fd = place.pin()?;
        place.chmod(kept.disk_mode(kind))?;
        match rustix::fs::setxattr(magic(&fd).as_str(), KEPT, kept.text().as_bytes(), XattrFlags::empty()) {
            // Fifos and sockets carry no such attributes.
            Err(Errno::PERM | Errno::NOTSUP) => place.chmod(kept.mode & 0o777),
            other => other,
        }
    }

    /// Whether the file is setuid or setgid, which a change of its content takes away.
    pub(super) fn has_privileges(&self, id: u64) -> bool {
        self.getattr(id).is_ok_and(|attr| attr.stat.st_mode & 0o6000 != 0)
    }

    /// What somebody without power over the file wrote to runs no longer as its owner.
    pub(super) fn drop_privileges(&self, place: &Place, stat: &Stat) -> Result<()> {
        if self.owners.are_kept() {
            let Some(mut kept) = self.kept_of(place) else { return Ok(()) };
            kept.mode = unprivileged(kept.mode);
            return self.keep(place, FileType::from_raw_mode(stat.st_mode), kept);
        }
        let mode = unprivileged(stat.st_mode & 0o7777);
        if mode == stat.st_mode & 0o7777 { Ok(()) } else { place.chmod(mode) }
    }

    /// Told of a change that was not made through a request for it: the directory lists anew.
    pub(super) fn changed(&self, dir: u64) {
        if let Some(listing) = lock(&self.listings).get(dir) {
            listing.mark_stale();
        }
    }
}

/// Without setuid, and without setgid where it means more than mandatory locking.
fn unprivileged(mode: u32) -> u32 {
    let setgid = if mode & 0o010 != 0 { 0o2000 } else { 0 };
    mode & !(0o4000 | setgid)
}

fn timestamps(change: &Change) -> Timestamps {
    let time = |time: Option<Time>| match time {
        Some(Time::At(at)) => at,
        Some(Time::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    };
    Timestamps { last_access: time(change.atime), last_modification: time(change.mtime) }
}
