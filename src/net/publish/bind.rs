//! Sockets of the host that stand for a port of the container.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sys::{Context, Result};

/// Connections that wait to be accepted. The host's `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// A listening TCP socket, or a bound UDP socket, and its port, which the kernel chooses where `at` says 0. An IPv6
/// socket takes no IPv4 clients.
pub fn bind(at: SocketAddr, tcp: bool) -> Result<(OwnedFd, u16)> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None).op("socket")?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).op("IPV6_V6ONLY")?;
    }
    if tcp {
        // Connections of a former container in TIME_WAIT are no reason to refuse the port.
        sockopt::set_socket_reuseaddr(&socket, true).op("SO_REUSEADDR")?;
    }
    rustix::net::bind(&socket, &at).op("bind")?;
    if tcp {
        rustix::net::listen(&socket, BACKLOG).op("listen")?;
    }
    let bound =
        SocketAddr::try_from(rustix::net::getsockname(&socket).op("getsockname")?).op("getsockname")?;
    Ok((socket, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_and_both_families_are_apart() {
        for tcp in [true, false] {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let (_held, port) = bind(any, tcp).unwrap();
            let again = bind(SocketAddr::from(([127, 0, 0, 1], port)), tcp).unwrap_err();
            assert_eq!(again.errno(), libc::EADDRINUSE);
            let six = bind(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)), tcp);
            assert!(six.is_ok() || six.unwrap_err().is(libc::EAFNOSUPPORT));
        }
    }
}
