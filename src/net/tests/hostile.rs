//! Packets that nobody sends: cut off at every byte, every byte wrong, on links of every size. Nothing panics, and the
//! stack works afterwards.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::random::Random;
use super::talk::Talk;
use super::wire::{Sent, Wire, config, ip};
use crate::net::{Config, Error, Stack};
use crate::sys::tun;

/// Containers that say anything.
const CONTAINERS: u64 = 20;

fn tcp(flags: &'static str, from: &str, to: &str) -> Vec<u8> {
    let sent = Sent {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        seq: 1000,
        ack: (flags != "S").then_some(5),
        flags,
        window: 1000,
        payload: b"payload",
        modern: true,
        sack: None,
    };
    sent.packet()
}

fn specimens() -> Vec<Vec<u8>> {
    let v6 = |protocol, transport: &[u8], checksum| {
        let (from, to): (Ipv6Addr, Ipv6Addr) = ("fd00::64".parse().unwrap(), "fd00::2".parse().unwrap());
        ip(from.into(), to.into(), protocol, 64, transport, checksum)
    };
    let v4 = |protocol, transport: &[u8]| {
        ip("10.0.2.100".parse().unwrap(), "10.0.2.2".parse().unwrap(), protocol, 64, transport, None)
    };
    let mut fragment = v4(17, &[7; 64]);
    fragment[6] = 0x20;
    vec![
        tcp("S", "10.0.2.100:40000", "10.0.2.2:1"),
        tcp("", "10.0.2.100:40000", "10.0.2.2:1"),
        tcp("F", "[fd00::64]:40000", "[fd00::2]:1"),
        v4(17, &[0x10, 0, 0, 1, 0, 12, 0, 0, 1, 2, 3, 4]),
        v4(1, &[8, 0, 0, 0, 1, 2, 3, 4, 5]),
        v4(2, &[0x11; 8]),
        v4(47, &[0; 40]),
        v6(17, &[0x10, 0, 0, 1, 0, 12, 0, 0, 1, 2, 3, 4], Some(6)),
        v6(58, &[128, 0, 0, 0, 1, 2, 3, 4, 5], Some(2)),
        // A router solicitation, hop-by-hop options, a fragment, a routing header, all of them in a row.
        v6(58, &[133, 0, 0, 0, 0, 0, 0, 0], Some(2)),
        v6(0, &[17, 0, 1, 4, 0, 0, 0, 0, 0x10, 0, 0, 1, 0, 8, 0, 0], None),
        v6(44, &[17, 0, 0, 1, 1, 2, 3, 4, 0x10, 0, 0, 1, 0, 8, 0, 0], None),
        v6(43, &[17, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 0, 8, 0, 0], None),
        v6(0, &[0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 43, 255, 0, 0], None),
        fragment,
    ]
}

/// Both with checksums to be verified and with the container's word for them.
fn give(wire: &Wire, packet: &[u8]) {
    for flags in [0, 1] {
        let mut bytes = vec![0; tun::HEADER];
        bytes[0] = flags;
        bytes.extend_from_slice(packet);
        wire.give_raw(&bytes);
    }
}

fn works(wire: &mut Wire) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let to = SocketAddr::new("10.0.2.2".parse().unwrap(), server.local_addr().unwrap().port());
    let mut udp = vec![0x20, 0];
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&[0, 9, 0, 0, 7]);
    wire.give(&ip("10.0.2.100".parse().unwrap(), to.ip(), 17, 64, &udp, Some(6)));
    for _ in 0..50 {
        wire.turn();
        wire.take();
    }
    assert_eq!(server.recv_from(&mut [0; 8]).unwrap().0, 1);
}

/// T-short, T-icmp6: no header is read past its packet, whatever the lengths in it say.
#[test]
fn cut_off_at_every_byte() {
    let mut wire = Wire::new(config());
    for packet in specimens() {
        for length in 0..packet.len() {
            give(&wire, &packet[..length]);
            // And with lengths that agree with the cut.
            let mut fitted = packet[..length].to_vec();
            if length > 5 {
                let (at, field) =
                    if fitted[0] >> 4 == 4 { (2, length) } else { (4, length.saturating_sub(40)) };
                fitted[at..at + 2].copy_from_slice(&u16::try_from(field).unwrap().to_be_bytes());
            }
            give(&wire, &fitted);
            wire.turn();
            wire.take();
        }
    }
    for length in 0..tun::HEADER {
        wire.give_raw(&vec![0; length.max(1)]);
    }
    works(&mut wire);
}

