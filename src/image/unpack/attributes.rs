//! Owners, modes, extended attributes and times of what was made, in the one order that keeps them: the owner
//! first (a change of owner takes setuid and capabilities away), times last.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::archive::Entry;
use super::error::{Error, printable};
use crate::sys::userns::{Extent, IdMap, MapKind};
use crate::sys::{self, Context};

/// containers/storage's name for the owner and mode that a file has in its image, when it cannot have them on
/// disk.
const OVERRIDE: &str = "user.containers.override_stat";
const OPAQUE: &str = "user.overlay.opaque";
/// Names that only we give: an image could otherwise hide files, or lend itself another owner.
const OURS: [&[u8]; 4] = [b"user.overlay.", b"trusted.", b"user.containers.", b"user.fuseoverlayfs."];

/// The owner of an entry, checked against the map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    /// Outside of containers: files are their maker's.
    own: bool,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0, own: false };
    pub(super) const CALLER: Self = Self { uid: 0, gid: 0, own: true };
}

/// The entry's owner, or the error that names the id and the range it is outside of.
pub(super) fn owner(entry: &Entry, ids: &IdMap) -> Result<Owner, Error> {
    let check = |what: &'static str, id: u64, extents: &[Extent]| {
        let mapped = |id: u32| match ids.kind {
            MapKind::Single | MapKind::Identity => true,
            MapKind::Range if what == "uid" => ids.has_uid(id),
            MapKind::Range => ids.has_gid(id),
        };
        // The highest number means "no id" to the kernel.
        let small = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        small.filter(|id| mapped(*id)).ok_or_else(|| Error::UnmappedId {
            entry: printable(&entry.name),
            what,
            id,
            range: shown(extents),
        })
    };
    let (uid, gid) = (check("uid", entry.uid, &ids.uids)?, check("gid", entry.gid, &ids.gids)?);
    Ok(Owner { uid, gid, own: false })
}

fn shown(extents: &[Extent]) -> String {
    let range =
        |e: &Extent| format!("{}-{}", e.inside, u64::from(e.inside) + u64::from(e.count).saturating_sub(1));
    extents.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// Owner, mode and attributes of the open file or directory `fd`.
pub(super) fn apply(fd: impl AsFd, entry: &Entry, owner: Owner, ids: &IdMap) -> Result<(), Error> {
    let fd = fd.as_fd();
    let is_single = ids.kind == MapKind::Single;
    let on_disk = || -> sys::Result<()> {
        if owner.own {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode & 0o1777)).op("chmod")?;
            let own = entry.xattrs.iter().filter(|(name, _)| name.starts_with(b"user."));
            return own.into_iter().try_for_each(|(name, value)| set_xattr(fd, entry, name, value));
        }
        if !is_single {
            rustix::fs::fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .op("chown")?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).op("chmod")?;
        for (name, value) in &entry.xattrs {
            set_xattr(fd, entry, name, value)?;
        }
        if is_single && !is_the_only_one(owner, ids) {
            return keep_owner(fd, entry, owner);
        }
        Ok(())
    };
    on_disk().map_err(|source| Error::Sys { entry: printable(&entry.name), source })
}

/// Whether the owner is the one id that there is, whatever number the namespace gives it.
fn is_the_only_one(owner: Owner, ids: &IdMap) -> bool {
    let only = |extents: &[Extent]| extents.first().map_or(0, |e| e.inside);
    (owner.uid, owner.gid) == (only(&ids.uids), only(&ids.gids))
}

fn keep_owner(fd: BorrowedFd<'_>, entry: &Entry, owner: Owner) -> sys::Result<()> {
    let text = format!("{}:{}:0{:o}", owner.uid, owner.gid, entry.mode);
    match rustix::fs::fsetxattr(fd, OVERRIDE, text.as_bytes(), XattrFlags::empty()) {
        // A container's root that is our own overlay, which lends nobody this word of its own: there, as for chown(2)
        // inside, all belongs to the only one there is.
        Err(rustix::io::Errno::PERM) => {
            tracing::debug!(entry = printable(&entry.name), "owner left out: there is one id");
            Ok(())
        }
        kept => kept.op("keep the owner"),
    }
}

/// Owner, and mode unless it is a link, of the link or fifo `name` that was just made in `dir`.
pub(super) fn apply_at(
    dir: impl AsFd,
    name: &Path,
    owner: Owner,
    mode: Option<u32>,
    kind: MapKind,
) -> sys::Result<()> {
    let dir = dir.as_fd();
    if kind != MapKind::Single && !owner.own {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).op("chown")?;
    }
    if let Some(mode) = mode {
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty()).op("chmod")?;
    }
    Ok(())
}

/// Marks a directory opaque in the overlay's way.
pub(super) fn make_opaque(dir: impl AsFd) -> sys::Result<()> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty()).op("mark as opaque")
}

pub(super) fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: i64::from(mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}

/// `security.capability`, `user.*` and ACLs are kept. Labels of security modules speak of another host.
fn set_xattr(fd: impl AsFd, entry: &Entry, name: &[u8], value: &[u8]) -> sys::Result<()> {
    let left_out = |why: &str| {
        let (entry, name) = (printable(&entry.name), printable(name));
        tracing::debug!(entry, name, why, "extended attribute left out");
    };
    if OURS.iter().any(|prefix| name.starts_with(prefix)) {
        left_out("it means something to the overlay");
        return Ok(());
    }
    let is_capability = name == b"security.capability";
    if !is_capability && !name.starts_with(b"user.") && !name.starts_with(b"system.posix_acl_") {
        left_out("it belongs to the host that made the archive");
        return Ok(());
    }
    let unrooted;
    let value = match is_capability.then(|| without_root_id(value)).flatten() {
        Some(v2) => {
            unrooted = v2;
            unrooted.as_slice()
        }
        None => value,
    };
    match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
        Err(rustix::io::Errno::OPNOTSUPP) if !is_capability => {
            left_out("the file system has no such attributes");
            Ok(())
        }
        result => result.op("set extended attribute"),
    }
}

/// File capabilities of revision 3 name the root of another user namespace. As revision 2 they mean the one
/// they are set in, and the kernel writes our own root into them.
fn without_root_id(value: &[u8]) -> Option<Vec<u8>> {
    const REVISION: usize = 3;
    if value.len() != 24 || value[REVISION] != 3 {
        return None;
    }
    let mut v2 = value[..20].to_vec();
    v2[REVISION] = 2;
    Some(v2)
}
