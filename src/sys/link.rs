//! Network namespaces and their interfaces, as far as a container without a network needs them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Context, Error, Result, process};

/// What the thread that makes a namespace needs: a few system calls' worth, in bytes.
const STACK: usize = 64 << 10;

/// A network namespace in the making.
#[derive(Debug)]
pub struct NewNamespace(JoinHandle<Result<OwnedFd>>);

/// Begins to make a network namespace with `lo` up: most of what a start waits for in the kernel. A thread enters
/// it, so the process stays where it is; it has one thread again after [`NewNamespace::finish`].
pub fn new_namespace() -> Result<NewNamespace> {
    let make = || {
        process::unshare(libc::CLONE_NEWNET)?;
        loopback_up()?;
        process::thread_namespace("net")
    };
    std::thread::Builder::new().stack_size(STACK).spawn(make).op("start a thread").map(NewNamespace)
}

impl NewNamespace {
    pub fn finish(self) -> Result<OwnedFd> {
        self.0.join().unwrap_or_else(|_| Err(Error::new("make a network namespace", libc::ECHILD)))
    }
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
