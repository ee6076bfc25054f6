//! Unix packet sockets that carry descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::error::{Context, Error, Result};

/// The most descriptors one packet carries.
pub const MAX_FDS: usize = 4;

/// What [`receive`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A packet of this many bytes, whole.
    Packet(usize),
    /// One that was larger than the buffer, or carried more than [`MAX_FDS`] descriptors.
    Truncated,
    /// The other end is closed.
    Closed,
}

/// A connected pair, close-on-exec.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .op("socketpair")
}

/// An address below 108 bytes for `dir/name`, whatever the length of `dir`; good while the descriptor lives.
fn short_address(dir: &Path, name: &str) -> Result<(OwnedFd, SocketAddrUnix)> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty()).op_on("open", dir)?;
    let path = format!("/proc/self/fd/{}/{name}", fd.as_raw_fd());
    let address = SocketAddrUnix::new(path.as_str()).op_on("address of", dir.join(name))?;
    Ok((fd, address))
}

/// A listening, non-blocking socket at `dir/name`, mode 0600; whatever had that name is removed first.
pub fn listen(dir: &Path, name: &str) -> Result<OwnedFd> {
    let (dir_fd, address) = short_address(dir, name)?;
    match rustix::fs::unlinkat(&dir_fd, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(Error::with_subject("unlink", dir.join(name), e.raw_os_error())),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).op("socket")?;
    // The socket's own mode is what the name inherits, so there is no moment with a wider one.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).op("fchmod")?;
    rustix::net::bind(&socket, &address).op_on("bind", dir.join(name))?;
    rustix::net::listen(&socket, 128).op_on("listen", dir.join(name))?;
    Ok(socket)
}

/// A blocking connection to `dir/name`.
pub fn connect(dir: &Path, name: &str) -> Result<OwnedFd> {
    let (_dir_fd, address) = short_address(dir, name)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .op("socket")?;
    rustix::net::connect(&socket, &address).op_on("connect", dir.join(name))?;
    Ok(socket)
}

/// The next waiting connection, close-on-exec; `None` when there is none.
pub fn accept(listener: impl AsFd) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(socket) => return Ok(Some(socket)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(e) => return Err(Error::new("accept", e.raw_os_error())),
        }
    }
}

/// The user id of the process that made the connection, as seen from our user namespace.
pub fn peer_uid(socket: impl AsFd) -> Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket).op("SO_PEERCRED")?.uid.as_raw())
}

/// Sets how many bytes may wait to be read by the other end. The kernel's own limit caps it silently.
pub fn set_send_buffer(socket: impl AsFd, bytes: usize) -> Result<()> {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, bytes).op("SO_SNDBUF")
}

/// Sends one packet. `Ok(false)`: no room, and `wait` is not set. Never raises SIGPIPE.
pub fn send(socket: impl AsFd, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>], wait: bool) -> Result<bool> {
    use rustix::io::Errno;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Error::new("sendmsg", libc::E2BIG));
        }
        match rustix::net::sendmsg(&socket, parts, &mut control, flags) {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN) if !wait => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new("sendmsg", e.raw_os_error())),
        }
    }
}

/// Waits for a packet and tells its length in bytes, without taking it; 0 when the other end is closed.
pub fn next_length(socket: impl AsFd) -> Result<usize> {
    use rustix::io::Errno;
    let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
    loop {
        match rustix::net::recv(&socket, &mut [0u8; 0][..], flags) {
            Ok((_, length)) => return Ok(length),
            // See `receive`.
            Err(Errno::CONNRESET | Errno::INTR) => {}
            Err(e) => return Err(Error::new("recv", e.raw_os_error())),
        }
    }
}

/// Receives one packet; descriptors are appended to `fds`, close-on-exec. `None`: nothing there, and `wait` is not set.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> Result<Option<Received>> {
    use rustix::io::Errno;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, !wait);
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)
        {
            Ok(message) => message,
            Err(Errno::AGAIN) if !wait => return Ok(None),
            // The other end closed without having read all of ours. The kernel says so once, before it hands
            // out what the other end had sent.
            Err(Errno::CONNRESET | Errno::INTR) => continue,
            Err(e) => return Err(Error::new("recvmsg", e.raw_os_error())),
        };
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        return Ok(Some(if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            Received::Truncated
        } else if message.bytes == 0 {
            // Every packet of ours has a kind, so an empty one is the end.
            Received::Closed
        } else {
            Received::Packet(message.bytes)
        }));
    }
}
