//! Ids as the tree shows them and ids as they are on disk.
//!
//! Three ways: as stored; shifted by a map, so that a tree serves any user namespace without a chown; or, where
//! there is only one id to own files with, kept beside the file in `user.containers.override_stat`, which
//! containers/storage writes the same way (`UID:GID:0MODE`).

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Result;

/// The attribute that keeps what the file itself cannot.
pub(super) const KEPT: &str = "user.containers.override_stat";
/// What the kernel shows for an id that it cannot express.
const OVERFLOW: u32 = 65534;

/// Whose files are whose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Owners {
    #[default]
    AsStored,
    Shifted(IdMap),
    /// There is one id. Owners, and modes that the one owner could not work under, are in an attribute; the kernel
    /// can show no other id than 0.
    Kept,
}

/// Maps of ids between the tree and the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// `count` ids that are `shown` in the tree and `stored` on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub shown: u32,
    pub stored: u32,
    pub count: u32,
}

fn shift(ranges: &[IdRange], id: u32, ends: impl Fn(&IdRange) -> (u32, u32)) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let (from, to) = ends(range);
        let offset = id.checked_sub(from).filter(|offset| *offset < range.count)?;
        to.checked_add(offset)
    })
}

impl Owners {
    pub(super) fn shown_uid(&self, stored: u32) -> u32 {
        match self {
            Self::AsStored => stored,
            Self::Shifted(map) => shift(&map.uids, stored, |r| (r.stored, r.shown)).unwrap_or(OVERFLOW),
            Self::Kept => 0,
        }
    }

    pub(super) fn shown_gid(&self, stored: u32) -> u32 {
        match self {
            Self::AsStored => stored,
            Self::Shifted(map) => shift(&map.gids, stored, |r| (r.stored, r.shown)).unwrap_or(OVERFLOW),
            Self::Kept => 0,
        }
    }

    /// The id on disk for one of the tree; `EOVERFLOW` outside the map, as idmapped mounts have it.
    pub(super) fn stored_uid(&self, shown: u32) -> Result<u32> {
        let shown = an_id(shown)?;
        match self {
            Self::Shifted(map) => shift(&map.uids, shown, |r| (r.shown, r.stored)).ok_or(Errno::OVERFLOW),
            Self::AsStored | Self::Kept => Ok(shown),
        }
    }

    pub(super) fn stored_gid(&self, shown: u32) -> Result<u32> {
        let shown = an_id(shown)?;
        match self {
            Self::Shifted(map) => shift(&map.gids, shown, |r| (r.shown, r.stored)).ok_or(Errno::OVERFLOW),
            Self::AsStored | Self::Kept => Ok(shown),
        }
    }

    pub(super) fn are_kept(&self) -> bool {
        *self == Self::Kept
    }
}

/// Refuses the number that means none to chown(2).
pub(super) fn an_id(number: u32) -> Result<u32> {
    if number == u32::MAX { Err(Errno::INVAL) } else { Ok(number) }
}

/// What the attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
}

impl Kept {
    /// `UID:GID:0MODE`, perhaps with `:TYPE` behind it. What is malformed says nothing.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(text).ok()?.split(':');
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let mode = u32::from_str_radix(fields.next()?, 8).ok()? & 0o7777;
        Some(Self { uid, gid, mode })
    }

    pub(super) fn text(self) -> String {
        format!("{}:{}:0{:o}", self.uid, self.gid, self.mode)
    }

    pub(super) fn of(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 }
    }

    /// Puts the kept mode into `stat`; its owner is what the kernel can show.
    pub(super) fn apply(self, stat: &mut Stat) {
        stat.st_uid = self.uid;
        stat.st_gid = self.gid;
        stat.st_mode = (stat.st_mode & !0o7777) | self.mode;
    }

    /// The mode that the file itself gets: its one owner has to be able to work with it.
    pub(super) fn disk_mode(self, kind: FileType) -> u32 {
        let needed = if kind == FileType::Directory { 0o700 } else { 0o600 };
        (self.mode & 0o777) | needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shifted_both_ways() {
        let range = |shown, stored, count| IdRange { shown, stored, count };
        let uids = vec![range(0, 1, 1000), range(1000, 0, 1), range(1001, 1001, 64000)];
        let owners = Owners::Shifted(IdMap { uids: uids.clone(), gids: uids });
        assert_eq!([1, 0, 1500].map(|id| owners.shown_uid(id)), [0, 1000, 1500]);
        assert_eq!([0, 1000, 1500].map(|id| owners.stored_gid(id)), [Ok(1), Ok(0), Ok(1500)]);
        assert_eq!(owners.stored_uid(70_000), Err(Errno::OVERFLOW));
        assert_eq!(owners.stored_uid(u32::MAX), Err(Errno::INVAL));
        assert_eq!(owners.shown_gid(u32::MAX), OVERFLOW);
    }

    #[test]
    fn kept_owners_are_written_as_containers_storage_does() {
        let kept = Kept { uid: 101, gid: 7, mode: 0o4755 };
        assert_eq!(kept.text(), "101:7:04755");
        assert_eq!(Kept::parse(kept.text().as_bytes()), Some(kept));
        assert_eq!(Kept::parse(b"0:0:0644:char-1-3"), Some(Kept { uid: 0, gid: 0, mode: 0o644 }));
        for wrong in [&b""[..], b"1:2", b"1:2:9", b"-1:2:0644", b"\xff:0:0"] {
            assert_eq!(Kept::parse(wrong), None);
        }
    }
}
