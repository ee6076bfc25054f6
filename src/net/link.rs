//! The container's interface as the stack sees it: takes one packet after another, puts headers before payloads.
//!
//! The link computes no checksum that the container's kernel can leave out: TCP and UDP go with the sum of their
//! pseudo-header and the wish to have it completed, which a kernel that is the last to see them never does. Only
//! parts of a packet carry a whole one.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, UdpPacket};

use super::tcp::Segment;
use super::{Config, Counters, checksum};
use crate::sys::{self, tun};

/// Room before a payload for the virtio-net header and every other, in bytes.
const HEADROOM: usize = 128;

/// The largest IP packet in bytes.
pub(super) const LARGEST: usize = 65_535;

/// How much payload of several packets may be at hand, in bytes.
pub(super) const SEVERAL: usize = 256 << 10;

/// Hops that a packet of the stack's own may make. It makes none.
const HOPS: u8 = 64;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const V6_FRAGMENT: usize = 8;
const UDP_HEADER: usize = 8;

/// `flags` of the virtio-net header: the checksum at `csum_start + csum_offset` is the pseudo-header's.
const NEEDS_CSUM: u8 = 1;
/// The checksum was seen to be right.
const DATA_VALID: u8 = 2;
/// `gso_type` of the virtio-net header.
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// Linux 6.2 and later.
const GSO_UDP: u8 = 5;

/// Where a transport header has its checksum, in bytes.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// The link of one container.
#[derive(Debug)]
pub(super) struct Link {
    tun: OwnedFd,
    mtu: usize,
    /// Headers are put right before a payload that was written here.
    frame: Box<[u8]>,
    /// Identifies packets that are cut up.
    ident: u32,
    /// The kernel takes several datagrams at once, as far as is known.
    takes_trains: bool,
    pub counters: Counters,
}

/// One packet as it was read: the IP packet, and whether its checksum is to be believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub length: usize,
    pub checksum_trusted: bool,
}

impl Link {
    pub(super) fn new(tun: OwnedFd, config: &Config) -> Self {
        let frame = vec![0; HEADROOM + SEVERAL].into_boxed_slice();
        Self {
            tun,
            mtu: config.mtu.into(),
            frame,
            ident: 0,
            takes_trains: true,
            counters: Counters::default(),
        }
    }

    /// How many bytes of TCP payload fit a packet towards `peer`, without options.
    pub(super) fn segment_size(&self, peer: IpAddr) -> u16 {
        let headers = if peer.is_ipv4() { V4_HEADER } else { V6_HEADER } + 20;
        u16::try_from(self.mtu.saturating_sub(headers).max(1)).unwrap_or(u16::MAX)
    }

