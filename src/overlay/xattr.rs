//! Extended attributes.
//!
//! The overlay's own are neither seen nor set from inside. A name inside that looks like one of them, as an overlay
//! mounted in the container writes them, is on disk with one more `overlay.` in it, as the kernel's overlay has it.

use std::borrow::Cow;
use std::sync::Arc;

use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;

use super::owner::KEPT;
use super::place::Place;
use super::whiteout::magic;
use super::{Overlay, Result, lock};

const CAPABILITY: &[u8] = b"security.capability";
const OURS: &[u8] = b"user.overlay.";
const ESCAPED: &[u8] = b"user.overlay.overlay.";
/// The longest value and the longest list that the kernel lets through, linux/limits.h.
const LARGEST: usize = 65536;

/// The name on disk; `None` for a name that cannot be used from inside.
fn stored(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if name == KEPT.as_bytes() || name.is_empty() || name.contains(&0) {
        return None;
    }
    match name.strip_prefix(OURS) {
        Some(rest) => Some(Cow::Owned([ESCAPED, rest].concat())),
        None => Some(Cow::Borrowed(name)),
    }
}

/// The name inside; `None` for what is not shown.
fn shown(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if name == KEPT.as_bytes() {
        return None;
    }
    if let Some(rest) = name.strip_prefix(ESCAPED) {
        return Some(Cow::Owned([OURS, rest].concat()));
    }
    (!name.starts_with(OURS)).then_some(Cow::Borrowed(name))
}

impl Overlay {
    pub(super) fn getxattr(&self, id: u64, name: &[u8]) -> Result<Vec<u8>> {
        let Some(name) = stored(name) else { return Err(Errno::NODATA) };
        if *name != *CAPABILITY {
            return self.ask_xattr(id, &name);
        }
        let changes = {
            let table = lock(&self.table);
            if table.is_powerless(id) {
                return Err(Errno::NODATA);
            }
            table.power_changes()
        };
        let value = self.ask_xattr(id, &name);
        if value == Err(Errno::NODATA) {
            lock(&self.table).set_powerless(id, changes);
        }
        value
    }

    fn ask_xattr(&self, id: u64, name: &[u8]) -> Result<Vec<u8>> {
        if let Some(data) = lock(&self.files).get(id) {
            return Place::Data(Arc::clone(&data.fd)).get_xattr(name);
        }
        let (_, place, _) = self.reach(id)?;
        place.get_xattr(name)
    }

    /// Names, each with a zero behind it.
    pub(super) fn listxattr(&self, id: u64) -> Result<Vec<u8>> {
        let (_, place, _) = self.reach(id)?;
        let mut names = Vec::new();
        for name in place.list_xattrs()?.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            if let Some(name) = shown(name) {
                names.extend_from_slice(&name);
                names.push(0);
            }
        }
        Ok(names)
    }

    pub(super) fn setxattr(&self, id: u64, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.work()?;
        let name = stored(name).ok_or(Errno::PERM)?;
        if value.len() > LARGEST {
            return Err(Errno::TOOBIG);
        }
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        self.change_xattr(id, &name, |place| place.set_xattr(&name, value, flags))
    }

    pub(super) fn removexattr(&self, id: u64, name: &[u8]) -> Result<()> {
        self.work()?;
        let name = stored(name).ok_or(Errno::NODATA)?;
        if !lock(&self.table).get(id).is_ok_and(|n| n.layer == 0) {
            // Nothing is brought up for what is not there.
            let (_, place, _) = self.reach(id)?;
            place.get_xattr(&name)?;
        }
        self.change_xattr(id, &name, |place| place.remove_xattr(&name))
    }

    fn change_xattr(&self, id: u64, name: &[u8], change: impl FnOnce(&Place) -> Result<()>) -> Result<()> {
        let kind = lock(&self.table).get(id)?.kind;
        if name.starts_with(b"user.") && !matches!(kind, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::PERM);
        }
        self.copy_up(id)?;
        let (_, place, _) = self.reach(id)?;
        let changed = change(&place);
        // After it has changed, so that nobody remembers what was before.
        match name {
            CAPABILITY => lock(&self.table).set_power(id),
            b"system.posix_acl_default" => lock(&self.table).set_heritage(id, None),
            _ => {}
        }
        changed
    }
}

/// By the descriptor where it is one for work on content; what is open as `O_PATH` has a path in /proc instead.
impl Place {
    pub(super) fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Data(fd) => sized(|buffer| rustix::fs::fgetxattr(fd, name, buffer)),
            _ => {
                let pinned = self.pin()?;
                sized(|buffer| rustix::fs::getxattr(magic(&pinned), name, buffer))
            }
        }
    }

    /// All names, each with a zero behind it; none where the file system has no attributes.
    pub(super) fn list_xattrs(&self) -> Result<Vec<u8>> {
        let names = match self {
            Self::Data(fd) => sized(|buffer| rustix::fs::flistxattr(fd, buffer)),
            _ => {
                let pinned = self.pin()?;
                sized(|buffer| rustix::fs::listxattr(magic(&pinned), buffer))
            }
        };
        match names {
            Err(Errno::NOTSUP) => Ok(Vec::new()),
            names => names,
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        match self {
            Self::Data(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            _ => rustix::fs::setxattr(magic(&self.pin()?).as_str(), name, value, flags),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Data(fd) => rustix::fs::fremovexattr(fd, name),
            _ => rustix::fs::removexattr(magic(&self.pin()?).as_str(), name),
        }
    }
}

/// Most values are short; a long one is asked for again with room.
fn sized(read: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut short = [0u8; 256];
    match read(&mut short) {
        Ok(length) => return Ok(short.get(..length).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut buffer = vec![0; LARGEST];
    let length = read(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_format_are_told_apart() {
        assert_eq!(stored(b"user.x").as_deref(), Some(&b"user.x"[..]));
        assert_eq!(stored(b"user.overlay.opaque").as_deref(), Some(&b"user.overlay.overlay.opaque"[..]));
        assert_eq!(stored(KEPT.as_bytes()), None);
        assert_eq!(shown(b"user.overlay.opaque"), None);
        assert_eq!(shown(b"user.overlay.overlay.opaque").as_deref(), Some(&b"user.overlay.opaque"[..]));
        assert_eq!(shown(KEPT.as_bytes()), None);
    }
}
