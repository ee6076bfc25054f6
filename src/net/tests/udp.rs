//! Datagrams and what is said about them, fragments, pings to the stack itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::wire::{Wire, config, ip};
use crate::net::dns::{self, Names, Resolvers};
use crate::net::packet::Packet;
use crate::net::{Config, Limits, Listener, Protocol};

const CONTAINER: &str = "10.0.2.100";
const GATEWAY: &str = "10.0.2.2";

fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    ip(from.ip(), to.ip(), 17, 64, &udp, Some(6))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// An IPv4 packet in parts of `size` bytes of payload.
fn parts(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let payload = &packet[20..];
    let count = payload.len().div_ceil(size);
    let cut = payload.chunks(size).enumerate().map(|(n, piece)| {
        let mut part = packet[..20].to_vec();
        part[2..4].copy_from_slice(&u16::try_from(20 + piece.len()).unwrap().to_be_bytes());
        part[4..6].copy_from_slice(&[0x12, 0x34]);
        let more = if n + 1 < count { 0x2000 } else { 0 };
        let field = u16::try_from(n * size / 8).unwrap() | more;
        part[6..8].copy_from_slice(&field.to_be_bytes());
        part[10..12].fill(0);
        let sum = !super::super::checksum::fold(super::super::checksum::sum(&part, 0));
        part[10..12].copy_from_slice(&sum.to_be_bytes());
        part.extend_from_slice(piece);
        part
    });
    cut.collect()
}

fn host_socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[test]
fn there_and_back() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    let from = at(CONTAINER, 4000);
    wire.give(&datagram(from, at(GATEWAY, port), b"question"));
    wire.settle();
    let mut buffer = [0; 100];
    let (length, client) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"question");
    socket.send_to(b"answer", client).unwrap();
    let heard = wire.settle();
    assert_eq!(heard.len(), 1);
    let packet = Packet::parse(&heard[0]).unwrap();
    assert_eq!((packet.source, packet.destination), (GATEWAY.parse().unwrap(), from.ip()));
    assert_eq!(&packet.payload[8..], b"answer");
    assert_eq!(packet.payload[..2], port.to_be_bytes());
}

#[test]
fn what_is_there_already_goes_to_the_container_together() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    wire.give(&datagram(at(CONTAINER, 4000), at(GATEWAY, port), b"question"));
    wire.settle();
    let (_, client) = socket.recv_from(&mut [0; 100]).unwrap();
    let sizes = [1000, 1000, 1000, 300, 1000, 1472, 0, 3000, 3000, 7, 7];
    for (n, size) in (0u8..).zip(sizes) {
        socket.send_to(&vec![n; size], client).unwrap();
    }
    std::thread::sleep(Duration::from_millis(20));
    let before = wire.stack.counters().packets_out;
    let heard = wire.settle();
    let payloads = heard.iter().map(|packet| Packet::parse(packet).unwrap()).filter(|p| p.fragment.is_none());
    let payloads: Vec<_> = payloads.map(|p| p.payload[8..].to_vec()).collect();
    let whole = (0u8..).zip(sizes).filter(|(_, size)| *size < 3000);
    assert_eq!(payloads, whole.map(|(n, size)| vec![n; size]).collect::<Vec<_>>());
    // 1000 three times and 300; 1000; 1472; nothing; 3000 twice in three parts; 7 twice.
    assert_eq!(wire.stack.counters().packets_out - before, 4 + 6 + 1);
}

#[test]
fn one_socket_whatever_the_destination_and_strangers_are_not_heard() {
    let mut wire = Wire::new(config());
    let ((one, first), (two, second)) = (host_socket(), host_socket());
    let from = at(CONTAINER, 4000);
    wire.give(&datagram(from, at(GATEWAY, first), b"a"));
    wire.give(&datagram(from, at(GATEWAY, second), b"b"));
    wire.settle();
    let client = one.recv_from(&mut [0; 8]).unwrap().1;
    assert_eq!(client, two.recv_from(&mut [0; 8]).unwrap().1, "endpoint-independent mapping");
    // 127.0.0.2 was never sent to.
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    stranger.send_to(b"psst", client).unwrap();
    assert_eq!(wire.settle(), Vec::<Vec<u8>>::new());
}

