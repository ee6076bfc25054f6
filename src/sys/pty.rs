//! Pseudo-terminals of one particular devpts, without a path.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Context, Error, Result};

/// Opens a new master in the devpts whose root `devpts` holds open, unlocked.
pub fn open_master(devpts: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).op_on("open", "ptmx")?;
    rustix::pty::unlockpt(&master).op("unlockpt")?;
    Ok(master)
}

/// The slave of a master: `TIOCGPTPEER`, ioctl_tty(2), which no mount over `/dev/pts` can redirect.
pub fn open_slave(master: impl AsFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a descriptor.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(Error::last("open pty slave"));
    }
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `slave` the controlling terminal of this session leader.
pub fn control(slave: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(slave).op("TIOCSCTTY")
}
