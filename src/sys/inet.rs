//! Sockets of the Internet protocols and their options, for a process that relays between them.
//!
//! Sending and receiving return the bare errno: here it is the message, which the relay translates for the other
//! side, and it comes for every packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType, ipproto, sockopt,
};

use super::{Context, Error, Result};

/// What an operation on a socket of the host came to.
pub type Outcome<T> = std::result::Result<T, Errno>;

/// A kind of socket that the relay opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    /// ICMP echo, without privilege where `net.ipv4.ping_group_range` allows it.
    Ping,
}

/// A non-blocking eventfd.
pub fn event() -> Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).op("eventfd")
}

/// Makes an eventfd readable.
pub fn raise(event: impl AsFd) {
    // Fails only when it is readable already, beyond counting.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Makes an eventfd unreadable until it is raised again.
pub fn lower(event: impl AsFd) {
    let _ = rustix::io::read(event, &mut [0u8; 8]);
}

/// A non-blocking socket of the family of `like`.
pub fn socket(kind: Kind, like: IpAddr) -> Outcome<OwnedFd> {
    let (family, ping) = match like {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let (kind, protocol) = match kind {
        Kind::Tcp => (SocketType::STREAM, None),
        Kind::Udp => (SocketType::DGRAM, None),
        Kind::Ping => (SocketType::DGRAM, Some(ping)),
    };
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)
}

/// A connected pair of non-blocking unix stream sockets.
pub fn stream_pair() -> Outcome<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

pub fn bind(socket: impl AsFd, address: SocketAddr) -> Outcome<()> {
    rustix::net::bind(socket, &address)
}

/// Begins to connect. `INPROGRESS` is the usual answer.
pub fn connect(socket: impl AsFd, address: SocketAddr) -> Outcome<()> {
    rustix::net::connect(socket, &address)
}

/// The next waiting connection and its peer, non-blocking.
pub fn accept(listener: impl AsFd) -> Outcome<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(address_of).ok_or(Errno::AFNOSUPPORT)?;
    Ok((socket, peer))
}

/// The address, with IPv4 in IPv6's clothes undressed.
fn address_of(any: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(any).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The address that a socket is bound to.
pub fn local_address(socket: impl AsFd) -> Outcome<SocketAddr> {
    address_of(rustix::net::getsockname(socket)?).ok_or(Errno::AFNOSUPPORT)
}

/// Whether `address` is one of this host's own, loopback included.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    address.is_loopback()
        || socket(Kind::Udp, address).is_ok_and(|s| bind(s, SocketAddr::new(address, 0)).is_ok())
}