    /// Takes the next packet into `buffer`, behind [`tun::HEADER`] bytes. `None`: none is there.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> sys::Result<Option<Taken>> {
        let Some(length) = tun::read(&self.tun, buffer)? else { return Ok(None) };
        self.counters.packets_in += 1;
        let flags = buffer.first().copied().unwrap_or_default();
        Ok(Some(Taken {
            length: length.min(buffer.len()).saturating_sub(tun::HEADER),
            checksum_trusted: flags & (NEEDS_CSUM | DATA_VALID) != 0,
        }))
    }

    /// Where a payload goes before one of the functions that send it.
    pub(super) fn payload(&mut self) -> &mut [u8] {
        &mut self.frame[HEADROOM..]
    }

    /// Sends a TCP segment whose payload is the first `length` bytes of [`Link::payload`], as one packet that the
    /// container's kernel takes for as many as `segment_size` makes of it.
    pub(super) fn send_tcp(&mut self, segment: &Segment<'_>, length: usize, segment_size: u16) {
        self.send_tcp_part(segment, 0, length, segment_size);
    }

    /// The same with the `length` bytes that begin `at` bytes into [`Link::payload`]. What is right before them is
    /// lost.
    pub(super) fn send_tcp_part(
        &mut self,
        segment: &Segment<'_>,
        at: usize,
        length: usize,
        segment_size: u16,
    ) {
        let header = segment.header_length();
        let payload = HEADROOM + at;
        let start = payload - header;
        let (source, destination) = (segment.source.ip(), segment.destination.ip());
        segment.emit(&mut self.frame[start..payload]);
        let transport = header + length;
        self.partial_checksum(start + usize::from(TCP_CHECKSUM), source, destination, 6, transport);
        let large = length > usize::from(segment_size);
        let gso = match (large, source) {
            (false, _) => 0,
            (true, IpAddr::V4(_)) => GSO_TCPV4,
            (true, IpAddr::V6(_)) => GSO_TCPV6,
        };
        let ip = self.ip_header(start, source, destination, IpProtocol::Tcp, transport);
        let vnet = Vnet { gso, header: start - ip + header, gso_size: segment_size, checksum: TCP_CHECKSUM };
        self.write(ip, payload + length, &vnet.bytes(start - ip));
    }

    /// Sends a datagram whose payload is the first `length` bytes of [`Link::payload`].
    pub(super) fn send_udp(&mut self, source: SocketAddr, destination: SocketAddr, length: usize) {
        self.send_udp_part(source, destination, 0, length);
    }

    /// Sends datagrams of `size` bytes each, the last one of what is left, whose payloads are the first `length` bytes
    /// of [`Link::payload`]. They are one packet to a kernel that can take it apart.
    pub(super) fn send_udp_train(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        length: usize,
        size: usize,
    ) {
        if length <= size {
            return self.send_udp(source, destination, length);
        }
        if self.takes_trains && self.fits(source.ip(), UDP_HEADER + size) {
            match self.try_udp(source, destination, 0, length, u16::try_from(size).unwrap_or_default()) {
                Err(e) if e.is(libc::EINVAL) => self.takes_trains = false,
                sent => return self.count(&sent),
            }
        }
        for at in (0..length).step_by(size.max(1)) {
            self.send_udp_part(source, destination, at, size.min(length - at));
        }
    }

    /// The payload begins `at` bytes into [`Link::payload`]. What is right before it is lost.
    fn send_udp_part(&mut self, source: SocketAddr, destination: SocketAddr, at: usize, length: usize) {
        if self.fits(source.ip(), UDP_HEADER + length) {
            let sent = self.try_udp(source, destination, at, length, 0);
            return self.count(&sent);
        }
        let Some(start) = self.udp_header(source, destination, at, length) else { return };
        let (source, destination) = (source.ip(), destination.ip());
        let transport = UDP_HEADER + length;
        let pseudo = checksum::pseudo_header(source, destination, 17, transport);
        self.whole_checksum(start, usize::from(UDP_CHECKSUM), pseudo, transport);
        self.send_parts(source, destination, IpProtocol::Udp, start, transport);
    }

    /// Sends one packet, of datagrams of `size` bytes unless that is 0.
    fn try_udp(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        at: usize,
        length: usize,
        size: u16,
    ) -> sys::Result<()> {
        let Some(start) = self.udp_header(source, destination, at, length) else { return Ok(()) };
        let (source, destination) = (source.ip(), destination.ip());
        let transport = UDP_HEADER + length;
        self.partial_checksum(start + usize::from(UDP_CHECKSUM), source, destination, 17, transport);
        let ip = self.ip_header(start, source, destination, IpProtocol::Udp, transport);
        let gso = if size == 0 { 0 } else { GSO_UDP };
        let header = start - ip + UDP_HEADER;
        let vnet = Vnet { gso, header, gso_size: size, checksum: UDP_CHECKSUM };
        self.put(ip, start + transport, &vnet.bytes(start - ip))
    }

    /// Puts a UDP header before a payload; where it begins. `None`: no datagram is that long.
    fn udp_header(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        at: usize,
        length: usize,
    ) -> Option<usize> {
        let payload = HEADROOM + at;
        let start = payload - UDP_HEADER;
        let field = u16::try_from(UDP_HEADER + length).ok()?;
        let mut udp = UdpPacket::new_unchecked(&mut self.frame[start..payload]);
        udp.set_src_port(source.port());
        udp.set_dst_port(destination.port());
        udp.set_len(field);
        Some(start)
    }

    /// Sends an ICMP or ICMPv6 message, the first `length` bytes of [`Link::payload`], whose checksum is filled in.
    pub(super) fn send_icmp(&mut self, source: IpAddr, destination: IpAddr, length: usize) {
        let protocol = match source {
            IpAddr::V4(_) => {
                self.frame[HEADROOM + 2..HEADROOM + 4].fill(0);
                let sum = checksum::sum(&self.frame[HEADROOM..HEADROOM + length], 0);
                self.frame[HEADROOM + 2..HEADROOM + 4].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
                IpProtocol::Icmp
            }
            IpAddr::V6(_) => {
                let pseudo = checksum::pseudo_header(source, destination, 58, length);
                self.whole_checksum(HEADROOM, 2, pseudo, length);
                IpProtocol::Icmpv6
            }
        };
        if self.fits(source, length) {
            let ip = self.ip_header(HEADROOM, source, destination, protocol, length);
            self.write(ip, HEADROOM + length, &[0; tun::HEADER]);
        } else {
            self.send_parts(source, destination, protocol, HEADROOM, length);
        }
    }

    fn fits(&self, like: IpAddr, transport: usize) -> bool {
        let header = if like.is_ipv4() { V4_HEADER } else { V6_HEADER };
        header + transport <= self.mtu
    }

    /// Puts the folded sum of the pseudo-header at `at`.
    fn partial_checksum(
        &mut self,
        at: usize,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
    ) {
        let sum = checksum::fold(checksum::pseudo_header(source, destination, protocol, length));
        self.frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// Puts the checksum of `length` bytes from `start` on, over the sum of a pseudo-header, at `offset` into them.
    fn whole_checksum(&mut self, start: usize, offset: usize, pseudo: u32, length: usize) {
        let at = start + offset;
        self.frame[at..at + 2].fill(0);
        let sum = !checksum::fold(checksum::sum(&self.frame[start..start + length], pseudo));
        // RFC 768: zero would mean that there is none.
        let sum = if sum == 0 { 0xffff } else { sum };
        self.frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// Puts an IP header right before `start`; where it begins.
    fn ip_header(
        &mut self,
        start: usize,
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
        length: usize,
    ) -> usize {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let begin = start - V4_HEADER;
                let mut ip = Ipv4Packet::new_unchecked(&mut self.frame[begin..start]);
                ip.set_version(4);
                ip.set_header_len(20);
                ip.set_dscp(0);
                ip.set_ecn(0);
                ip.set_total_len(u16::try_from(V4_HEADER + length).unwrap_or(u16::MAX));
                ip.set_ident(0);
                ip.clear_flags();
                ip.set_dont_frag(true);
                ip.set_frag_offset(0);
                ip.set_hop_limit(HOPS);
                ip.set_next_header(protocol);
                ip.set_src_addr(source);
                ip.set_dst_addr(destination);
                ip.fill_checksum();
                begin
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let begin = start - V6_HEADER;
                let mut ip = Ipv6Packet::new_unchecked(&mut self.frame[begin..start]);
                ip.set_version(6);
                ip.set_traffic_class(0);
                ip.set_flow_label(0);
                ip.set_payload_len(u16::try_from(length).unwrap_or(u16::MAX));
                ip.set_next_header(protocol);
                ip.set_hop_limit(HOPS);
                ip.set_src_addr(source);
                ip.set_dst_addr(destination);
                begin
            }
            // A flow has one family.
            _ => start,
        }
    }

    fn write(&mut self, from: usize, to: usize, vnet: &[u8; tun::HEADER]) {
        let written = self.put(from, to, vnet);
        self.count(&written);
    }

    fn put(&self, from: usize, to: usize, vnet: &[u8; tun::HEADER]) -> sys::Result<()> {
        tun::write(&self.tun, &[IoSlice::new(vnet), IoSlice::new(&self.frame[from..to])])
    }

    fn count(&mut self, written: &sys::Result<()>) {
        match written {
            Ok(()) => self.counters.packets_out += 1,
            // The interface is down, or its namespace is going away: a lost packet, as on any link.
            Err(_) => self.counters.write_failed += 1,
        }
    }

    /// Sends the `length` bytes from `start` on in parts that fit the MTU.
    fn send_parts(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: IpProtocol,
        start: usize,
        length: usize,
    ) {
        self.ident = self.ident.wrapping_add(1);
        let ident = self.ident;
        let headers = if source.is_ipv4() { V4_HEADER } else { V6_HEADER + V6_FRAGMENT };
        let step = (self.mtu.saturating_sub(headers) & !7).max(8);
        let mut offset = 0;
        while offset < length {
            let size = step.min(length - offset);
            let more = offset + size < length;
            let header = part_header(source, destination, protocol, Part { ident, offset, size, more });
            let data = &self.frame[start + offset..start + offset + size];
            let vnet = [0; tun::HEADER];
            let parts = [IoSlice::new(&vnet), IoSlice::new(&header[..headers]), IoSlice::new(data)];
            let written = tun::write(&self.tun, &parts);
            self.count(&written);
            offset += size;
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }
}

