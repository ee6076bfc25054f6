//! Network namespaces and their interfaces, as far as a container without a network needs them.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Context, Error, Result, process};

/// What the thread that makes a namespace needs: a few system calls' worth, in bytes.
const STACK: usize = 64 << 10;

/// A new network namespace with `lo` up. A thread enters it and ends: the process stays where it is, and has one
/// thread again.
pub fn new_namespace() -> Result<OwnedFd> {
    let make = || {
        process::unshare(libc::CLONE_NEWNET)?;
        loopback_up()?;
        process::thread_namespace("net")
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(make).op("start a thread")?;
    thread.join().unwrap_or_else(|_| Err(Error::new("make a network namespace", libc::ECHILD)))
}

/// Brings `lo` up. The kernel gives it 127.0.0.1/8 and ::1 by itself.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .op("socket")?;
    // SAFETY: ifreq is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(1);
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which request is; see netdevice(7).
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if rc == 0 { Ok(()) } else { Err(Error::last("bring lo up")) }
}
