//! T-netdos: a container that opens, sends and stalls as much as it can takes a bounded share of memory and
//! descriptors, and what else it does goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

use crate::checks::{connect, serve_at};
use crate::world::{CONTAINER, FAR, FAR_V6, World, at, ip};

/// Nobody is there, and nobody says so.
const SILENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);

/// Resident memory of this process, where all of this is, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn echo(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn echoes(stream: &mut TcpStream, byte: u8) {
    stream.write_all(&[byte]).unwrap();
    let mut got = [0];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, [byte]);
}

/// The checks around a flood: connections that are there, new ones during it and after it, and what it leaves.
fn through(world: &World, allowance: usize, flood: impl FnOnce() + Send + 'static) {
    let server = serve_at(&world.far, FAR, echo);
    let mut old = world.container.run(move || connect(server));
    let before = resident();
    let flood = world.container.spawn(flood);
    let mut most = 0;
    let mut round = 0;
    while round < 3 || !flood.is_finished() {
        old = world.container.run(move || {
            echoes(&mut old, round);
            echoes(&mut connect(server), round);
            old
        });
        most = resident().max(most);
        round = round.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20));
    }
    flood.join().unwrap_or_else(|_| panic!("it failed there, see above"));
    let grown = most.saturating_sub(before) >> 10;
    println!("  {grown} MiB more at the most, {} descriptors, {round} rounds of others", descriptors());
    assert!(grown < allowance, "{grown} MiB more");
}

pub fn a_million_syns(world: &World) {
    const COUNT: u32 = 1_000_000;
    ip(&format!("neigh replace {SILENT} lladdr 02:00:00:00:00:77 dev h0 nud permanent"));
    through(world, 64, || {
        let raw = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW));
        let raw: OwnedFd = raw.unwrap();
        for number in 0..COUNT {
            let port = u16::try_from(1024 + number % 64_000).unwrap();
            let to = SocketAddrV4::new(SILENT, u16::try_from(1 + number / 64_000).unwrap());
            while let Err(e) = sendto(&raw, &syn(port, to), SendFlags::empty(), &to) {
                assert_eq!(e, rustix::io::Errno::NOBUFS, "SYN {number}");
                std::thread::yield_now();
            }
        }
    });
}

/// A SYN of the container's with its IPv4 header, whose sum the kernel adds.
fn syn(port: u16, to: SocketAddrV4) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&40u16.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, 6]);
    packet[12..16].copy_from_slice(&CONTAINER.parse::<Ipv4Addr>().unwrap().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[32..36].copy_from_slice(&[0x50, 2, 0xff, 0xff]);
    let sum: u32 = packet[12..].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = sum + 6 + 20;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[36..38].copy_from_slice(&(!sum).to_be_bytes());
    packet
}

pub fn a_hundred_thousand_udp_flows(world: &World) {
    through(world, 64, || {
        for (any, far) in [("0.0.0.0", FAR), ("::", FAR_V6)] {
            for port in 10_000..60_000 {
                // Those that somebody has are left out.
                let Ok(socket) = UdpSocket::bind((any, port)) else { continue };
                let _ = socket.send_to(b"x", at(far, 9));
            }
        }
    });
}

/// Connections that nobody reads, in either direction.
pub fn slow_readers(world: &World) {
    const EACH: usize = 60;
    let never_reads = serve_at(&world.far, FAR, |stream| {
        std::thread::sleep(Duration::from_secs(8));
        drop(stream);
    });
    let pours = serve_at(&world.far, FAR, |mut stream| {
        let bytes = [0; 1 << 14];
        stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
        while stream.write_all(&bytes).is_ok() {}
    });
    through(world, 96, move || {
        let stall = |to: SocketAddr| (0..EACH).map(|_| connect(to)).collect::<Vec<_>>();
        let (mut full, poured) = (stall(never_reads), stall(pours));
        let bytes = [0; 1 << 16];
        for stream in &mut full {
            stream.set_nonblocking(true).unwrap();
            for _ in 0..200 {
                // Whatever part of it there is room for.
                if let Err(e) = stream.write_all(&bytes) {
                    assert_eq!(e.kind(), ErrorKind::WouldBlock);
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        drop((full, poured));
    });
}
