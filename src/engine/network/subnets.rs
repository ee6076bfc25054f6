//! Which addresses a network gets: what the user wants, or what nobody has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::{Error, Result};
use crate::shim::network::host_routes;
use crate::store::id::ContainerId;
use crate::store::network::{NetworkRecord, Number, Subnet};

/// Shortest and longest prefix: two containers have room, and no network is half of the Internet.
const PREFIXES4: std::ops::RangeInclusive<u8> = 8..=29;
const PREFIXES6: std::ops::RangeInclusive<u8> = 16..=125;
/// Of a network whose addresses nobody chose, in bits.
const PREFIX4: u8 = 24;
const PREFIX6: u8 = 64;

/// As typed.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked<'a> {
    pub subnets: &'a [String],
    pub gateways: &'a [String],
    pub ranges: &'a [String],
    pub ipv6: bool,
}

/// Both families' parts.
pub(super) type Parts = (Subnet<Ipv4Addr>, Option<Subnet<Ipv6Addr>>);

fn invalid(what: &'static str, value: &str, reason: &str) -> Error {
    Error::Invalid { what, value: value.into(), reason: reason.into() }
}

/// `ADDRESS/BITS`.
fn cidr(what: &'static str, text: &str) -> Result<(IpAddr, u8)> {
    let fail = || invalid(what, text, "ADDRESS/BITS is expected");
    let (address, bits) = text.split_once('/').ok_or_else(fail)?;
    let address: IpAddr = address.parse().map_err(|_| fail())?;
    let bits: u8 = bits.parse().map_err(|_| fail())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits <= most { Ok((address, bits)) } else { Err(fail()) }
}

/// Reads what was asked for, and chooses what was not, apart from `others` and the host's routes.
pub(super) fn choose(
    asked: &Asked<'_>,
    preferred: Option<(Ipv4Addr, u8)>,
    others: &[NetworkRecord],
) -> Result<Parts> {
    let (routes4, routes6) = host_routes();
    let mut v4 = None;
    let mut v6 = None;
    for text in asked.subnets {
        let twice = || invalid("subnet", text, "one of each family is allowed");
        match cidr("subnet", text)? {
            (a, _) if !is_for_networks(a) => return Err(invalid("subnet", text, "no network can be there")),
            (IpAddr::V4(a), bits) if v4.is_none() => v4 = Some(subnet(text, a, bits, PREFIXES4)?),
            (IpAddr::V6(a), bits) if v6.is_none() => v6 = Some(subnet(text, a, bits, PREFIXES6)?),
            _ => return Err(twice()),
        }
    }
    if v6.is_some() && !asked.ipv6 {
        return Err(Error::Usage("an IPv6 subnet is of use with --ipv6 only"));
    }
    let (networks4, networks6): (Vec<_>, Vec<_>) =
        others.iter().map(|n| ((n.v4.first, n.v4.prefix), n.v6.map(|v6| (v6.first, v6.prefix)))).unzip();
    let networks6: Vec<_> = networks6.into_iter().flatten().collect();
    let mut v4 = match v4 {
        Some(v4) => not_taken(v4, &networks4, &routes4)?,
        None => free4(preferred, &[networks4, routes4].concat())?,
    };
    let mut v6 = match v6 {
        Some(v6) => Some(not_taken(v6, &networks6, &routes6)?),
        None if asked.ipv6 => Some(free6(&[networks6, routes6].concat())?),
        None => None,
    };
    for text in asked.ranges {
        let fail = || invalid("ip-range", text, "it is in none of the network's subnets");
        match (cidr("ip-range", text)?, &mut v6) {
            ((IpAddr::V4(a), bits), _) => v4.range = Some(range(&v4, a, bits).ok_or_else(fail)?),
            ((IpAddr::V6(a), bits), Some(v6)) => v6.range = Some(range(v6, a, bits).ok_or_else(fail)?),
            _ => return Err(fail()),
        }
    }
    for text in asked.gateways {
        let fail = || invalid("gateway", text, "it is no host of the network's subnets");
        let address: IpAddr = text.parse().map_err(|_| invalid("gateway", text, "an address is expected"))?;
        match (address, &mut v6) {
            (IpAddr::V4(a), _) => v4.gateway = gateway(&v4, a).ok_or_else(fail)?,
            (IpAddr::V6(a), Some(v6)) => v6.gateway = gateway(v6, a).ok_or_else(fail)?,
            _ => return Err(fail()),
        }
    }
    Ok((v4, v6))
}

