//! The network of a container that has one of its own: what it is asked to be, its addresses, its published ports,
//! and the process that carries its packets.
//!
//! The namespace, with its TUN device, is made by the shim before the container is known, on a guess; see
//! [`ahead`]. The packets are the business of [`process`], with [`crate::net`].

mod addresses;
pub mod ahead;
pub mod change;
pub mod hub;
mod lines;
pub mod member;
mod ports;
pub mod process;
pub mod way;

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use addresses::{LARGEST_PREFIX, choose, host_routes};
pub use ports::Opened;
pub(super) use ports::open;

use crate::net;
use crate::store::container::network::{Addresses, Protocol};
use crate::sys::link::{Address, Tun};

/// The container's one interface besides `lo`.
const INTERFACE: &str = "eth0";

/// By which the host is known in a container, docker's name and podman's.
pub const HOST_NAMES: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// `--network slirp`: a private namespace whose packets become host sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slirp {
    /// The IPv4 network to use, whatever the host's routes are: its first address and the bits of its prefix.
    pub cidr: Option<(Ipv4Addr, u8)>,
    /// Largest packet on the link, in bytes.
    pub mtu: u16,
    /// The gateway's address leads to the host's loopback.
    pub host_loopback: bool,
    /// Link-local addresses are reached: clouds hand out the machine's credentials there.
    pub link_local: bool,
    /// Addresses of the host that connections leave from.
    pub outbound_v4: Option<Ipv4Addr>,
    pub outbound_v6: Option<Ipv6Addr>,
    pub ipv6: bool,
}

impl Default for Slirp {
    fn default() -> Self {
        Self {
            cidr: None,
            mtu: 1500,
            host_loopback: false,
            link_local: false,
            outbound_v4: None,
            outbound_v6: None,
            ipv6: true,
        }
    }
}

/// A port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    pub protocol: Protocol,
    /// `None` is every address of the host, of both families.
    pub host_ip: Option<std::net::IpAddr>,
    /// The first free one of these; `None` is any.
    pub host_ports: Option<(u16, u16)>,
    pub container_port: u16,
}

/// What the namespace is furnished with.
fn tun(slirp: &Slirp, addresses: &Addresses) -> Tun {
    let v4 = &addresses.ipv4;
    Tun {
        name: INTERFACE,
        mtu: slirp.mtu.into(),
        ipv4: Some(Address { own: v4.address, prefix: v4.prefix, gateway: v4.gateway }),
        ipv6: addresses.ipv6.map(|v6| Address { own: v6.address, prefix: v6.prefix, gateway: v6.gateway }),
    }
}

/// What the stack has to know.
fn config(slirp: &Slirp, addresses: &Addresses) -> net::Config {
    let v4 = addresses.ipv4;
    net::Config {
        v4: Some(net::V4 { address: v4.address, prefix: v4.prefix, gateway: v4.gateway, dns: v4.dns }),
        v6: addresses.ipv6.map(|v6| net::V6 {
            address: v6.address,
            prefix: v6.prefix,
            gateway: v6.gateway,
            dns: v6.dns,
        }),
        mtu: slirp.mtu,
        host_loopback: slirp.host_loopback,
        link_local: slirp.link_local,
        outbound_v4: slirp.outbound_v4,
        outbound_v6: slirp.outbound_v6,
        shared: false,
        closed: false,
        limits: net::Limits::default(),
    }
}
