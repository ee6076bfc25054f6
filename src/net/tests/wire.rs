//! A link that is a pair of unix sockets: the stack does not know it from a TUN device.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::super::packet::Packet;
use super::super::tcp::{Segment, Seq};
use super::super::{Config, Stack, V4, V6};
use crate::sys::tun;

/// The stack, its link's other end, and the clock.
pub(super) struct Wire {
    pub stack: Stack,
    end: OwnedFd,
    pub now: Instant,
}

/// A stack goes to a thread of its own.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Stack>();
};

pub(super) fn config() -> Config {
    Config {
        v4: Some(V4 {
            address: Ipv4Addr::new(10, 0, 2, 100),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 2, 2),
            dns: Ipv4Addr::new(10, 0, 2, 3),
        }),
        v6: Some(V6 {
            address: "fd00::64".parse().unwrap(),
            prefix: 64,
            gateway: "fd00::2".parse().unwrap(),
            dns: "fd00::3".parse().unwrap(),
        }),
        host_loopback: true,
        ..Config::default()
    }
}

impl Wire {
    pub(super) fn new(config: Config) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        for end in [&ours, &theirs] {
            rustix::net::sockopt::set_socket_send_buffer_size(end, 4 << 20).unwrap();
        }
        let stack = Stack::new(ours, config).unwrap();
        Self { stack, end: theirs, now: Instant::now() }
    }

    /// Gives the stack an IP packet whose checksums are whole.
    pub(super) fn give(&self, packet: &[u8]) {
        let mut bytes = vec![0; tun::HEADER];
        bytes.extend_from_slice(packet);
        self.give_raw(&bytes);
    }

    /// Gives the stack bytes as its interface would, header first.
    pub(super) fn give_raw(&self, bytes: &[u8]) {
        rustix::io::write(&self.end, bytes).unwrap();
    }

    /// Lets the stack do what there is to do, without any time passing.
    pub(super) fn turn(&mut self) {
        self.stack.wait(Some(Duration::ZERO)).unwrap();
        self.stack.turn(self.now).unwrap();
    }

    /// Lets it do so until it says nothing more; everything that it said.
    pub(super) fn settle(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        // A host that answers does so within this many real milliseconds; silence has to be waited out.
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(1));
            self.turn();
            self.turn();
            all.extend(self.take());
        }
        all
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// What the stack gave to the container: IP packets, segmented as its kernel would.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 70_000];
        while let Ok(length) = rustix::io::read(&self.end, &mut buffer[..]) {
            assert!(length > tun::HEADER, "an empty packet");
            let size = u16::from_ne_bytes([buffer[4], buffer[5]]);
            let packet = &buffer[tun::HEADER..length];
            match buffer[1] {
                0 => packets.push(packet.to_vec()),
                1 | 4 => packets.extend(cut(packet, size.into())),
                5 => packets.extend(cut_datagrams(packet, size.into())),
                other => panic!("a gso_type of {other}"),
            }
        }
        packets
    }

    /// Ports that the stack's SYNs came from.
    pub(super) fn calls(&mut self) -> Vec<u16> {
        let said = self.settle();
        let calls = said.iter().filter(|p| Heard::read(p).is_some_and(|h| h.syn && h.ack.is_none()));
        calls.map(|p| u16::from_be_bytes([p[20], p[21]])).collect()
    }

    /// Time without anything from outside, which need not be waited for; what the stack said to it.
    pub(super) fn silent(&mut self, time: Duration) -> Vec<Heard> {
        self.pass(time);
        self.turn();
        self.take().iter().filter_map(|p| Heard::read(p)).collect()
    }

    /// The TCP segments among what the stack said, with how many bytes each carries.
    pub(super) fn segments(&mut self) -> Vec<Heard> {
        self.settle().iter().filter_map(|p| Heard::read(p)).collect()
    }
}

