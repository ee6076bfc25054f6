//! The whole network stack under packets of a hostile container: none of them panics, and what is said fits the link.
//!
//! The link may be as small as one can be. Packets come whole, or cut off at every byte, or in parts that overlap.
//! TCP's may be told where the stack's numbers are, which no input can know.
//!
//! Runs in namespaces of its own, where nothing can be reached but a loopback and one server there, on port 80 of the
//! gateway, which says much and reads everything.
#![no_main]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kelp::net::{Config, Limits, Stack, V4, V6};
use kelp::sys::{link, process, tun};
use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Bytes of links: the smallest for IPv4 and for both families, ordinary ones and the largest.
const MTUS: [u16; 5] = [68, 576, 1280, 1500, 65_520];
/// The smallest of a link that carries IPv6.
const V6_MTU: u16 = 1280;

/// How a packet comes, beside the two bits of its virtio-net header.
const CUT_EVERYWHERE: u8 = 4;
const IN_PARTS: u8 = 8;
/// What it acknowledges is counted from the last number that the stack has said on a connection.
const FOLLOWS: u8 = 16;

const SERVER_PORT: u16 = 80;
/// What the server says to each client, in bytes.
const SPEECH: usize = 300_000;
/// Connections that it keeps at a time.
const CLIENTS: usize = 16;

static SERVER: OnceLock<TcpListener> = OnceLock::new();

/// Milliseconds that have passed on the stack's clock.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn config(mtu: u16) -> Config {
    Config {
        v4: Some(V4 {
            address: [10, 0, 2, 100].into(),
            prefix: 24,
            gateway: [10, 0, 2, 2].into(),
            dns: [10, 0, 2, 3].into(),
        }),
        v6: (mtu >= V6_MTU).then(|| V6 {
            address: [0xfd00, 0, 0, 0, 0, 0, 0, 0x64].into(),
            prefix: 64,
            gateway: [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
            dns: [0xfd00, 0, 0, 0, 0, 0, 0, 3].into(),
        }),
        mtu,
        host_loopback: true,
        limits: Limits { tcp: 64, udp: 64, ping: 8, backlog: 1 << 20 },
        ..Config::default()
    }
}

fn apart() {
    // CLONE_NEWUSER and CLONE_NEWNET.
    process::unshare(0x1000_0000 | 0x4000_0000).expect("namespaces of its own");
    link::loopback_up().expect("a loopback");
    let server = TcpListener::bind(("127.0.0.1", SERVER_PORT)).expect("a server");
    server.set_nonblocking(true).expect("a server that does not wait");
    SERVER.set(server).expect("one server");
}

/// The other end of the container's connections.
#[derive(Default)]
struct Server(Vec<(TcpStream, usize)>);

impl Server {
    /// Answers who has come, says what there is room for, and reads what there is.
    fn turn(&mut self) {
        while let Some(Ok((client, _))) = SERVER.get().map(TcpListener::accept) {
            client.set_nonblocking(true).expect("a client that is not waited for");
            self.0.push((client, SPEECH));
        }
        if self.0.len() > CLIENTS {
            self.0.remove(0);
        }
        let mut heard = [0; 4096];
        for (client, left) in &mut self.0 {
            let said = client.write(&[7; 1 << 16][..(*left).min(1 << 16)]).unwrap_or(0);
            *left -= said;
            while client.read(&mut heard).is_ok_and(|length| length > 0) {}
        }
    }
}

/// Adds `by` to what an IPv4 packet with a TCP segment acknowledges, and to the ranges that it tells of.
fn follow(packet: &mut [u8], by: u32) {
    const ACK: usize = 28;
    if packet.len() < 40 || packet[0] != 0x45 || packet[9] != 6 {
        return;
    }
    let add = |bytes: &mut [u8]| {
        let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        bytes[..4].copy_from_slice(&number.wrapping_add(by).to_be_bytes());
    };
    add(&mut packet[ACK..]);
    let end = (20 + usize::from(packet[32] >> 4) * 4).min(packet.len());
    let mut at = 40;
    while at + 1 < end {
        let length = match packet[at] {
            0 => break,
            1 => 1,
            _ => usize::from(packet[at + 1]).max(2),
        };
        if packet[at] == 5 {
            packet[(at + 2).min(end)..(at + length).min(end)].chunks_exact_mut(4).for_each(add);
        }
        at += length;
    }
}