#[test]
fn refused_is_told_with_the_datagram_quoted() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    drop(socket);
    let sent = datagram(at(CONTAINER, 4000), at(GATEWAY, port), b"anybody?");
    wire.give(&sent);
    let heard = wire.settle();
    assert_eq!(heard.len(), 1);
    let packet = Packet::parse(&heard[0]).unwrap();
    assert!(packet.checksum_is_right(false));
    assert_eq!(packet.payload[..2], [3, 3], "port unreachable");
    let quoted = Packet::parse(&packet.payload[8..]).unwrap();
    assert_eq!((quoted.source, quoted.destination), (CONTAINER.parse().unwrap(), GATEWAY.parse().unwrap()));
    assert_eq!(quoted.payload[..4], sent[20..24], "the ports");
    assert_eq!(&quoted.payload[8..], b"anybody?");
}

#[test]
fn what_is_closed_is_told_or_silent() {
    let closed = Config { host_loopback: false, ..config() };
    let mut wire = Wire::new(closed);
    let (_socket, port) = host_socket();
    for (to, told) in [
        (GATEWAY, Some([3, 3])),
        ("10.0.2.3", Some([3, 3])),
        ("10.0.2.9", Some([3, 1])),
        ("169.254.169.254", Some([3, 13])),
        ("127.0.0.1", None),
        ("0.0.0.0", None),
        ("255.255.255.255", None),
        ("224.0.0.251", None),
    ] {
        wire.give(&datagram(at(CONTAINER, 4000), at(to, port), b"x"));
        let heard = wire.settle();
        let said = heard.first().map(|p| Packet::parse(p).unwrap().payload[..2].try_into().unwrap());
        assert_eq!(said, told, "{to}");
    }
    assert_eq!(wire.stack.flows().1, 0);
}

#[test]
fn foreign_sources_are_dropped() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    for from in ["10.0.2.101", "127.0.0.1", "192.0.2.1", GATEWAY, "0.0.0.0"] {
        wire.give(&datagram(at(from, 4000), at(GATEWAY, port), b"spoofed"));
    }
    assert_eq!(wire.settle(), Vec::<Vec<u8>>::new());
    assert_eq!(wire.stack.counters().foreign_source, 5);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut [0; 8]).is_err());
}

#[test]
fn the_largest_datagram_in_parts_both_ways() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    let payload: Vec<u8> = (0..65_507u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    let whole = datagram(at(CONTAINER, 4000), at(GATEWAY, port), &payload);
    let mut all = parts(&whole, 1480);
    all.reverse();
    for part in &all {
        wire.give(part);
    }
    wire.settle();
    let mut buffer = vec![0; 70_000];
    let (length, client) = socket.recv_from(&mut buffer).unwrap();
    assert!(buffer[..length] == payload);
    socket.send_to(&payload, client).unwrap();
    let heard = wire.settle();
    assert_eq!(heard.len(), 65_515usize.div_ceil(1480));
    let mut got = Vec::new();
    for (n, part) in heard.iter().enumerate() {
        let packet = Packet::parse(part).unwrap();
        let fragment = packet.fragment.unwrap();
        assert!(part.len() <= 1500);
        assert_eq!((fragment.offset, fragment.more), (got.len(), n + 1 < heard.len()));
        got.extend_from_slice(packet.payload);
    }
    assert!(got[8..] == payload);
}

#[test]
fn wrong_checksums_are_dropped() {
    let mut wire = Wire::new(config());
    let (socket, port) = host_socket();
    let mut packet = datagram(at(CONTAINER, 4000), at(GATEWAY, port), b"broken");
    let last = packet.len() - 1;
    packet[last] ^= 1;
    wire.give(&packet);
    wire.settle();
    assert_eq!(wire.stack.counters().malformed, 1);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv_from(&mut [0; 8]).is_err());
}