/// Sends what there is room for. Never raises SIGPIPE.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> Outcome<usize> {
    loop {
        match rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Sends one datagram.
pub fn send_to(socket: impl AsFd, bytes: &[u8], to: SocketAddr) -> Outcome<usize> {
    loop {
        match rustix::net::sendto(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &to) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Sends `bytes` as datagrams of `size` bytes, the last one may be shorter, in one go down to the device.
pub fn send_segments(socket: impl AsFd, bytes: &[u8], size: u16, to: SocketAddr) -> Outcome<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
    let parts = [std::io::IoSlice::new(bytes)];
    let control = [ControlMessage::UdpGsoSegments(&size)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_fd().as_raw_fd(), &parts, &control, flags, Some(&SockaddrStorage::from(to)))
        .map_err(|e| Errno::from_raw_os_error(e as i32))
}

/// Takes bytes of a stream. 0: the other end sends no more.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Outcome<usize> {
    receive_with(socket, buffer, RecvFlags::DONTWAIT)
}

/// Copies bytes of a stream from the peek offset on and moves the offset; they stay in the socket.
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> Outcome<usize> {
    receive_with(socket, buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK)
}

fn receive_with(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> Outcome<usize> {
    loop {
        match rustix::net::recv(&socket, &mut *buffer, flags) {
            Ok((n, _)) => return Ok(n),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Lets more datagrams wait in the socket than it has room for by default, as far as the host allows: five
/// milliseconds' worth at a gigabit in a second.
pub fn widen_queue(socket: impl AsFd) {
    /// In bytes. The kernel doubles it for its own records.
    const WANTED: usize = 512 << 10;
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(socket, WANTED);
}

/// Takes one datagram and its sender. The length is the datagram's own, which may be more than the buffer's.
pub fn receive_from(socket: impl AsFd, buffer: &mut [u8]) -> Outcome<(usize, SocketAddr)> {
    loop {
        match rustix::net::recvfrom(&socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, length, from)) => {
                let from = from.and_then(address_of).ok_or(Errno::AFNOSUPPORT)?;
                return Ok((length, from));
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Throws away the first `count` bytes of a TCP socket's queue. The number that was there.
pub fn discard(socket: impl AsFd, count: usize) -> Outcome<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC a TCP socket copies nothing, so the null buffer is not touched; see tcp(7).
    let n = unsafe { libc::recv(socket.as_fd().as_raw_fd(), std::ptr::null_mut(), count, flags) };
    usize::try_from(n).map_err(|_| last_errno())
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Sets an option whose value is an int.
fn set_int(socket: impl AsFd, level: i32, option: i32, value: i32) -> Outcome<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value is an int that outlives the call, and size is its size.
    let rc = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size) };
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Reads an option whose value is an int.
fn get_int(socket: impl AsFd, level: i32, option: i32) -> Outcome<i32> {
    let mut value = 0i32;
    let mut size = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: value is an int valid for writes, and size is its size.
    let rc = unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut size) };
    if rc == 0 { Ok(value) } else { Err(last_errno()) }
}

/// From where [`peek`] copies, in bytes from the head of the queue. Kernels before 6.9 cannot do that for TCP.
pub fn set_peek_offset(socket: impl AsFd, offset: usize) -> Outcome<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, i32::try_from(offset).unwrap_or(i32::MAX))
}

/// How many bytes a socket's send buffer may hold, and holds, the kernel's own overhead counted in.
pub fn send_buffer(socket: impl AsFd) -> Outcome<(u32, u32)> {
    let mut info = [0u32; 9];
    let mut size = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or_default();
    let fd = socket.as_fd().as_raw_fd();
    let (level, option) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
    // SAFETY: info is valid for writes of size bytes.
    let rc = unsafe { libc::getsockopt(fd, level, option, info.as_mut_ptr().cast(), &raw mut size) };
    let (limit, queued) =
        (info[libc::SK_MEMINFO_SNDBUF as usize], info[libc::SK_MEMINFO_WMEM_QUEUED as usize]);
    if rc == 0 { Ok((limit, queued)) } else { Err(last_errno()) }
}

/// The error that an asynchronous operation left behind, taken away.
pub fn take_error(socket: impl AsFd) -> Option<Errno> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => None,
        Ok(Err(e)) | Err(e) => Some(e),
    }
}

/// Has the coming close send a reset and throw away what is unsent.
pub fn reset_on_close(socket: impl AsFd) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Tells the peer that no more is coming.
pub fn shutdown_write(socket: impl AsFd) -> Outcome<()> {
    rustix::net::shutdown(socket, Shutdown::Write)
}

/// What a relayed TCP connection wants of its socket: no delay of its own, and urgent bytes in their place.
pub fn prepare_tcp(socket: impl AsFd) -> Outcome<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_oobinline(&socket, true)
}

/// Has the kernel find out about a dead peer after `idle` without traffic.
pub fn keep_alive(socket: impl AsFd, idle: Duration) -> Outcome<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, idle)
}

/// The time to live of what the socket sends from now on.
pub fn set_hop_limit(socket: impl AsFd, like: IpAddr, hops: u8) -> Outcome<()> {
    match like {
        IpAddr::V4(_) => set_int(socket, libc::IPPROTO_IP, libc::IP_TTL, hops.into()),
        IpAddr::V6(_) => set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, hops.into()),
    }
}

/// Whether what is too large for the path is refused with `MSGSIZE`, or cut up on the way.
pub fn set_dont_fragment(socket: impl AsFd, like: IpAddr, on: bool) -> Outcome<()> {
    match like {
        IpAddr::V4(_) => {
            let how = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_WANT };
            set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)
        }
        IpAddr::V6(_) => {
            let how = if on { libc::IPV6_PMTUDISC_DO } else { libc::IPV6_PMTUDISC_WANT };
            set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, how)
        }
    }
}

