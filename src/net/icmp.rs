//! ICMP and ICMPv6 errors to the container, about packets of its own.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet};

use super::Config;
use super::link::Link;
use super::packet::Packet;
use super::tcp::Segment;

/// The most of a packet that an error about it quotes, in bytes: RFC 1812 §4.3.2.3 and RFC 4443 §2.4.
const QUOTE_V4: usize = 576 - 28;
const QUOTE_V6: usize = 1280 - 48;

const HEADER: usize = 8;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// No way to that network.
    Network,
    /// No such host.
    Host,
    /// Nobody at that port.
    Port,
    Prohibited,
    /// It has made all the hops it may.
    Expired,
    /// It is larger than so many bytes.
    TooBig(u32),
    /// What somebody on the way said to the host, in the same family.
    Told {
        kind: u8,
        code: u8,
        info: u32,
    },
}

/// The beginning of the packet that an error is about, as the container sent it.
#[derive(Debug)]
pub(super) struct Quote {
    source: IpAddr,
    destination: IpAddr,
    bytes: Vec<u8>,
}

impl Quote {
    pub(super) fn of(packet: &Packet<'_>) -> Self {
        let most = if packet.source.is_ipv4() { QUOTE_V4 } else { QUOTE_V6 };
        let bytes = packet.whole[..packet.whole.len().min(most)].to_vec();
        Self { source: packet.source, destination: packet.destination, bytes }
    }

    /// A packet that is not there any more, made again from what is known of it. `length`: that of the whole
    /// transport part, of which `transport` is the beginning.
    fn again(
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
        transport: &[u8],
        length: usize,
    ) -> Self {
        let mut bytes = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut bytes = vec![0; 20];
                let mut ip = Ipv4Packet::new_unchecked(&mut bytes[..]);
                ip.set_version(4);
                ip.set_header_len(20);
                ip.set_total_len(u16::try_from(20 + length).unwrap_or(u16::MAX));
                ip.set_dont_frag(true);
                ip.set_hop_limit(1);
                ip.set_next_header(protocol);
                ip.set_src_addr(source);
                ip.set_dst_addr(destination);
                ip.fill_checksum();
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut bytes = vec![0; 40];
                let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
                ip.set_version(6);
                ip.set_payload_len(u16::try_from(length).unwrap_or(u16::MAX));
                ip.set_hop_limit(1);
                ip.set_next_header(protocol);
                ip.set_src_addr(source);
                ip.set_dst_addr(destination);
                bytes
            }
            // A flow has one family.
            _ => Vec::new(),
        };
        bytes.extend_from_slice(transport);
        bytes.truncate(if source.is_ipv4() { QUOTE_V4 } else { QUOTE_V6 });
        Self { source, destination, bytes }
    }

    pub(super) fn of_segment(segment: &Segment<'_>) -> Self {
        let mut header = vec![0; segment.header_length()];
        segment.emit(&mut header);
        let (source, destination) = (segment.source.ip(), segment.destination.ip());
        Self::again(source, destination, IpProtocol::Tcp, &header, header.len())
    }

    pub(super) fn of_datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        let length = 8 + payload.len();
        let mut udp = Vec::with_capacity(length);
        udp.extend_from_slice(&source.port().to_be_bytes());
        udp.extend_from_slice(&destination.port().to_be_bytes());
        udp.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(payload);
        Self::again(source.ip(), destination.ip(), IpProtocol::Udp, &udp, length)
    }

    pub(super) fn of_message(source: IpAddr, destination: IpAddr, message: &[u8]) -> Self {
        let protocol = if source.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
        Self::again(source, destination, protocol, message, message.len())
    }
}

/// Tells the container what is wrong with a packet of its own. `from`: who found out, the gateway if not given.
pub(super) fn report(
    link: &mut Link,
    config: &Config,
    from: Option<IpAddr>,
    problem: Problem,
    quote: &Quote,
) {
    if quote.destination.is_multicast() {
        return;
    }
    let same_family = |a: &IpAddr| a.is_ipv4() == quote.source.is_ipv4() && !a.is_loopback();
    let Some(from) = from.filter(same_family).or_else(|| config.gateway(quote.source)) else { return };
    let (kind, code, rest) = match quote.source {
        IpAddr::V4(_) => fields_v4(problem),
        IpAddr::V6(_) => fields_v6(problem),
    };
    let payload = link.payload();
    payload[0] = kind;
    payload[1] = code;
    payload[2..4].fill(0);
    payload[4..8].copy_from_slice(&rest.to_be_bytes());
    payload[HEADER..HEADER + quote.bytes.len()].copy_from_slice(&quote.bytes);
    let length = HEADER + quote.bytes.len();
    link.send_icmp(from, quote.source, length);
}

/// Type, code and the four bytes after the checksum, RFC 792, 1191 and 1812.
fn fields_v4(problem: Problem) -> (u8, u8, u32) {
    match problem {
        Problem::Network => (3, 0, 0),
        Problem::Host => (3, 1, 0),
        Problem::Port => (3, 3, 0),
        Problem::Prohibited => (3, 13, 0),
        Problem::Expired => (11, 0, 0),
        Problem::TooBig(mtu) => (3, 4, mtu.min(0xffff)),
        Problem::Told { kind, code, info } => {
            let mtu = (kind, code) == (3, 4);
            (kind, code, if mtu { info.min(0xffff) } else { 0 })
        }
    }
}

/// The same of RFC 4443.
fn fields_v6(problem: Problem) -> (u8, u8, u32) {
    match problem {
        Problem::Network => (1, 0, 0),
        Problem::Host => (1, 3, 0),
        Problem::Port => (1, 4, 0),
        Problem::Prohibited => (1, 1, 0),
        Problem::Expired => (3, 0, 0),
        Problem::TooBig(mtu) => (2, 0, mtu),
        Problem::Told { kind, code, info } => (kind, code, if kind == 2 { info } else { 0 }),
    }
}
