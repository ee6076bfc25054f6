//! Making a FUSE mount: the device and the mount are two ends of one connection.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::mount::FsContext;
use super::{Context, Error, Result, process, userns};

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

/// The same made in a user namespace within the caller's own: requests carry the ids of that one, and its processes
/// alone may use the mount. The calling process has one thread.
pub fn mount_within(namespace: impl AsFd, name: &str, attributes: u64) -> Result<(OwnedFd, OwnedFd)> {
    let make = || {
        userns::become_own_root()?;
        // Who mounts is root of the namespace that its mount namespace belongs to.
        process::unshare(libc::CLONE_NEWNS)?;
        mount(name, attributes).map(|(mount, device)| vec![mount, device])
    };
    let mut made =
        userns::make_within(namespace, make, |what, errno| Error::with_subject("mount:", what, errno))?;
    let device = made.pop();
    made.pop().zip(device).ok_or_else(|| Error::new("mount fuse", libc::ECHILD))
}
