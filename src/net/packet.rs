//! One IP packet as it came from the container: headers read, nothing believed.

use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Packet};

use super::checksum;

/// The most extension headers that an IPv6 packet may have before its payload.
const EXTENSIONS: usize = 8;

/// Length in bytes of an IPv6 header.
const V6_HEADER: usize = 40;

/// Why a packet is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Cut off, or its lengths contradict each other.
    Length,
    Checksum,
    /// Neither version 4 nor 6, or headers in an order or number that nobody sends.
    Header,
}

/// A part of a packet, RFC 791 and RFC 8200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub ident: u32,
    /// Where the part begins, in bytes.
    pub offset: usize,
    /// Whether another part follows.
    pub more: bool,
}

/// A packet's addresses and payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: IpProtocol,
    pub hop_limit: u8,
    /// Whether routers may not cut the packet up. Always so with IPv6, unless its sender did.
    pub dont_fragment: bool,
    pub fragment: Option<Fragment>,
    /// What follows the IP headers.
    pub payload: &'a [u8],
    /// The packet from its first byte on, which errors about it quote.
    pub whole: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the IP headers. Whatever follows the packet's own length is not looked at.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            Some(_) => Err(Malformed::Header),
            None => Err(Malformed::Length),
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let ip = Ipv4Packet::new_checked(bytes).map_err(|_| Malformed::Length)?;
        let (header, total) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
        let whole = bytes.get(..total).ok_or(Malformed::Length)?;
        let payload = whole.get(header..).ok_or(Malformed::Length)?;
        if checksum::fold(checksum::sum(&whole[..header], 0)) != 0xffff {
            return Err(Malformed::Checksum);
        }
        let offset = usize::from(ip.frag_offset());
        let part = Fragment { ident: ip.ident().into(), offset, more: ip.more_frags() };
        Ok(Self {
            source: ip.src_addr().into(),
            destination: ip.dst_addr().into(),
            protocol: ip.next_header(),
            hop_limit: ip.hop_limit(),
            dont_fragment: ip.dont_frag(),
            fragment: (part.more || offset > 0).then_some(part),
            payload,
            whole,
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let ip = Ipv6Packet::new_checked(bytes).map_err(|_| Malformed::Length)?;
        let whole = bytes.get(..ip.total_len()).ok_or(Malformed::Length)?;
        let mut payload = whole.get(V6_HEADER..).ok_or(Malformed::Length)?;
        let mut protocol = ip.next_header();
        let mut fragment = None;
        let mut extensions = 0;
        loop {
            let (next, length) = match protocol {
                IpProtocol::HopByHop | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Route => {
                    let header = Ipv6ExtHeader::new_checked(payload).map_err(|_| Malformed::Length)?;
                    (header.next_header(), usize::from(header.header_len()) * 8 + 8)
                }
                IpProtocol::Ipv6Frag if fragment.is_none() => {
                    let part = payload.get(2..8).ok_or(Malformed::Length)?;
                    let part = Ipv6FragmentHeader::new_checked(part).map_err(|_| Malformed::Length)?;
                    let offset = usize::from(part.frag_offset()) * 8;
                    fragment = Some(Fragment { ident: part.ident(), offset, more: part.more_frags() });
                    (IpProtocol::from(payload[0]), 8)
                }
                IpProtocol::Ipv6Frag => return Err(Malformed::Header),
                _ => break,
            };
            payload = payload.get(length..).ok_or(Malformed::Length)?;
            protocol = next;
            extensions += 1;
            if extensions > EXTENSIONS {
                return Err(Malformed::Header);
            }
            // What follows the header of a part is part of a payload, whatever it looks like.
            if fragment.is_some_and(|f| f.offset > 0 || f.more) {
                break;
            }
        }
        Ok(Self {
            source: ip.src_addr().into(),
            destination: ip.dst_addr().into(),
            protocol,
            hop_limit: ip.hop_limit(),
            dont_fragment: fragment.is_none(),
            // RFC 6946: a fragment that is the whole packet is a packet.
            fragment: fragment.filter(|f| f.more || f.offset > 0),
            payload,
            whole,
        })
    }

    /// Whether the payload's checksum is right, with the pseudo-header under it or without. UDP over IPv4 need have
    /// none.
    pub(super) fn checksum_is_right(&self, pseudo_header: bool) -> bool {
        let v4 = self.source.is_ipv4();
        if self.protocol == IpProtocol::Udp && v4 && self.payload.get(6..8) == Some(&[0, 0]) {
            return true;
        }
        let length = self.payload.len();
        let start = if pseudo_header {
            checksum::pseudo_header(self.source, self.destination, self.protocol.into(), length)
        } else {
            0
        };
        checksum::fold(checksum::sum(self.payload, start)) == 0xffff
    }
}
