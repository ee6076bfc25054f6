//! Published ports: sockets of the host, bound before the container runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::Publish;
use crate::net::publish::bind;
use crate::shim::protocol::{Failure, TakenPort};
use crate::store::container::network::{Protocol, PublishedPort};
use crate::sys;

/// How often a free port is looked for that both families have.
const TRIES: usize = 32;

/// A port that is published.
#[derive(Debug)]
pub struct Opened {
    pub published: PublishedPort,
    pub socket: OwnedFd,
}

/// Opens all of them, or none.
pub(in crate::shim) fn open(wanted: &[Publish]) -> Result<Vec<Opened>, Failure> {
    let mut opened = Vec::with_capacity(wanted.len());
    for publish in wanted {
        opened.extend(open_one(publish)?);
    }
    Ok(opened)
}

/// One entry for each address.
fn open_one(publish: &Publish) -> Result<Vec<Opened>, Failure> {
    let addresses: Vec<IpAddr> = match publish.host_ip {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    match publish.host_ports {
        Some((first, last)) => {
            let mut refused = None;
            for port in first..=last {
                match bind_all(&addresses, port, publish) {
                    Ok(opened) => return Ok(opened),
                    Err(failed) => refused = refused.or(Some(failed)),
                }
            }
            Err(refused.map_or_else(
                || explain(addresses[0], first, publish, libc::EINVAL),
                |(ip, port, errno)| explain(ip, port, publish, errno),
            ))
        }
        None => {
            let mut refused = (addresses[0], 0, libc::EADDRINUSE);
            for _ in 0..TRIES {
                match bind_all(&addresses, 0, publish) {
                    Ok(opened) => return Ok(opened),
                    Err(failed) => refused = failed,
                }
                if refused.2 != libc::EADDRINUSE {
                    break;
                }
            }
            Err(explain(refused.0, refused.1, publish, refused.2))
        }
    }
}

type Refused = (IpAddr, u16, i32);

/// The same port at each address; port 0 is one that the kernel chooses. A host without IPv6 has no such addresses.
fn bind_all(addresses: &[IpAddr], port: u16, publish: &Publish) -> Result<Vec<Opened>, Refused> {
    let mut port = port;
    let mut opened = Vec::with_capacity(addresses.len());
    for ip in addresses {
        let tcp = publish.protocol == Protocol::Tcp;
        let (socket, bound) = match bind(SocketAddr::new(*ip, port), tcp) {
            Ok(bound) => bound,
            Err(e) if without_family(&e) && !opened.is_empty() => continue,
            Err(e) => return Err((*ip, port, e.errno())),
        };
        port = bound;
        let published = PublishedPort {
            protocol: publish.protocol,
            host_ip: *ip,
            host_port: port,
            container_port: publish.container_port,
        };
        opened.push(Opened { published, socket });
    }
    Ok(opened)
}

fn without_family(error: &sys::Error) -> bool {
    error.is(libc::EAFNOSUPPORT) || error.is(libc::EADDRNOTAVAIL)
}

fn explain(ip: IpAddr, port: u16, publish: &Publish, errno: i32) -> Failure {
    let at = SocketAddr::new(ip, port);
    let protocol = publish.protocol.name();
    let failure = |reason: &str, hint: Option<String>| Failure {
        status: 125,
        message: format!("cannot publish port {at}/{protocol}: {reason}"),
        hint,
        taken: None,
    };
    match errno {
        libc::EADDRINUSE => Failure {
            taken: Some(TakenPort { address: at, protocol: publish.protocol }),
            ..failure("the port is already allocated", None)
        },
        libc::EACCES => {
            let instead = port.saturating_add(8000);
            failure(
                "only a privileged process may listen below the host's ip_unprivileged_port_start",
                Some(format!(
                    "publish a higher port (-p {instead}:{}), or let everybody have low ports (as root: sysctl \
                     net.ipv4.ip_unprivileged_port_start={port}), or let a proxy or firewall rule of root's lead \
                     from {port} to a higher one",
                    publish.container_port
                )),
            )
        }
        libc::EADDRNOTAVAIL => failure("the host has no such address", None),
        errno => failure(&sys::Error::new("bind", errno).to_string(), None),
    }
}
