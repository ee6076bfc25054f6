//! The flags of an inode: the numbers of the requests, ioctl_iflags(2), and the calls for those beyond chattr(1)'s,
//! ioctl_xfs_fsgetxattr(2), which every file system takes.

use std::os::fd::{AsFd, AsRawFd};

use super::{Error, Result};

/// `struct fsxattr` of linux/fs.h, as bytes: nobody here looks into it.
pub type Extended = [u8; 28];

/// `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS` of linux/fs.h.
pub const GET: u32 = 0x8008_6601;
pub const SET: u32 = 0x4008_6602;

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` of linux/fs.h.
pub const GET_EXTENDED: u32 = 0x801c_581f;
pub const SET_EXTENDED: u32 = 0x401c_5820;

pub fn get_extended(fd: impl AsFd) -> Result<Extended> {
    let mut value = [0; 28];
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: value has the size that the request's number names, and is valid for writes.
    let rc = unsafe { libc::ioctl(fd, GET_EXTENDED.into(), value.as_mut_ptr()) };
    if rc == 0 { Ok(value) } else { Err(Error::last("read inode flags")) }
}

pub fn set_extended(fd: impl AsFd, value: &Extended) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: value has the size that the request's number names.
    let rc = unsafe { libc::ioctl(fd, SET_EXTENDED.into(), value.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(Error::last("set inode flags")) }
}