#[test]
fn every_byte_wrong() {
    let mut wire = Wire::new(config());
    let mut random = Random::new(3);
    for packet in specimens() {
        for at in 0..packet.len() {
            for _ in 0..6 {
                let mut wrong = packet.clone();
                wrong[at] = u8::try_from(random.below(256)).unwrap();
                if wrong[0] >> 4 == 4 && at < 20 {
                    wrong[10..12].fill(0);
                    let sum = !super::super::checksum::fold(super::super::checksum::sum(&wrong[..20], 0));
                    wrong[10..12].copy_from_slice(&sum.to_be_bytes());
                }
                give(&wire, &wrong);
            }
            wire.turn();
            wire.take();
        }
    }
    works(&mut wire);
}

/// T-smallmtu: nothing that is said is larger than the smallest link.
#[test]
fn tiny_links() {
    for mtu in [68, 100, 576, 1279] {
        let mut wire = Wire::new(Config { mtu, v6: None, ..config() });
        for packet in specimens() {
            give(&wire, &packet);
            wire.turn();
            for said in wire.take() {
                assert!(said.len() <= usize::from(mtu), "{} bytes on a link of {mtu}", said.len());
            }
        }
        works(&mut wire);
    }
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::SEQPACKET;
    let pair = || rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap().0;
    for (mtu, v6) in [(0, false), (67, false), (1279, true)] {
        let config = if v6 { config() } else { Config { v6: None, ..config() } };
        let refused = Stack::new(pair(), Config { mtu, ..config }).unwrap_err();
        assert!(matches!(refused, Error::Mtu(m, _) if m == mtu), "{refused}");
    }
}

/// A segment of an open connection as no container sends it: old and future numbers, ranges of anything, windows of
/// nothing and of a byte, every flag, and sometimes cut off.
fn anything(talk: &Talk, random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let mut near = |at: u32, spread: usize| {
        let off = u32::try_from(random.below(spread)).unwrap();
        match random.below(4) {
            0 => at,
            1 => at.wrapping_sub(off),
            2 => at.wrapping_add(off),
            _ => at.wrapping_add(u32::try_from(random.below(70_000)).unwrap()),
        }
    };
    let (seq, ack) = (near(talk.seq, 3000), near(talk.ack, 3000));
    let sack = (near(talk.ack, 9000), near(talk.ack, 9000));
    let flags = ["", "", "", "", "", "", "", "F", "S", "SF", "R"][random.below(11)];
    let sent = Sent {
        seq: if random.per_mille(700) { talk.seq } else { seq },
        ack: random.per_mille(950).then_some(ack),
        // A reset that is right would end it too soon.
        flags: if flags == "R" && random.per_mille(900) { "" } else { flags },
        window: [0, 1, 100, 65_000][random.below(4)],
        payload: &payload[..[0, 0, 1, 700, 1460][random.below(5)]],
        sack: random.per_mille(600).then_some(sack),
        ..talk.blank()
    };
    let mut packet = sent.packet();
    if random.per_mille(30) {
        packet.truncate(random.below(packet.len()).max(1));
    }
    packet
}

#[test]
fn a_container_that_says_anything() {
    for seed in 0..CONTAINERS {
        let mut random = Random::new(seed);
        let (mut talk, mut stream) = Talk::open();
        stream.set_nonblocking(true).unwrap();
        let payload = random.bytes(40_000);
        for _ in 0..1000 {
            match random.below(12) {
                // The host may be gone by now.
                0 => drop(stream.write(&payload[..random.below(payload.len())])),
                1 => drop(stream.read(&mut [0; 20_000])),
                2 => talk.wire.pass(Duration::from_millis(random.next() % 300)),
                _ => {
                    let packet = anything(&talk, &mut random, &payload);
                    give(&talk.wire, &packet);
                }
            }
            let micros = Duration::from_micros(random.next() % 500);
            for heard in talk.wire.silent(micros) {
                assert!(heard.length <= 1460, "{heard:?}");
                if let Some(ack) = heard.ack.filter(|_| random.per_mille(800)) {
                    talk.seq = ack;
                }
                if heard.length > 0 && random.per_mille(300) {
                    talk.ack = heard.seq;
                }
            }
            assert!(talk.wire.stack.flows().0 <= 2 && talk.wire.stack.appointments() <= 130);
        }
        works(&mut talk.wire);
    }
}