/// The kernel's idea of the path's MTU towards `to`, asked with a socket of its own.
pub fn path_mtu(to: SocketAddr) -> Outcome<u32> {
    let probe = socket(Kind::Udp, to.ip())?;
    connect(&probe, to)?;
    let mtu = match to.ip() {
        IpAddr::V4(_) => get_int(&probe, libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => get_int(&probe, libc::IPPROTO_IPV6, libc::IPV6_MTU),
    }?;
    u32::try_from(mtu).map_err(|_| Errno::RANGE)
}

/// Has ICMP errors queued for [`receive_error`].
pub fn queue_errors(socket: impl AsFd, like: IpAddr) -> Outcome<()> {
    match like {
        IpAddr::V4(_) => set_int(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        IpAddr::V6(_) => set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Where an error on a socket came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This host itself.
    Local,
    /// An ICMP or ICMPv6 message of this type and code.
    Icmp { kind: u8, code: u8 },
}

/// An error about something that was sent.
#[derive(Debug, Clone, Copy)]
pub struct SocketError {
    pub errno: Errno,
    pub origin: Origin,
    /// The MTU, where the error is about one.
    pub info: u32,
    /// Who sent the message.
    pub offender: Option<IpAddr>,
    /// Where the datagram that it is about had been sent to.
    pub destination: Option<SocketAddr>,
    /// How many bytes of that datagram were put into the buffer.
    pub length: usize,
}

/// Takes one error from a socket's queue, and the beginning of the datagram that it is about.
pub fn receive_error(socket: impl AsFd, buffer: &mut [u8]) -> Outcome<SocketError> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    let mut space = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let mut parts = [std::io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), flags)
        .map_err(|e| Errno::from_raw_os_error(e as i32))?;
    let destination = message.address.and_then(|a| storage_address(&a));
    let length = message.bytes;
    for part in message.cmsgs().map_err(|e| Errno::from_raw_os_error(e as i32))? {
        let (e, offender) = match part {
            ControlMessageOwned::Ipv4RecvErr(e, from) => {
                (e, from.map(|a| IpAddr::V4(Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr)))))
            }
            ControlMessageOwned::Ipv6RecvErr(e, from) => {
                (e, from.map(|a| IpAddr::V6(Ipv6Addr::from(a.sin6_addr.s6_addr))))
            }
            _ => continue,
        };
        let origin = match e.ee_origin {
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                Origin::Icmp { kind: e.ee_type, code: e.ee_code }
            }
            _ => Origin::Local,
        };
        let errno = Errno::from_raw_os_error(i32::try_from(e.ee_errno).unwrap_or(libc::EIO));
        let offender = offender.filter(|a| !a.is_unspecified());
        return Ok(SocketError { errno, origin, info: e.ee_info, offender, destination, length });
    }
    Err(Errno::NODATA)
}

fn storage_address(storage: &nix::sys::socket::SockaddrStorage) -> Option<SocketAddr> {
    if let Some(a) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(a.ip().into(), a.port()));
    }
    storage.as_sockaddr_in6().map(|a| SocketAddr::new(IpAddr::V6(a.ip()).to_canonical(), a.port()))
}

/// Has [`receive_published`] told at which of the host's addresses a datagram came in.
pub fn tell_local_address(socket: impl AsFd) {
    // An IPv6 socket wants both: it may take IPv4 too.
    let _ = set_int(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    let _ = set_int(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
}

/// Takes one datagram: its length, its sender, and the address of the host that it was sent to.
pub fn receive_published(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> Outcome<(usize, SocketAddr, Option<IpAddr>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    let mut space = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut parts = [std::io::IoSliceMut::new(buffer)];
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)
        .map_err(|e| Errno::from_raw_os_error(e as i32))?;
    let from = message.address.and_then(|a| storage_address(&a)).ok_or(Errno::AFNOSUPPORT)?;
    let mut local = None;
    for part in message.cmsgs().map_err(|e| Errno::from_raw_os_error(e as i32))? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                local = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
            }
            _ => {}
        }
    }
    Ok((message.bytes, from, local))
}

/// Sends one datagram from a published socket, from the address of the host that the client knows.
pub fn send_published(
    socket: impl AsFd,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Outcome<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
    let dressed = is_v6(&socket)?;
    let to = match (dressed, to.ip()) {
        (true, IpAddr::V4(a)) => SocketAddr::new(a.to_ipv6_mapped().into(), to.port()),
        _ => to,
    };
    let v4 =
        from.and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None }).map(|a| libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(a).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        });
    let v6 = from
        .and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None })
        .map(|a| libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: a.octets() }, ipi6_ifindex: 0 });
    let mut control = Vec::with_capacity(1);
    control.extend(v4.as_ref().map(ControlMessage::Ipv4PacketInfo));
    control.extend(v6.as_ref().map(ControlMessage::Ipv6PacketInfo));
    let parts = [std::io::IoSlice::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let fd = socket.as_fd().as_raw_fd();
    sendmsg(fd, &parts, &control, flags, Some(&SockaddrStorage::from(to)))
        .map_err(|e| Errno::from_raw_os_error(e as i32))
}

fn is_v6(socket: impl AsFd) -> Outcome<bool> {
    Ok(sockopt::socket_domain(socket)? == AddressFamily::INET6)
}

/// Makes a descriptor non-blocking.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    rustix::io::ioctl_fionbio(fd, true).map_err(|e| Error::new("FIONBIO", e.raw_os_error()))
}