/// Reads which addresses no container is to be given, `NAME=ADDRESS` each; of several for one name the last one counts,
/// as with docker, whose words these are. They are of subnets that the user chose: of others they would be a guess.
pub(super) fn reserved(
    texts: &[String],
    chosen: &[String],
    (v4, v6): &Parts,
) -> Result<BTreeMap<String, IpAddr>> {
    let mut asked = BTreeMap::new();
    for text in texts {
        let (name, address) =
            text.split_once('=').ok_or_else(|| invalid("aux-address", text, "NAME=ADDRESS is expected"))?;
        asked.insert(name, address);
    }
    let mut reserved: BTreeMap<String, IpAddr> = BTreeMap::new();
    for (name, text) in asked {
        let address: Option<IpAddr> = text.parse().ok();
        let is_chosen = |v4: bool| chosen.iter().any(|subnet| subnet.contains(':') != v4);
        let free = match address {
            Some(IpAddr::V4(a)) if is_chosen(true) && v4.contains(a) => v4.is_for_containers(a),
            Some(IpAddr::V6(a)) if is_chosen(false) => match v6 {
                Some(v6) if v6.contains(a) => v6.is_for_containers(a),
                _ => return Err(Error::Network(format!("no matching subnet for aux-address {text}"))),
            },
            _ => return Err(Error::Network(format!("no matching subnet for aux-address {text}"))),
        };
        match address {
            Some(address) if free && !reserved.values().any(|other| *other == address) => {
                reserved.insert(name.to_owned(), address);
            }
            _ => {
                return Err(Error::Network(format!(
                    "failed to allocate secondary ip address ({name}:{text}): Address already in use"
                )));
            }
        }
    }
    Ok(reserved)
}

/// Whether hosts can have such an address: nobody routes to a loopback, a group, a broadcast, or "this network".
pub(in crate::engine) fn is_for_networks(address: IpAddr) -> bool {
    let none = match address {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.octets()[0] >= 240,
        IpAddr::V6(a) => a.is_unspecified() || a.is_unicast_link_local(),
    };
    !(none || address.is_loopback() || address.is_multicast())
}

fn subnet<A: Number>(
    text: &str,
    address: A,
    bits: u8,
    allowed: std::ops::RangeInclusive<u8>,
) -> Result<Subnet<A>> {
    if !allowed.contains(&bits) {
        let reason = format!("a prefix of {} to {} bits is allowed", allowed.start(), allowed.end());
        return Err(invalid("subnet", text, &reason));
    }
    let made = Subnet::around(address, bits);
    if made.first != address {
        let meant = format!("it names a host: it should be {}/{bits}", made.first);
        return Err(invalid("subnet", text, &meant));
    }
    Ok(made)
}

fn not_taken<A: Number>(subnet: Subnet<A>, networks: &[(A, u8)], routes: &[(A, u8)]) -> Result<Subnet<A>> {
    if networks.iter().any(|n| subnet.overlaps(*n)) {
        return Err(Error::Network(
            "invalid pool request: Pool overlaps with other one on this address space".into(),
        ));
    }
    refuse_routed(&subnet, routes)?;
    Ok(subnet)
}

/// What the host has a route to would be hidden from the containers.
fn refuse_routed<A: Number>(subnet: &Subnet<A>, routes: &[(A, u8)]) -> Result<()> {
    match routes.iter().find(|r| r.1 > 0 && subnet.overlaps(**r)) {
        None => Ok(()),
        Some((to, bits)) => Err(Error::Network(format!(
            "invalid pool request: the host has a route to a part of the subnet, {to}/{bits}, which its containers \
             could not reach any more"
        ))),
    }
}

/// The same of the network of one container, at addresses that the user chose.
pub(in crate::engine) fn refuse_routed_cidr((network, prefix): (Ipv4Addr, u8)) -> Result<()> {
    refuse_routed(&Subnet::around(network, prefix), &host_routes().0)
}

/// podman's pool first, then parts of docker's.
fn free4(preferred: Option<(Ipv4Addr, u8)>, taken: &[(Ipv4Addr, u8)]) -> Result<Subnet<Ipv4Addr>> {
    let pools = [(10, 89), (172, 28), (172, 29), (192, 168), (10, 231)];
    let candidates =
        pools.iter().flat_map(|(a, b)| (0..=255).map(|c| (Ipv4Addr::new(*a, *b, c, 0), PREFIX4)));
    let mut candidates = preferred.into_iter().chain(candidates).map(|(a, bits)| Subnet::around(a, bits));
    candidates.find(|c| !taken.iter().any(|t| c.overlaps(*t))).ok_or_else(|| {
        Error::Network(
            "could not find an available, non-overlapping IPv4 address pool: choose one with --subnet".into(),
        )
    })
}

/// RFC 4193: forty random bits.
fn free6(taken: &[(Ipv6Addr, u8)]) -> Result<Subnet<Ipv6Addr>> {
    for _ in 0..16 {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&random_prefix()?);
        let made = Subnet::around(bytes.into(), PREFIX6);
        if !taken.iter().any(|t| made.overlaps(*t)) {
            return Ok(made);
        }
    }
    Err(Error::Network(
        "could not find an available, non-overlapping IPv6 address pool: choose one with --subnet".into(),
    ))
}

/// The digits of a fresh id are the kernel's randomness.
fn random_prefix() -> Result<[u8; 6]> {
    let id =
        ContainerId::random().ok_or_else(|| Error::Network("the kernel gives no random numbers".into()))?;
    let number = u64::from_str_radix(&id.as_str()[..10], 16).unwrap_or_default();
    let [_, _, _, a, b, c, d, e] = number.to_be_bytes();
    Ok([0xfd, a, b, c, d, e])
}

