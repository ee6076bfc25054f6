//! What a container's network has become at this start. Plain data, in the shim's state file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The network of a container that has one of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// `None` without a way out.
    pub addresses: Option<Addresses>,
    pub ports: Vec<PublishedPort>,
    /// Ports that are said to be served, published or not.
    pub exposed: Vec<(u16, Protocol)>,
}

/// The container's side of the default network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub ipv4: Link<Ipv4Addr>,
    /// `None` where the container has no IPv6.
    pub ipv6: Option<Link<Ipv6Addr>>,
}

/// One family's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link<A> {
    pub address: A,
    /// Bits of the network's part.
    pub prefix: u8,
    /// The host, as the container sees it.
    pub gateway: A,
    /// Where names are resolved.
    pub dns: A,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the container that is reached through one of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    /// Unspecified where every address of the host of this family will do.
    pub host_ip: IpAddr,
    pub host_port: u16,
    pub container_port: u16,
}