/// What a virtio-net header says about a packet whose checksum is to be completed.
struct Vnet {
    gso: u8,
    /// Length of all headers in bytes.
    header: usize,
    gso_size: u16,
    checksum: u16,
}

impl Vnet {
    /// The header, in host byte order. `transport`: where the transport header begins.
    fn bytes(&self, transport: usize) -> [u8; tun::HEADER] {
        let mut bytes = [0; tun::HEADER];
        bytes[0] = NEEDS_CSUM;
        bytes[1] = self.gso;
        let field = |n: usize| u16::try_from(n).unwrap_or_default().to_ne_bytes();
        if self.gso != 0 {
            bytes[2..4].copy_from_slice(&field(self.header));
            bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        }
        bytes[6..8].copy_from_slice(&field(transport));
        bytes[8..10].copy_from_slice(&self.checksum.to_ne_bytes());
        bytes
    }
}

/// One part of a packet that is cut up.
#[derive(Clone, Copy)]
struct Part {
    ident: u32,
    offset: usize,
    size: usize,
    more: bool,
}

/// The IP header of a part, with IPv6 the fragment header too.
fn part_header(source: IpAddr, destination: IpAddr, protocol: IpProtocol, part: Part) -> [u8; 48] {
    let mut bytes = [0; V6_HEADER + V6_FRAGMENT];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = Ipv4Packet::new_unchecked(&mut bytes[..V4_HEADER]);
            ip.set_version(4);
            ip.set_header_len(20);
            ip.set_total_len(u16::try_from(V4_HEADER + part.size).unwrap_or(u16::MAX));
            ip.set_ident(u16::try_from(part.ident & 0xffff).unwrap_or_default());
            ip.set_more_frags(part.more);
            ip.set_frag_offset(u16::try_from(part.offset).unwrap_or_default());
            ip.set_hop_limit(HOPS);
            ip.set_next_header(protocol);
            ip.set_src_addr(source);
            ip.set_dst_addr(destination);
            ip.fill_checksum();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..V6_HEADER]);
            ip.set_version(6);
            ip.set_payload_len(u16::try_from(V6_FRAGMENT + part.size).unwrap_or(u16::MAX));
            ip.set_next_header(IpProtocol::Ipv6Frag);
            ip.set_hop_limit(HOPS);
            ip.set_src_addr(source);
            ip.set_dst_addr(destination);
            bytes[40] = protocol.into();
            let offset = u16::try_from(part.offset).unwrap_or_default() | u16::from(part.more);
            bytes[42..44].copy_from_slice(&offset.to_be_bytes());
            bytes[44..48].copy_from_slice(&part.ident.to_be_bytes());
        }
        _ => {}
    }
    bytes
}
