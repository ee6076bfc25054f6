//! `--network`: which network, and how the one in user space is set up.

use std::net::{IpAddr, Ipv4Addr};

use super::{invalid, networks};
use crate::engine::Result;
use crate::engine::network::is_for_networks;
use crate::engine::request::NetworkMode;
use crate::shim::network::{LARGEST_PREFIX, Slirp};

/// Smallest MTU of a link with IPv6, and of one without, in bytes.
const MTU6: u16 = 1280;
const MTU4: u16 = 68;

/// `slirp[:OPTIONS]`, `none`, `host`, `container:NAME`. podman's `slirp4netns` is the same network, and takes its
/// options under the names that they have there.
pub fn network(mode: &str) -> Result<NetworkMode> {
    let fail = |reason: &str| Err(invalid("network", mode, reason));
    let (name, options) = mode.split_once(':').map_or((mode, None), |(name, rest)| (name, Some(rest)));
    match (name, options) {
        ("slirp" | "slirp4netns" | "default" | "private", None) => Ok(NetworkMode::default()),
        ("slirp" | "slirp4netns", Some(options)) => Ok(NetworkMode::Slirp(slirp(options)?)),
        ("none", None) => Ok(NetworkMode::None),
        ("host", None) => Ok(NetworkMode::Host),
        ("container", Some("")) => fail("the name of a container must follow `container:`"),
        ("container", Some(other)) => Ok(NetworkMode::Container(other.to_owned())),
        ("pasta", _) => fail("kelp's own network in user space is called slirp"),
        ("ns", _) => fail("joining a namespace by its path is not built yet"),
        ("none" | "host" | "default" | "private", Some(_)) => fail("it has no options"),
        _ => networks::join(mode).map(|join| NetworkMode::Networks(vec![join])),
    }
}

fn slirp(options: &str) -> Result<Slirp> {
    let mut slirp = Slirp::default();
    for option in options.split(',') {
        let fail = |reason: &str| invalid("network option", option, reason);
        let (key, value) = option.split_once('=').ok_or_else(|| fail("KEY=VALUE is expected"))?;
        let switch = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(fail("true or false is expected")),
        };
        match key.replace('_', "-").as_str() {
            "cidr" => slirp.cidr = Some(cidr(value).map_err(fail)?),
            "mtu" => {
                slirp.mtu = value.parse().map_err(|_| fail("a number of bytes up to 65535 is expected"))?
            }
            "host-loopback" | "allow-host-loopback" => slirp.host_loopback = switch()?,
            "link-local" => slirp.link_local = switch()?,
            "ipv6" | "enable-ipv6" => slirp.ipv6 = switch()?,
            "outbound-addr" | "outbound-addr6" => match value.parse() {
                Ok(address) if is_loopback(address) => {
                    return Err(fail(
                        "nothing gets off this host from its loopback: `ip addr` lists other addresses",
                    ));
                }
                Ok(IpAddr::V4(v4)) if key.ends_with("addr") => slirp.outbound_v4 = Some(v4),
                Ok(IpAddr::V6(v6)) => slirp.outbound_v6 = Some(v6),
                _ => return Err(fail("an address of the host is expected")),
            },
            "port-handler" => {
                return Err(fail("there is one handler, which shows clients' own addresses: leave it out"));
            }
            _ => {
                return Err(fail("cidr, mtu, host-loopback, link-local, outbound-addr and ipv6 are allowed"));
            }
        }
    }
    let least = if slirp.ipv6 { MTU6 } else { MTU4 };
    if slirp.mtu < least {
        let reason = format!(
            "{least} is the least{}",
            if slirp.ipv6 { " with IPv6; ipv6=false allows 68" } else { "" }
        );
        return Err(invalid("mtu", slirp.mtu.to_string(), reason));
    }
    Ok(slirp)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn cidr(value: &str) -> std::result::Result<(Ipv4Addr, u8), &'static str> {
    let (address, prefix) = value.split_once('/').ok_or("ADDRESS/BITS is expected")?;
    let address: Ipv4Addr = address.parse().map_err(|_| "an IPv4 network is expected")?;
    if !is_for_networks(address.into()) {
        return Err("no network can be there");
    }
    let prefix = prefix.parse().ok().filter(|bits| (8..=LARGEST_PREFIX).contains(bits));
    Ok((address, prefix.ok_or("a prefix of 8 to 25 bits is expected")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(network("host").unwrap(), NetworkMode::Host);
        assert_eq!(network("slirp").unwrap(), NetworkMode::default());
        assert_eq!(network("container:x").unwrap(), NetworkMode::Container("x".into()));
        assert!(
            matches!(network("my-net").unwrap(), NetworkMode::Networks(joins) if joins[0].network == "my-net")
        );
        for bad in ["container:", "none:x", "host:x", "pasta", "slirp:", "slirp:mtu"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_of_kelps_and_of_podmans() {
        let of = |text: &str| match network(text) {
            Ok(NetworkMode::Slirp(slirp)) => slirp,
            other => panic!("{text}: {other:?}"),
        };
        let all =
            of("slirp:cidr=192.168.7.0/24,mtu=9000,host-loopback=true,outbound-addr=10.0.0.1,ipv6=false");
        assert_eq!(all.cidr, Some(([192, 168, 7, 0].into(), 24)));
        assert_eq!((all.mtu, all.host_loopback, all.ipv6), (9000, true, false));
        assert_eq!(all.outbound_v4, Some([10, 0, 0, 1].into()));
        let podman = of("slirp4netns:allow_host_loopback=true,enable_ipv6=false,outbound_addr6=fd01::1");
        assert!(podman.host_loopback && !podman.ipv6 && podman.outbound_v6.is_some());
        for bad in [
            "mtu=1000",
            "mtu=67,ipv6=false",
            "mtu=x",
            "cidr=10.0.0.0/26",
            "cidr=10.0.0.0",
            "cidr=127.0.0.0/8",
            "cidr=224.0.0.0/24",
            "cidr=0.0.0.0/8",
            "cidr=fd00::/64",
            "outbound-addr=eth0",
            "outbound_addr6=1.2.3.4",
            "outbound-addr=127.0.0.1",
            "outbound-addr=127.9.9.9",
            "outbound_addr6=::1",
            "outbound-addr=::ffff:127.0.0.1",
            "port_handler=rootlesskit",
            "host-loopback=yes",
            "x=1",
        ] {
            assert!(network(&format!("slirp:{bad}")).is_err(), "{bad}");
        }
    }
}
