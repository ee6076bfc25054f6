//! How a layer says that something of the layers below is not there.
//!
//! A name: a character device 0:0, or, on file systems where none can be made, an empty file `.wh.NAME`. The whole
//! of a directory: `user.overlay.opaque` is `y`, or there is a `.wh..wh..opq` in it. Dotted forms are only looked
//! for where devices cannot be made ([`crate::sys::whiteout`]) or attributes not kept, so that elsewhere such a name is
//! a name like any other.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::Result;
use crate::sys::whiteout;

const OPAQUE: &str = "user.overlay.opaque";
const DOTTED: &[u8] = b".wh.";
const DOTTED_OPAQUE: &[u8] = b".wh..wh..opq";

/// Which form hides a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Device,
    Dotted,
}

impl Form {
    /// Finds out by trying in `work`, an empty directory of the file system in question.
    pub(super) fn probe(work: &OwnedFd) -> Result<Self> {
        match whiteout::make(work, Path::new("probe")) {
            Ok(()) => rustix::fs::unlinkat(work, "probe", AtFlags::empty())?,
            Err(e) if whiteout::is_refusal(e) => return Ok(Self::Dotted),
            Err(e) => return Err(e),
        }
        let path = magic(work);
        match rustix::fs::setxattr(path.as_str(), OPAQUE, b"n", XattrFlags::empty()) {
            Ok(()) => rustix::fs::removexattr(path.as_str(), OPAQUE).map(|()| Self::Device),
            Err(Errno::NOTSUP | Errno::PERM) => Ok(Self::Dotted),
            Err(e) => Err(e),
        }
    }

    /// Names that belong to the format and cannot be used otherwise.
    pub(super) fn reserves(self, name: &[u8]) -> bool {
        self == Self::Dotted && name.starts_with(DOTTED)
    }

    /// The name that `name`, itself a mark of the format, hides.
    pub(super) fn hidden_by(self, name: &[u8]) -> Option<&[u8]> {
        if self == Self::Dotted { name.strip_prefix(DOTTED) } else { None }
    }

    /// Whether a dotted mark hides `name` in `dir`.
    pub(super) fn has_mark(self, dir: impl AsFd, name: &[u8]) -> Result<bool> {
        if self == Self::Device {
            return Ok(false);
        }
        exists(dir, dotted(name).as_slice())
    }

    /// Hides `name`, which is not in `dir`.
    pub(super) fn hide(self, dir: impl AsFd, name: &[u8]) -> Result<()> {
        match self {
            Self::Device => rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0),
            Self::Dotted => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(dir, dotted(name).as_slice(), flags, Mode::empty()).map(|_| ())
            }
        }
    }

    /// Takes a dotted mark away; devices are replaced by what takes their name.
    pub(super) fn unhide(self, dir: impl AsFd, name: &[u8]) -> Result<()> {
        if self == Self::Device {
            return Ok(());
        }
        match rustix::fs::unlinkat(dir, dotted(name).as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Whether the directory `dir`, which may be open as `O_PATH`, hides what lies below it.
    pub(super) fn is_opaque(self, dir: impl AsFd) -> Result<bool> {
        let mut value = [0u8; 2];
        match rustix::fs::getxattr(magic(&dir).as_str(), OPAQUE, &mut value) {
            Ok(length) if value[..length] == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE | Errno::PERM | Errno::ACCESS) => {}
            Err(e) => return Err(e),
        }
        if self == Self::Dotted { exists(dir, DOTTED_OPAQUE) } else { Ok(false) }
    }

    /// Takes away the file that says so, where it is one.
    pub(super) fn unmark_opaque(self, dir: impl AsFd) -> Result<()> {
        if self == Self::Device {
            return Ok(());
        }
        match rustix::fs::unlinkat(dir, DOTTED_OPAQUE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(super) fn make_opaque(self, dir: impl AsFd) -> Result<()> {
        match rustix::fs::setxattr(magic(&dir).as_str(), OPAQUE, b"y", XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) if self == Self::Dotted => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(dir, DOTTED_OPAQUE, flags, Mode::empty()).map(|_| ())
            }
            other => other,
        }
    }
}

/// Whether this is a device that hides a name.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == (0 as Dev)
}

/// Attributes of the overlay itself, as they are on disk.
pub(super) fn is_format_attribute(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.")
}

/// The path by which a descriptor's file can be named, also one that is open as `O_PATH`. Good for as long as the
/// descriptor is open.
pub(super) fn magic(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn dotted(name: &[u8]) -> Vec<u8> {
    [DOTTED, name].concat()
}

fn exists(dir: impl AsFd, name: &[u8]) -> Result<bool> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
        Err(e) => Err(e),
    }
}
