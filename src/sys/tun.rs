//! TUN devices whose packets carry a virtio-net header.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Context, Error, Result};

/// The character device that makes TUN devices.
pub const DEVICE: &str = "/dev/net/tun";

/// What an error of [`open`] was doing when the device itself is out of reach.
pub const OPEN: &str = "open the device";

/// Length in bytes of the virtio-net header before every packet, in either direction.
pub const HEADER: usize = 10;

/// Packets that should be able to wait to be read: the interface's txqueuelen, which is set over netlink before the
/// interface is brought up. The kernel's 500 overflow when the connections of a few hundred clients have something
/// to say at once, as when their delayed acknowledgements fall due together.
pub const QUEUE: u32 = 2048;

/// Makes the interface `name` in the network namespace of the calling thread: layer 3, no packet information, a
/// virtio-net header of [`HEADER`] bytes in host byte order, checksums and TCP segmentation left to the reader.
/// The interface goes when the descriptor, which does not block, is closed. It is down and has no address.
pub fn open(name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tun = rustix::fs::open(DEVICE, flags, Mode::empty()).op_on(OPEN, DEVICE)?;
    // SAFETY: ifreq is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::with_subject("make the interface", Path::new(name), libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR).unwrap_or_default();
    // SAFETY: TUNSETIFF reads and writes an ifreq, which request is.
    let rc = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if rc != 0 {
        return Err(Error::with_subject("make the interface", Path::new(name), Error::last("").errno()));
    }
    let size = i32::try_from(HEADER).unwrap_or_default();
    // SAFETY: TUNSETVNETHDRSZ reads an int.
    let rc = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) };
    if rc != 0 {
        return Err(Error::last("TUNSETVNETHDRSZ"));
    }
    let offload = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes the flags by value.
    let rc = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) };
    if rc == 0 { Ok(tun) } else { Err(Error::last("TUNSETOFFLOAD")) }
}

/// Takes one packet with its header. `None`: none is there. A packet longer than `buffer` is cut off.
pub fn read(tun: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>> {
    use rustix::io::Errno;
    loop {
        match rustix::io::read(&tun, &mut *buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new("read from the TUN device", e.raw_os_error())),
        }
    }
}

/// Gives one packet, header first, in any number of parts.
pub fn write(tun: impl AsFd, parts: &[IoSlice<'_>]) -> Result<()> {
    use rustix::io::Errno;
    loop {
        match rustix::io::writev(&tun, parts) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new("write to the TUN device", e.raw_os_error())),
        }
    }
}
