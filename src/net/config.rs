//! What a network looks like from inside the container, and what of the host it may reach. Plain data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The container's side of the IPv4 link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V4 {
    /// The container's own address. Packets from any other are dropped.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// Answers ping; stands for the host's loopback where [`Config::host_loopback`] is set.
    pub gateway: Ipv4Addr,
    /// Where names are resolved, port 53. May be the gateway's.
    pub dns: Ipv4Addr,
}

/// The container's side of the IPv6 link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V6 {
    /// The container's own address. Packets from any other are dropped, link-local ones with them.
    pub address: Ipv6Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// Answers ping; stands for the host's loopback where [`Config::host_loopback`] is set.
    pub gateway: Ipv6Addr,
    /// Where names are resolved, port 53. May be the gateway's.
    pub dns: Ipv6Addr,
}

/// How many of each kind of flow may exist. A container that opens more waits, or loses its oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, those being opened included.
    pub tcp: usize,
    /// UDP sockets of the container that have one of the host's.
    pub udp: usize,
    /// Running pings.
    pub ping: usize,
    /// Bytes that the container sent and no host socket took yet, over all connections.
    pub backlog: usize,
}

/// A network. The default is one without any address, which drops everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub v4: Option<V4>,
    pub v6: Option<V6>,
    /// Largest packet on the link in bytes, 68 or more; 1280 or more with IPv6.
    pub mtu: u16,
    /// Whether the gateway's address leads to the host's 127.0.0.1 and ::1.
    pub host_loopback: bool,
    /// Whether 169.254.0.0/16 and the metadata service of Amazon's clouds can be reached.
    pub link_local: bool,
    /// Address of the host that connections leave from, instead of the one that its routes choose.
    pub outbound_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub outbound_v6: Option<Ipv6Addr>,
    pub limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tcp: 16_384, udp: 4096, ping: 256, backlog: 64 << 20 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            v4: None,
            v6: None,
            mtu: 1500,
            host_loopback: false,
            link_local: false,
            outbound_v4: None,
            outbound_v6: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Whether the container may send from `address`.
    #[must_use]
    pub fn is_container(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.is_some_and(|n| n.address == a),
            IpAddr::V6(a) => self.v6.is_some_and(|n| n.address == a),
        }
    }

    /// Whether `address` is where names are resolved.
    #[must_use]
    pub fn is_dns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.is_some_and(|n| n.dns == a),
            IpAddr::V6(a) => self.v6.is_some_and(|n| n.dns == a),
        }
    }

    /// Whether `address` is the gateway's.
    #[must_use]
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.is_some_and(|n| n.gateway == a),
            IpAddr::V6(a) => self.v6.is_some_and(|n| n.gateway == a),
        }
    }

    /// The gateway of the same family as `like`.
    #[must_use]
    pub fn gateway(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.v4.map(|n| n.gateway.into()),
            IpAddr::V6(_) => self.v6.map(|n| n.gateway.into()),
        }
    }

    /// The address of the host that flows to `like`'s family leave from, if one is asked for.
    #[must_use]
    pub fn outbound(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.outbound_v4.map(Into::into),
            IpAddr::V6(_) => self.outbound_v6.map(Into::into),
        }
    }
}
