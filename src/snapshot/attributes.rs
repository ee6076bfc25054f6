//! Extended attributes as a container sees them through an overlay: those of the format itself are not shown, and
//! what looks like one of them inside has one more `overlay.` on disk.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::sys::{Context, Result};

const FORMAT: &[u8] = b"user.overlay.";
const ESCAPED: &[u8] = b"user.overlay.overlay.";
/// The longest value and the longest list that the kernel lets through, linux/limits.h.
const LARGEST: usize = 65536;

/// By name, as they are inside.
pub(super) type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// Where a directory of the overlay's format is looked into, or one that is shown as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Layer,
    Tree,
}

/// The attributes of an open file or directory.
pub(super) fn read(file: impl AsFd, side: Side) -> Result<Attributes> {
    let file = file.as_fd();
    let mut all = Attributes::new();
    let mut list = vec![0; LARGEST];
    let length = match rustix::fs::flistxattr(file, &mut list) {
        Err(Errno::NOTSUP) => 0,
        other => other.op("list extended attributes")?,
    };
    let names = list.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut value = Vec::new();
    for name in names {
        let Some(shown) = shown(name, side) else { continue };
        value.resize(LARGEST, 0);
        match rustix::fs::fgetxattr(file, name, value.as_mut_slice()) {
            // Gone since, or for others only.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            other => {
                let length = other.op("read an extended attribute")?;
                all.insert(shown, value.get(..length).unwrap_or_default().to_vec());
            }
        }
    }
    Ok(all)
}

fn shown(name: &[u8], side: Side) -> Option<Vec<u8>> {
    if side == Side::Tree {
        return Some(name.to_vec());
    }
    match name.strip_prefix(ESCAPED) {
        Some(rest) => Some([FORMAT, rest].concat()),
        None => (!name.starts_with(FORMAT)).then(|| name.to_vec()),
    }
}

/// Gives them to an open file or directory. What its file system does not take is left out, except access control
/// lists and capabilities, without which it would be another file.
pub(super) fn write(file: impl AsFd, attributes: &Attributes) -> Result<()> {
    let file = file.as_fd();
    for (name, value) in attributes {
        let needed = name.starts_with(b"system.posix_acl_") || name == b"security.capability";
        match rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::NOTSUP | Errno::PERM) if !needed => {}
            other => other.op("set an extended attribute")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_own_names_are_not_shown() {
        assert_eq!(shown(b"user.overlay.opaque", Side::Layer), None);
        assert_eq!(shown(b"user.overlay.overlay.opaque", Side::Layer).unwrap(), b"user.overlay.opaque");
        assert_eq!(shown(b"user.overlay.opaque", Side::Tree).unwrap(), b"user.overlay.opaque");
        assert_eq!(shown(b"user.x", Side::Layer).unwrap(), b"user.x");
    }
}
