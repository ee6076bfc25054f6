//! Packets that nobody sends: cut off at every byte, every byte wrong, on links of every size. Nothing panics, and the
//! stack works afterwards.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::random::Random;
use super::wire::{Sent, Wire, config, ip};
use crate::net::{Config, Error, Stack};
use crate::sys::tun;

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