/// Cuts a large TCP packet up into segments of `size` bytes.
fn cut(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let tcp = header + usize::from(packet[header + 12] >> 4) * 4;
    let (head, payload) = packet.split_at(tcp);
    let seq = u32::from_be_bytes(head[header + 4..header + 8].try_into().unwrap());
    let count = payload.len().div_ceil(size);
    let cut = payload.chunks(size).enumerate().map(|(at, piece)| {
        let mut segment = head.to_vec();
        let seq = seq.wrapping_add(u32::try_from(at * size).unwrap());
        segment[header + 4..header + 8].copy_from_slice(&seq.to_be_bytes());
        if at + 1 < count {
            // FIN and PSH belong to the last one.
            segment[header + 13] &= !0x09;
        }
        segment.extend_from_slice(piece);
        let length = u16::try_from(segment.len()).unwrap();
        if header == 20 {
            segment[2..4].copy_from_slice(&length.to_be_bytes());
            segment[10..12].fill(0);
            let sum = !super::super::checksum::fold(super::super::checksum::sum(&segment[..20], 0));
            segment[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            segment[4..6].copy_from_slice(&(length - 40).to_be_bytes());
        }
        segment
    });
    cut.collect()
}

/// Cuts several IPv4 datagrams up into those of `size` bytes.
fn cut_datagrams(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (head, payload) = packet.split_at(28);
    assert_eq!(usize::from(u16::from_be_bytes([head[24], head[25]])), 8 + payload.len());
    let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&head[at..at + 4]).unwrap());
    let cut = payload.chunks(size).map(|piece| {
        let mut udp = head[20..28].to_vec();
        udp[4..6].copy_from_slice(&u16::try_from(8 + piece.len()).unwrap().to_be_bytes());
        udp.extend_from_slice(piece);
        ip(address(12), address(16), 17, head[8], &udp, Some(6))
    });
    cut.collect()
}

/// A TCP segment of the stack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub seq: u32,
    pub ack: Option<u32>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub window: u16,
    pub length: usize,
    pub sack: Option<(u32, u32)>,
}

impl Heard {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let packet = Packet::parse(bytes).unwrap();
        if packet.protocol != smoltcp::wire::IpProtocol::Tcp {
            return None;
        }
        let s = Segment::parse(&packet).unwrap();
        Some(Self {
            seq: s.seq.0,
            ack: s.ack.map(|a| a.0),
            syn: s.syn,
            fin: s.fin,
            rst: s.rst,
            window: s.window,
            length: s.payload.len(),
            sack: s.options.sack[0].map(|(a, b)| (a.0, b.0)),
        })
    }
}

/// A segment as the container would send it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: Option<u32>,
    pub flags: &'a str,
    pub window: u16,
    pub payload: &'a [u8],
    /// Whether a SYN offers SACK and a window scale of 0.
    pub modern: bool,
    /// A range that it says has arrived.
    pub sack: Option<(u32, u32)>,
}

impl Sent<'_> {
    pub(super) fn packet(&self) -> Vec<u8> {
        let modern = self.modern && self.flags.contains('S');
        let options = super::super::tcp::Options {
            segment_size: self.flags.contains('S').then_some(1460),
            window_scale: modern.then_some(0),
            sack_permitted: modern,
            sack: [self.sack.map(|(from, to)| (Seq(from), Seq(to))), None, None],
        };
        let segment = Segment {
            source: self.from,
            destination: self.to,
            seq: Seq(self.seq),
            ack: self.ack.map(Seq),
            syn: self.flags.contains('S'),
            fin: self.flags.contains('F'),
            rst: self.flags.contains('R'),
            psh: false,
            window: self.window,
            options,
            payload: &[],
        };
        let mut transport = vec![0; segment.header_length()];
        segment.emit(&mut transport);
        transport.extend_from_slice(self.payload);
        ip(self.from.ip(), self.to.ip(), 6, 64, &transport, Some(16))
    }
}

/// An IP packet. `checksum`: where in the transport part a checksum over the pseudo-header belongs.
pub(super) fn ip(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    hops: u8,
    transport: &[u8],
    checksum: Option<usize>,
) -> Vec<u8> {
    use super::super::checksum::{fold, pseudo_header, sum};
    let mut transport = transport.to_vec();
    if let Some(at) = checksum {
        transport[at..at + 2].fill(0);
        let sum = !fold(sum(&transport, pseudo_header(from, to, protocol, transport.len())));
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0u8; 20];
            header[0] = 0x45;
            let length = u16::try_from(20 + transport.len()).unwrap();
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6] = 0x40;
            header[8] = hops;
            header[9] = protocol;
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            let sum = !fold(sum(&header, 0));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0u8; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&u16::try_from(transport.len()).unwrap().to_be_bytes());
            header[6] = protocol;
            header[7] = hops;
            header[8..24].copy_from_slice(&from.octets());
            header[24..40].copy_from_slice(&to.octets());
            header
        }
        _ => panic!("two families"),
    };
    packet.extend_from_slice(&transport);
    packet
}