#[test]
fn the_table_is_bounded_and_empties_itself() {
    let limits = Limits { udp: 32, ..Limits::default() };
    let mut wire = Wire::new(Config { limits, ..config() });
    let (_socket, port) = host_socket();
    for client in 0..500 {
        wire.give(&datagram(at(CONTAINER, 1000 + client), at(GATEWAY, port), b"x"));
        if client % 50 == 0 {
            wire.turn();
        }
    }
    wire.settle();
    assert!(wire.stack.flows().1 <= 32 && wire.stack.counters().over_limit > 400);
    wire.pass(Duration::from_secs(301));
    wire.turn();
    assert_eq!(wire.stack.flows().1, 0);
    assert_eq!(wire.stack.deadline(), None, "nothing to wake up for");
}

#[test]
fn the_gateway_answers_pings() {
    let mut wire = Wire::new(config());
    for (from, to, kind, protocol) in [(CONTAINER, GATEWAY, 8, 1), ("fd00::64", "fd00::2", 128, 58)] {
        let mut echo = vec![kind, 0, 0, 0, 0xab, 0xcd, 0, 1];
        echo.extend_from_slice(b"payload of it");
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        if protocol == 1 {
            let sum = !super::super::checksum::fold(super::super::checksum::sum(&echo, 0));
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        wire.give(&ip(from, to, protocol, 64, &echo, (protocol == 58).then_some(2)));
        let heard = wire.settle();
        assert_eq!(heard.len(), 1);
        let packet = Packet::parse(&heard[0]).unwrap();
        assert!(packet.checksum_is_right(protocol == 58));
        assert_eq!((packet.source, packet.destination), (to, from));
        assert_eq!(packet.payload[0], if protocol == 1 { 0 } else { 129 });
        assert_eq!(packet.payload[4..], echo[4..]);
    }
}

#[test]
fn a_published_port_answers_from_where_it_was_asked() {
    let mut wire = Wire::new(config());
    let server = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let target = at(CONTAINER, 53);
    wire.stack.handle().publish(Listener {
        socket: server.into(),
        protocol: Protocol::Udp,
        target,
        host_clients: None,
    });
    wire.turn();
    // Connected: an answer from any other address would not be heard.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.9", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send(b"question").unwrap();
    let heard = wire.settle();
    assert_eq!(heard.len(), 1);
    let packet = Packet::parse(&heard[0]).unwrap();
    assert_eq!((packet.source, packet.destination), (GATEWAY.parse().unwrap(), target.ip()));
    assert_eq!(&packet.payload[8..], b"question");
    let seen = at(GATEWAY, u16::from_be_bytes([packet.payload[0], packet.payload[1]]));
    assert_eq!(seen.port(), client.local_addr().unwrap().port());
    wire.give(&datagram(target, seen, b"answer"));
    wire.settle();
    let mut buffer = [0; 100];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"answer");
    assert_eq!(wire.stack.flows().1, 0, "no mapping of its own");
}

/// The answer to a query for the name `two`: its code, and how many addresses.
fn look_up(wire: &mut Wire, port: u16, meanwhile: impl FnOnce()) -> (u8, u8) {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03two\0\0\x01\0\x01";
    wire.give(&datagram(at(CONTAINER, port), at("10.0.2.3", 53), query));
    let early = wire.settle();
    meanwhile();
    let end = Instant::now() + Duration::from_secs(5);
    let mut said = early;
    while said.is_empty() && Instant::now() < end {
        said = wire.settle();
    }
    (said[0][28 + 3] & 15, said[0][28 + 7])
}

#[test]
fn a_name_that_may_be_told_in_a_moment_is_waited_for() {
    let mut wire = Wire::new(config());
    let names = Names::default();
    let serve = dns::serve(wire.stack.handle(), names.clone(), Resolvers::nobody());
    wire.stack.serve_dns(serve);
    assert_eq!(look_up(&mut wire, 4000, || ()), (3, 0), "nobody has it");
    names.gather(Instant::now(), Duration::from_secs(4), Duration::from_secs(4));
    let tell = || names.set("two", vec!["10.0.2.9".parse().unwrap()]);
    assert_eq!(look_up(&mut wire, 4001, tell), (0, 1));
    // Not longer than was said.
    names.set("two", Vec::new());
    names.gather(Instant::now(), Duration::from_millis(50), Duration::from_secs(4));
    assert_eq!(look_up(&mut wire, 4002, || ()), (3, 0));
}
