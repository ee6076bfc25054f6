//! What a container's network has become at this start. Plain data, in the shim's state file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::store::network::{Mac, Subnet};

/// The network of a container that has one of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// `None` without a way out.
    pub addresses: Option<Addresses>,
    pub ports: Vec<PublishedPort>,
    /// Ports that are said to be served, published or not.
    pub exposed: Vec<(u16, Protocol)>,
    /// The user-defined networks that it is in; without a network of its own [`Self::addresses`] are those of the one
    /// that is the way out, or else the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// A container in a user-defined network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The network's name and id.
    pub network: String,
    pub id: String,
    pub mac: Mac,
    /// What the user called it there, and all that it is known by.
    pub aliases: Vec<String>,
    pub names: Vec<String>,
    pub addresses: Addresses,
    /// Of the container's side.
    #[serde(default)]
    pub interface: String,
    /// See `--gw-priority`.
    #[serde(default)]
    pub priority: i32,
    /// The network leads nowhere.
    #[serde(default)]
    pub internal: bool,
    /// What the container itself calls others by, and their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
}

/// The container's side of the default network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub ipv4: Link<Ipv4Addr>,
    /// `None` where the container has no IPv6.
    pub ipv6: Option<Link<Ipv6Addr>>,
}

impl Addresses {
    /// Whether the address is one of the network's.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => Subnet::around(self.ipv4.address, self.ipv4.prefix).contains(a),
            IpAddr::V6(a) => self.ipv6.is_some_and(|v6| Subnet::around(v6.address, v6.prefix).contains(a)),
        }
    }
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