fn range<A: Number>(subnet: &Subnet<A>, address: A, bits: u8) -> Option<(A, u8)> {
    let first = Subnet::around(address, bits).first;
    (bits >= subnet.prefix && subnet.contains(first)).then_some((first, bits))
}

/// Any host's address will do.
fn gateway<A: Number>(subnet: &Subnet<A>, address: A) -> Option<A> {
    (address == subnet.gateway || subnet.is_for_containers(address)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(subnets: &'a [String], gateways: &'a [String], ranges: &'a [String]) -> Asked<'a> {
        Asked { subnets, gateways, ranges, ipv6: subnets.iter().any(|s| s.contains(':')) }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn what_the_user_wants() {
        let (subnets, gateways) = (words(&["10.77.0.0/16", "fd77::/64"]), words(&["10.77.9.9", "fd77::9"]));
        let ranges = words(&["10.77.4.0/24"]);
        let (v4, v6) = choose(&asked(&subnets, &gateways, &ranges), None, &[]).unwrap();
        assert_eq!((v4.gateway, v4.range), ([10, 77, 9, 9].into(), Some(([10, 77, 4, 0].into(), 24))));
        assert_eq!(v6.unwrap().gateway, "fd77::9".parse::<Ipv6Addr>().unwrap());
        for (subnet, gateway, range) in [
            ("10.77.0.1/16", None, None),
            ("10.77.0.0/31", None, None),
            ("10.77.0.0", None, None),
            ("10.77.0.0/33", None, None),
            ("10.77.0.0/16", Some("10.78.0.1"), None),
            ("10.77.0.0/16", Some("10.77.255.255"), None),
            ("10.77.0.0/16", None, Some("10.78.0.0/24")),
            ("10.77.0.0/16", None, Some("10.0.0.0/8")),
        ] {
            let list = |text: Option<&str>| words(&text.into_iter().collect::<Vec<_>>());
            let (subnets, gateways, ranges) = (list(Some(subnet)), list(gateway), list(range));
            assert!(
                choose(&asked(&subnets, &gateways, &ranges), None, &[]).is_err(),
                "{subnet} {gateway:?} {range:?}"
            );
        }
    }

    #[test]
    fn what_nobody_is_given() {
        let subnets = words(&["10.77.0.0/16", "fd77::/64"]);
        let parts = choose(&asked(&subnets, &[], &[]), None, &[]).unwrap();
        let kept = reserved(&words(&["a=10.77.0.5", "a=10.77.0.6", "b=fd77::7"]), &subnets, &parts).unwrap();
        let addresses: Vec<String> = kept.values().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.77.0.6", "fd77::7"]);
        for (aux, words) in [
            ("10.77.0.5", "NAME=ADDRESS"),
            ("a=", "no matching subnet for aux-address "),
            ("a=x", "no matching subnet for aux-address x"),
            ("a=10.78.0.5", "no matching subnet for aux-address 10.78.0.5"),
            ("a=fd78::5", "no matching subnet for aux-address fd78::5"),
            ("a=10.77.0.1", "ip address (a:10.77.0.1): Address already in use"),
            ("a=10.77.255.255", "Address already in use"),
            ("a=fd77::1", "Address already in use"),
        ] {
            let error = reserved(&[aux.into()], &subnets, &parts).unwrap_err();
            assert!(error.to_string().contains(words), "{aux}: {error}");
        }
        let twice = words(&["a=10.77.0.5", "b=10.77.0.5"]);
        assert!(reserved(&twice, &subnets, &parts).unwrap_err().to_string().contains("(b:10.77.0.5)"));
        let unchosen =
            reserved(&[format!("a={}", Ipv4Addr::from(u32::from(parts.0.first) + 9))], &[], &parts);
        assert!(unchosen.unwrap_err().to_string().contains("no matching subnet"));
    }

    #[test]
    fn what_the_host_has_a_route_to() {
        let subnet: Subnet<Ipv4Addr> = Subnet::around([10, 77, 0, 0].into(), 16);
        let refused = |to: [u8; 4], bits: u8| {
            not_taken(subnet, &[], &[([192, 168, 0, 0].into(), 16), (to.into(), bits)]).err()
        };
        let error = refused([10, 77, 8, 0], 24).unwrap().to_string();
        assert!(error.contains("a route to a part of the subnet, 10.77.8.0/24, which"), "{error}");
        assert!(refused([10, 0, 0, 0], 8).is_some());
        assert!(refused([10, 78, 0, 0], 16).is_none() && refused([0, 0, 0, 0], 0).is_none());
    }

    #[test]
    fn what_nobody_has() {
        let taken = [([10, 89, 0, 0].into(), 24), ([10, 89, 1, 128].into(), 25)];
        assert_eq!(free4(None, &taken).unwrap().first, Ipv4Addr::new(10, 89, 2, 0));
        assert!(free4(None, &[([0, 0, 0, 0].into(), 0)]).is_err());
        assert_eq!(free6(&[]).unwrap().first.octets()[0], 0xfd);
    }
}
