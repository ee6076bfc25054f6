//! Which addresses a container gets: those of a network that the host has no other way to.
//!
//! What overlaps a route of the host's would hide those hosts from the container, so the first block without an
//! overlap is taken. Same routes, same choice.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::Slirp;
use crate::store::container::network::{Addresses, Link};

/// Longest prefix that has room for [`OWN`], in bits.
pub const LARGEST_PREFIX: u8 = 25;

/// The host parts of gateway, name server and container, the same in both families.
const GATEWAY: u8 = 2;
const DNS: u8 = 3;
const OWN: u8 = 100;

/// slirp's own network first, then others of the private ranges that few people use.
const BLOCKS: [[u8; 4]; 6] =
    [[10, 0, 2, 0], [10, 231, 2, 0], [172, 29, 2, 0], [192, 168, 229, 0], [10, 97, 2, 0], [172, 20, 229, 0]];
const PREFIX: u8 = 24;
/// `fd00::/64`, and one with a random part (RFC 4193) for hosts that use that one themselves.
const BLOCKS6: [[u16; 4]; 2] = [[0xfd00, 0, 0, 0], [0xfd6b, 0x656c, 0x7021, 2]];
const PREFIX6: u8 = 64;

/// Most of a routing table that is looked at, in bytes.
const TABLE: u64 = 1 << 20;

/// The container's addresses in the light of the host's present routes.
pub fn choose(slirp: &Slirp) -> Addresses {
    let (network, prefix) = slirp.cidr.unwrap_or_else(|| {
        let routes = routes(&table("/proc/thread-self/net/route"));
        let free = |block: &&[u8; 4]| !routes.iter().any(|r| overlap4((**block).into(), PREFIX, *r));
        (Ipv4Addr::from(*BLOCKS.iter().find(free).unwrap_or(&BLOCKS[0])), PREFIX)
    });
    let ipv6 = (slirp.ipv6 && Path::new("/proc/sys/net/ipv6").exists()).then(|| {
        let routes = routes6(&table("/proc/thread-self/net/ipv6_route"));
        let free = |block: &&[u16; 4]| !routes.iter().any(|r| overlap6(first6(**block), PREFIX6, *r));
        first6(*BLOCKS6.iter().find(free).unwrap_or(&BLOCKS6[0]))
    });
    Addresses { ipv4: link4(network, prefix), ipv6: ipv6.map(link6) }
}

fn link4(network: Ipv4Addr, prefix: u8) -> Link<Ipv4Addr> {
    let first = u32::from(network) & mask4(prefix);
    let host = |part: u8| Ipv4Addr::from(first | u32::from(part));
    Link { address: host(OWN), prefix, gateway: host(GATEWAY), dns: host(DNS) }
}

fn link6(network: Ipv6Addr) -> Link<Ipv6Addr> {
    let host = |part: u8| Ipv6Addr::from(u128::from(network) | u128::from(part));
    Link { address: host(OWN), prefix: PREFIX6, gateway: host(GATEWAY), dns: host(DNS) }
}

fn first6(block: [u16; 4]) -> Ipv6Addr {
    let [a, b, c, d] = block;
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

fn table(path: &str) -> String {
    let mut text = String::new();
    // A host without a table has no routes.
    let _ = File::open(path).and_then(|file| file.take(TABLE).read_to_string(&mut text));
    text
}

/// Destinations and prefixes of `/proc/net/route`, without default routes: address and mask are hexadecimal words in
/// the machine's byte order.
fn routes(table: &str) -> Vec<(Ipv4Addr, u8)> {
    let number =
        |word: &str| u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes).map(u32::from_be_bytes);
    let route = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (to, mask) = (number(words.nth(1)?)?, number(words.nth(5)?)?);
        Some((Ipv4Addr::from(to), u8::try_from(mask.count_ones()).ok()?))
    };
    // Two half-Internets are a default route too: VPNs write it so.
    table.lines().skip(1).filter_map(route).filter(|(_, prefix)| *prefix > 1).collect()
}

/// The same of `/proc/net/ipv6_route`: hexadecimal destination and prefix length come first. Routes of `lo` are the
/// host's own addresses, and the multicast range is everybody's.
fn routes6(table: &str) -> Vec<(Ipv6Addr, u8)> {
    let route = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let to = u128::from_str_radix(words.next()?, 16).ok()?;
        let prefix = u8::from_str_radix(words.next()?, 16).ok()?;
        Some((Ipv6Addr::from(to), prefix))
    };
    table.lines().filter_map(route).filter(|(_, prefix)| *prefix > 3).collect()
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

fn overlap4(network: Ipv4Addr, prefix: u8, (to, length): (Ipv4Addr, u8)) -> bool {
    let mask = mask4(prefix.min(length));
    u32::from(network) & mask == u32::from(to) & mask
}

fn overlap6(network: Ipv6Addr, prefix: u8, (to, length): (Ipv6Addr, u8)) -> bool {
    let mask = mask6(prefix.min(length));
    u128::from(network) & mask == u128::from(to) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_hosts_routes_are_read() {
        let table = format!(
            "{HEAD}eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
             tun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
             tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\nnonsense\n"
        );
        let found = routes(&table);
        assert_eq!(found, [([192, 168, 0, 0].into(), 24), ([10, 0, 0, 0].into(), 8)]);
        let clash = |block: [u8; 4]| found.iter().any(|r| overlap4(block.into(), PREFIX, *r));
        assert!(clash(BLOCKS[0]) && clash(BLOCKS[1]) && !clash(BLOCKS[2]) && !clash(BLOCKS[3]));
        let six = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n";
        assert!(overlap6(first6(BLOCKS6[0]), 64, routes6(six)[0]));
        assert!(!overlap6(first6(BLOCKS6[1]), 64, routes6(six)[0]));
    }

    #[test]
    fn addresses_keep_their_places() {
        let slirp = Slirp { cidr: Some(([192, 168, 7, 129].into(), 25)), ipv6: false, ..Slirp::default() };
        let chosen = choose(&slirp);
        assert_eq!(chosen.ipv4.address, Ipv4Addr::new(192, 168, 7, 228));
        assert_eq!(chosen.ipv4.gateway, Ipv4Addr::new(192, 168, 7, 130));
        assert_eq!(chosen.ipv6, None);
        assert_eq!(choose(&Slirp::default()), choose(&Slirp::default()));
        assert_eq!(link6(first6(BLOCKS6[0])).dns.to_string(), "fd00::3");
    }

    #[test]
    fn masks_of_every_length() {
        assert_eq!((mask4(0), mask4(24), mask4(32)), (0, 0xffff_ff00, u32::MAX));
        assert_eq!((mask6(0), mask6(128)), (0, u128::MAX));
    }
}
