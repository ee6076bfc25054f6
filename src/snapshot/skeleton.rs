//! The lowest layer of every root: empty directories and files for what every container has mounted there.
//!
//! An image that has no `/proc` or no `/etc/hosts` of its own shows these, so no mount point is ever made in the
//! writable layer, where `diff` and `commit` would take it for the container's doing.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Result;
use crate::store::Layout;
use crate::sys::Context;

const DIRECTORIES: [&str; 5] = ["", "dev", "etc", "proc", "sys"];
/// The last one says that all are there.
const FILES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Makes what is missing of it. Two at once make the same.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
    let root = layout.skeleton_dir();
    if FILES.last().is_some_and(|last| rustix::fs::lstat(root.join(last)).is_ok()) {
        return Ok(());
    }
    for name in DIRECTORIES {
        let path = root.join(name);
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Ok(Err(e).op_on("mkdir", &path)?),
        }
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755)).op_on("chmod", &path)?;
    }
    for name in FILES {
        let path = root.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).op_on("create", &path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).op_on("chmod", &path)?;
    }
    Ok(())
}
