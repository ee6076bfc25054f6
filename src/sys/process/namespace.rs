//! Namespaces: those of a process as descriptors, entered and left.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::sys::{Context, Error, Result};

/// The namespace behind `/proc/PID/ns/NAME`.
pub fn namespace(pid: u32, name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/{pid}/ns/{name}"))
}

/// One's own, whatever pid `/proc` knows this process by.
pub fn own_namespace(name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/self/ns/{name}"))
}

/// The calling thread's.
pub fn thread_namespace(name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/thread-self/ns/{name}"))
}

fn open_namespace(path: String) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).op_on("open", path)
}

/// setns(2) with `CLONE_NEW*` flags, on a namespace or a pidfd.
pub fn enter(fd: impl AsFd, flags: i32) -> Result<()> {
    // SAFETY: setns(2) takes a descriptor and flags; this process has one thread, as `process` requires.
    let rc = unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags) };
    if rc == 0 { Ok(()) } else { Err(Error::last("setns")) }
}

/// unshare(2) with `CLONE_NEW*` flags.
pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: only namespace flags are passed, so no memory or descriptor table comes apart.
    let rc = unsafe { libc::unshare(flags) };
    if rc == 0 { Ok(()) } else { Err(Error::last("unshare")) }
}
