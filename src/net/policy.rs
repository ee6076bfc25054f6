//! Where a packet's destination leads: to a socket of the host, to the stack itself, or nowhere.
//!
//! Closed, whatever the options: loopback by its own name in any spelling, multicast and broadcast, the link's other
//! addresses. A connection to `0.0.0.0` or to an IPv4-mapped address would reach the host's loopback, so neither
//! leaves. Link-local addresses, where clouds keep the credentials of the machine, are closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Config;

/// Where Amazon's clouds keep the credentials of the machine, apart from 169.254.169.254.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Port of the domain name system.
const DOMAIN: u16 = 53;

/// What a destination means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// A socket of the host, connected there.
    Host(SocketAddr),
    /// The DNS handler.
    Dns,
    /// The stack itself, where no port is open.
    Own,
    /// An address that may not be reached: the sender is told.
    Prohibited,
    /// Nothing is there: the sender is told.
    Unreachable,
    /// Not an address one can have a conversation with: silence.
    Nowhere,
}

/// Where `to` leads.
pub(super) fn route(config: &Config, to: SocketAddr) -> Route {
    let address = to.ip();
    if config.is_dns(address) && to.port() == DOMAIN {
        return Route::Dns;
    }
    if config.is_gateway(address) && config.host_loopback {
        let loopback: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        return Route::Host(SocketAddr::new(loopback, to.port()));
    }
    if config.is_gateway(address) || config.is_dns(address) {
        return Route::Own;
    }
    match address {
        IpAddr::V4(a) => route_v4(config, a, to),
        IpAddr::V6(a) => route_v6(config, a, to),
    }
}

fn route_v4(config: &Config, a: Ipv4Addr, to: SocketAddr) -> Route {
    let Some(net) = config.v4 else { return Route::Nowhere };
    // 0.0.0.0/8 is this network, 240.0.0.0/4 reserved and broadcast.
    if a.octets()[0] == 0 || a.octets()[0] >= 240 || a.is_loopback() || a.is_multicast() {
        return Route::Nowhere;
    }
    if a.is_link_local() {
        return if config.link_local { Route::Host(to) } else { Route::Prohibited };
    }
    let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix.min(32))).unwrap_or(0);
    if u32::from(a) & mask == u32::from(net.address) & mask {
        let broadcast = u32::from(a) | mask == u32::MAX && net.prefix < 31;
        return if broadcast || a == net.address { Route::Nowhere } else { Route::Unreachable };
    }
    Route::Host(to)
}

fn route_v6(config: &Config, a: Ipv6Addr, to: SocketAddr) -> Route {
    let Some(net) = config.v6 else { return Route::Nowhere };
    let segments = a.segments();
    // ::/96 holds `::`, `::1` and the old IPv4-compatible addresses, ::ffff:0:0/96 the mapped ones.
    let embedded = segments[..5] == [0; 5] && (segments[5] == 0 || segments[5] == 0xffff);
    if embedded || a.is_multicast() {
        return Route::Nowhere;
    }
    if a.is_unicast_link_local() || a == METADATA_V6 {
        // A link-local address of the host's links has no meaning without one of them.
        return if config.link_local && a == METADATA_V6 { Route::Host(to) } else { Route::Prohibited };
    }
    let mask = u128::MAX.checked_shl(128 - u32::from(net.prefix.min(128))).unwrap_or(0);
    if u128::from(a) & mask == u128::from(net.address) & mask {
        return if a == net.address { Route::Nowhere } else { Route::Unreachable };
    }
    Route::Host(to)
}

/// The address under which the container sees the host's `address`: loopback is the gateway.
pub(super) fn seen_from_container(config: &Config, address: IpAddr) -> Option<IpAddr> {
    if address.is_loopback() { config.gateway(address) } else { Some(address) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Route, route};
    use crate::net::{Config, V4, V6};

    fn config() -> Config {
        Config {
            v4: Some(V4 {
                address: "10.0.2.100".parse().unwrap(),
                prefix: 24,
                gateway: "10.0.2.2".parse().unwrap(),
                dns: "10.0.2.3".parse().unwrap(),
            }),
            v6: Some(V6 {
                address: "fd00::64".parse().unwrap(),
                prefix: 64,
                gateway: "fd00::2".parse().unwrap(),
                dns: "fd00::3".parse().unwrap(),
            }),
            ..Config::default()
        }
    }

    fn to(config: &Config, address: &str) -> Route {
        route(config, SocketAddr::new(address.parse().unwrap(), 80))
    }

    #[test]
    fn the_world_is_open_and_the_host_is_not() {
        let config = config();
        for address in ["192.0.2.1", "192.168.1.1", "100.64.0.1", "2001:db8::1", "64:ff9b::1", "fd01::1"] {
            let there = Route::Host(SocketAddr::new(address.parse().unwrap(), 80));
            assert_eq!(to(&config, address), there, "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "240.0.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "10.0.2.255",
            "10.0.2.100",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "ff02::1",
            "fd00::64",
        ] {
            assert_eq!(to(&config, address), Route::Nowhere, "{address}");
        }
        for address in ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1", "fd00:ec2::254"] {
            assert_eq!(to(&config, address), Route::Prohibited, "{address}");
        }
        for address in ["10.0.2.7", "fd00::7"] {
            assert_eq!(to(&config, address), Route::Unreachable, "{address}");
        }
        for address in ["10.0.2.2", "10.0.2.3", "fd00::2", "fd00::3"] {
            assert_eq!(to(&config, address), Route::Own, "{address}");
        }
    }

    #[test]
    fn the_gateway_is_the_hosts_loopback_only_when_asked_for() {
        let open = Config { host_loopback: true, ..config() };
        assert_eq!(to(&open, "10.0.2.2"), Route::Host("127.0.0.1:80".parse().unwrap()));
        assert_eq!(to(&open, "fd00::2"), Route::Host("[::1]:80".parse().unwrap()));
        assert_eq!(to(&open, "127.0.0.1"), Route::Nowhere);
        assert_eq!(to(&open, "10.0.2.3"), Route::Own);
    }

    #[test]
    fn names_are_resolved_at_one_port() {
        let config = config();
        assert_eq!(route(&config, "10.0.2.3:53".parse().unwrap()), Route::Dns);
        assert_eq!(route(&config, "[fd00::3]:53".parse().unwrap()), Route::Dns);
        assert_eq!(route(&config, "10.0.2.2:53".parse().unwrap()), Route::Own);
    }

    #[test]
    fn a_family_that_is_off_leads_nowhere() {
        let v4 = Config { v6: None, ..config() };
        assert_eq!(to(&v4, "2001:db8::1"), Route::Nowhere);
    }
}
