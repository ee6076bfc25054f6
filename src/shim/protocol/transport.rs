//! Packets on their way: sent and received over the socket, with descriptors, and with files for what is larger.

use std::borrow::Cow;
use std::io::{IoSlice, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{MAX_FILE, MAX_PACKET, Reply};
use crate::shim::error::{Error, Result};
use crate::sys::socket::{self, Received};
use crate::sys::{self, Context};

/// A connected pair, close-on-exec on both ends: the first client's way to its shim.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socket::seqpacket_pair()?)
}

/// Sends one packet. `Ok(false)`: there is no room, and `wait` is not set. [`Error::Gone`]: nobody is there.
pub(in crate::shim) fn send(
    socket: BorrowedFd<'_>,
    (kind, payload): (u8, Cow<'_, [u8]>),
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> Result<bool> {
    let sent = socket::send(socket, &[IoSlice::new(&[kind]), IoSlice::new(&payload)], fds, wait);
    sent.map_err(gone)
}

/// A closed socket is not a failed call: it says that the other side is gone.
pub(in crate::shim) fn gone(error: sys::Error) -> Error {
    const CLOSED: [i32; 5] =
        [libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN, libc::ECONNREFUSED, libc::ENOENT];
    if CLOSED.contains(&error.errno()) { Error::Gone } else { Error::Sys(error) }
}

/// Waits for one packet: its bytes in `buffer`, its descriptors in `fds`. The buffer grows with what comes: most
/// packets are a few bytes, and a large buffer is pages to touch.
pub(in crate::shim) fn receive<'b>(
    socket: BorrowedFd<'_>,
    buffer: &'b mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> Result<&'b [u8]> {
    let length = socket::next_length(socket).map_err(gone)?.clamp(1, MAX_PACKET);
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    match socket::receive(socket, buffer, fds, true).map_err(gone)? {
        Some(Received::Packet(length)) => Ok(&buffer[..length]),
        Some(Received::Truncated) => Err(Error::Protocol { peer: "the shim", reason: "packet too large" }),
        Some(Received::Closed) | None => Err(Error::Gone),
    }
}

/// Sends one reply to a client that reads (the first one, before there is a server), waiting for room.
pub fn send_reply(socket: BorrowedFd<'_>, reply: &Reply<'_>) -> Result<()> {
    send(socket, reply.encode(), &[], true).map(|_| ())
}

/// What does not fit into a packet, as a file in memory.
pub(in crate::shim) fn file_of(bytes: &[u8]) -> Result<OwnedFd> {
    let file =
        rustix::fs::memfd_create("kelp request", rustix::fs::MemfdFlags::CLOEXEC).op("memfd_create")?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).op("write a request")?;
    Ok(file.into())
}

/// A file of [`file_of`], bounded. Reading does not wait.
pub(in crate::shim) fn read_file(file: &OwnedFd) -> sys::Result<Vec<u8>> {
    let size = rustix::fs::fstat(file).op("stat a request")?.st_size;
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_FILE).contains(size));
    let size = size.ok_or_else(|| sys::Error::new("read a request", libc::EFBIG))?;
    let mut bytes = vec![0; size];
    let mut have = 0;
    while have < size {
        match rustix::io::pread(file, &mut bytes[have..], have as u64) {
            Ok(0) => return Err(sys::Error::new("read a request", libc::EIO)),
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).op("read a request"),
        }
    }
    Ok(bytes)
}

/// The first client's reading of how the start went: the pid and warnings, or the failure as [`Error::Refused`]. A
/// socket that closes without a word is [`Error::Gone`].
pub fn receive_started(socket: BorrowedFd<'_>) -> Result<(u32, Vec<String>)> {
    let mut buffer = Vec::new();
    match Reply::decode(receive(socket, &mut buffer, &mut Vec::new())?)? {
        Reply::Started { pid, warnings } => Ok((pid, warnings)),
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(Error::Protocol { peer: "the shim", reason: "a start was to be reported" }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::error::ExitStatus;
    use crate::shim::protocol::Failure;

    #[test]
    fn the_start_is_reported_over_a_pair() {
        let (ours, theirs) = pair().unwrap();
        send_reply(theirs.as_fd(), &Reply::Started { pid: 42, warnings: Vec::new() }).unwrap();
        assert_eq!(receive_started(ours.as_fd()).unwrap(), (42, Vec::new()));
        let failure = Failure { status: 126, message: "permission denied".into(), hint: None, taken: None };
        send_reply(theirs.as_fd(), &Reply::Failed(failure)).unwrap();
        let error = receive_started(ours.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Refused { status: ExitStatus::CannotInvoke, .. }), "{error}");
        drop(theirs);
        assert!(matches!(receive_started(ours.as_fd()), Err(Error::Gone)));
    }
}