/// The number behind what a frame of the stack's says, where that is a TCP segment over IPv4.
fn number_behind(frame: &[u8]) -> Option<u32> {
    let packet = &frame[tun::HEADER..];
    if packet.len() < 40 || packet[0] != 0x45 || packet[9] != 6 || packet[33] & 4 != 0 {
        return None;
    }
    let number = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
    let header = 20 + usize::from(packet[32] >> 4) * 4;
    let length = packet.len().saturating_sub(header) + usize::from(packet[33] & 1) + usize::from(packet[33] >> 1 & 1);
    Some(number.wrapping_add(length as u32))
}

/// The input: packets, each after its length, the flags of its virtio-net header and a time to pass.
fn packets(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let [low, high, flags, time, rest @ ..] = bytes else { return None };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        bytes = rest;
        Some((*flags, *time, packet))
    })
}

/// What is given to the stack for one packet of the input.
fn given(how: u8, packet: &[u8]) -> Vec<Vec<u8>> {
    if how & CUT_EVERYWHERE != 0 {
        (0..packet.len().min(128)).map(|length| packet[..length].to_vec()).collect()
    } else if how & IN_PARTS != 0 && packet.len() > 20 && packet[0] == 0x45 {
        parts(packet, usize::from(how >> 4))
    } else {
        vec![packet.to_vec()]
    }
}

/// An IPv4 packet in parts of 32 bytes, each of which overlaps the next one by `overlap` times eight bytes at most.
/// Their header checksums are right: otherwise nobody would look further.
fn parts(packet: &[u8], overlap: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let step = 32 - 8 * (overlap % 4);
    let part = |at: usize| {
        let end = (at + 32).min(payload.len());
        let mut bytes = [header, &payload[at..end]].concat();
        let more = if end < payload.len() { 0x2000 } else { 0 };
        bytes[2..4].copy_from_slice(&((20 + end - at) as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&((at / 8) as u16 | more).to_be_bytes());
        bytes[10..12].fill(0);
        let sum: u32 = bytes[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        bytes
    };
    (0..payload.len()).step_by(step).map(part).collect()
}

fuzz_target!(init: apart(), |bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let mtu = MTUS[usize::from(*first) % MTUS.len()];
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a link");
    let mut stack = Stack::new(ours, config(mtu)).expect("a stack");
    let start = Instant::now();
    let mut said = vec![0; 70_000];
    let mut server = Server::default();
    let mut behind = 0;
    for (flags, time, packet) in packets(bytes) {
        let mut packet = packet.to_vec();
        if flags & FOLLOWS != 0 {
            follow(&mut packet, behind);
        }
        for bytes in given(flags, &packet) {
            let mut frame = vec![0; tun::HEADER];
            frame[0] = flags & 3;
            frame.extend_from_slice(&bytes);
            let _ = rustix::io::write(&theirs, &frame);
        }
        // Half a minute at most, so that every timer gets its turn.
        let now = CLOCK.fetch_add(u64::from(time) * u64::from(time) / 2, Ordering::Relaxed);
        for _ in 0..2 {
            server.turn();
            stack.wait(Some(Duration::ZERO)).expect("to wait");
            stack.turn(start + Duration::from_millis(now)).expect("to go on");
        }
        while let Ok(length) = rustix::io::read(&theirs, &mut said[..]) {
            assert!(length > tun::HEADER);
            behind = number_behind(&said[..length]).unwrap_or(behind);
            assert!(said[1] != 0 || length <= tun::HEADER + usize::from(mtu), "{length} bytes");
        }
    }
    let (tcp, udp) = stack.flows();
    assert!(tcp <= 64 && udp <= 64);
});
