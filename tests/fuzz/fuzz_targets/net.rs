//! The whole network stack under packets of a hostile container: none of them panics, and what is said fits the link.
//!
//! Runs in namespaces of its own, where nothing but a loopback without listeners can be reached.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kelp::net::{Config, Limits, Stack, V4, V6};
use kelp::sys::{link, process, tun};
use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Bytes of the smallest link that carries both families.
const MTU: u16 = 1280;

/// Milliseconds that have passed on the stack's clock.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn config() -> Config {
    Config {
        v4: Some(V4 {
            address: [10, 0, 2, 100].into(),
            prefix: 24,
            gateway: [10, 0, 2, 2].into(),
            dns: [10, 0, 2, 3].into(),
        }),
        v6: Some(V6 {
            address: [0xfd00, 0, 0, 0, 0, 0, 0, 0x64].into(),
            prefix: 64,
            gateway: [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
            dns: [0xfd00, 0, 0, 0, 0, 0, 0, 3].into(),
        }),
        mtu: MTU,
        host_loopback: true,
        limits: Limits { tcp: 64, udp: 64, ping: 8, backlog: 1 << 20 },
        ..Config::default()
    }
}

fn apart() {
    // CLONE_NEWUSER and CLONE_NEWNET.
    process::unshare(0x1000_0000 | 0x4000_0000).expect("namespaces of its own");
    link::loopback_up().expect("a loopback");
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

fuzz_target!(init: apart(), |bytes: &[u8]| {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a link");
    let mut stack = Stack::new(ours, config()).expect("a stack");
    let start = Instant::now();
    let mut said = vec![0; 70_000];
    for (flags, time, packet) in packets(bytes) {
        let mut frame = vec![0; tun::HEADER];
        frame[0] = flags & 3;
        frame.extend_from_slice(packet);
        let _ = rustix::io::write(&theirs, &frame);
        // Half a minute at most, so that every timer gets its turn.
        let now = CLOCK.fetch_add(u64::from(time) * u64::from(time) / 2, Ordering::Relaxed);
        for _ in 0..2 {
            stack.wait(Some(Duration::ZERO)).expect("to wait");
            stack.turn(start + Duration::from_millis(now)).expect("to go on");
        }
        while let Ok(length) = rustix::io::read(&theirs, &mut said[..]) {
            assert!(length > tun::HEADER);
            assert!(said[1] != 0 || length <= tun::HEADER + usize::from(MTU), "{length} bytes");
        }
    }
    let (tcp, udp) = stack.flows();
    assert!(tcp <= 64 && udp <= 64);
});
