//! Making a FUSE mount: the device and the mount are two ends of one connection.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::mount::FsContext;
use super::{Context, Result};

/// A detached FUSE mount whose permissions the kernel checks, and the device on which its requests arrive. Whoever
/// touches the mount before somebody reads the device waits. Everybody in the caller's user namespace may use it.
///
/// `name` is shown as part of the file system's type, `fuse.NAME`.
pub fn mount(name: &str, attributes: u64) -> Result<(OwnedFd, OwnedFd)> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .op_on("open", "/dev/fuse")?;
    let context = FsContext::open("fuse")?;
    context.set("subtype", name)?;
    context.set("fd", device.as_raw_fd().to_string())?;
    context.set("rootmode", "40000")?;
    context.set("user_id", rustix::process::geteuid().as_raw().to_string())?;
    context.set("group_id", rustix::process::getegid().as_raw().to_string())?;
    context.flag("default_permissions")?;
    context.flag("allow_other")?;
    let mount = context.mount(attributes)?;
    Ok((mount, device))
}
