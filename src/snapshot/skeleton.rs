//! The lowest layer of every root: empty directories and files for what every container has mounted there.
//!
//! An image that has no `/proc` or no `/etc/hosts` of its own shows these, so no mount point is ever made in the
//! writable layer, where `diff` and `commit` would take it for the container's doing.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Result;
use crate::store::Layout;
use crate::sys::Context;

/// The mode of the first one is seen by nobody: a merged root has that of the writable layer.
const DIRECTORIES: [(&str, u32); 5] =
    [("", 0o700), ("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755)];
/// The last one says that all are there.
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Makes what is missing of it. Two at once make the same.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
    let root = layout.skeleton_dir();
    if FILES.last().is_some_and(|last| rustix::fs::lstat(root.join(last)).is_ok()) {
        return Ok(());
    }
    for (name, mode) in DIRECTORIES {
        let (path, mode) = (root.join(name), Mode::from_raw_mode(mode));
        match rustix::fs::mkdir(&path, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Ok(Err(e).op_on("mkdir", &path)?),
        }
        rustix::fs::chmod(&path, mode).op_on("chmod", &path)?;
    }
    for name in FILES {
        let path = root.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).op_on("create", &path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).op_on("chmod", &path)?;
    }
    Ok(())
}
