//! Ids as the tree shows them and ids as they are on disk.
//!
//! Two ways: as stored; or, where there is only one id to own files with, kept beside the file in
//! `user.containers.override_stat`, which containers/storage writes the same way (`UID:GID:0MODE`).
//!
//! A tree under other ids than its files have on disk (`--userns keep-id`) needs no third: its mount is made in the
//! user namespace that is to see it ([`crate::sys::fuse::mount_within`]), so the kernel hands over the numbers that are
//! seen inside and takes the stored ones for such, in both directions and without a chown. The server has another
//! namespace, in which the same numbers are other ids.

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Result;

/// The attribute that keeps what the file itself cannot.
pub(super) const KEPT: &str = "user.containers.override_stat";

/// Whose files are whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    #[default]
    AsStored,
    /// There is one id. Owners, and modes that the one owner could not work under, are in an attribute; the kernel
    /// can show no other id than 0.
    Kept,
}

impl Owners {
    /// What the tree shows as the uid or gid that is on disk.
    pub(super) fn shown(self, stored: u32) -> u32 {
        match self {
            Self::AsStored => stored,
            Self::Kept => 0,
        }
    }

    pub(super) fn are_kept(self) -> bool {
        self == Self::Kept
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
