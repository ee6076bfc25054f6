//! Transfers in bad weather, between the container's Linux and the stack; beside them the same between two Linuxes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use kelp::sys::tun;

use crate::checks::{block, connect, exchange_blocks, serve_at};
use crate::weather::{Relay, Weather};
use crate::world::{Carried, FAR, FAR_V6, Place, World, ip};

/// Whatever the weather: nobody waits longer for a few megabytes.
const LIMIT: Duration = Duration::from_secs(60);

const SKIES: &[(&str, Weather, usize)] = &[
    ("clear", Weather { lost: 0, twice: 0, late: 0 }, 16),
    ("1 in 1000 lost", Weather { lost: 1, twice: 0, late: 0 }, 8),
    ("1 % lost", Weather { lost: 10, twice: 0, late: 0 }, 4),
    ("5 % lost", Weather { lost: 50, twice: 0, late: 0 }, 1),
    ("3 % late", Weather { lost: 0, twice: 0, late: 30 }, 2),
    ("3 % twice", Weather { lost: 0, twice: 30, late: 0 }, 4),
    ("all of it", Weather { lost: 20, twice: 30, late: 30 }, 1),
];

/// Loss, reordering and duplication in both directions: every byte arrives, and the goodput is one of recovery by
/// acknowledgements, not by timeouts.
pub fn bad_weather(world: &World) {
    for (at, (name, weather, blocks)) in SKIES.iter().enumerate() {
        let seed = 77 + u64::try_from(at).unwrap();
        let carried = Carried::new(|tun, stack| Relay::between(tun, stack, *weather, seed));
        let server = serve_at(&world.far, FAR, exchange_blocks);
        let (up, down) = goodput(&carried.container, server, *blocks);
        let (linux_up, linux_down) = between_linuxes(*weather, seed, *blocks);
        println!(
            "  {name}: {up:.1} MB/s out, {down:.1} in; Linux to Linux {linux_up:.1} and {linux_down:.1}"
        );
        if *name == "all of it" {
            let server = serve_at(&world.far, FAR_V6, exchange_blocks);
            let (up, down) = goodput(&carried.container, server, *blocks);
            println!("  {name}, IPv6: {up:.1} MB/s out, {down:.1} in");
        }
    }
}

/// Sends so many blocks and takes as many; megabytes per second each way.
fn goodput(place: &Place, server: SocketAddr, blocks: usize) -> (f64, f64) {
    place.run(move || {
        let start = Instant::now();
        let mut stream = connect(server);
        stream.write_all(&u16::try_from(blocks).unwrap().to_le_bytes()).unwrap();
        for number in 0..blocks {
            stream.write_all(block(number)).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        // The other end answers when it has it all.
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        let (sent, back) = (start.elapsed(), Instant::now());
        let mut got = first.to_vec();
        stream.read_to_end(&mut got).unwrap();
        let received = back.elapsed();
        assert_eq!(got.len(), blocks << 20);
        for (number, part) in got.chunks(1 << 20).enumerate() {
            assert!(part == block(number), "block {number} differs");
        }
        assert!(sent < LIMIT && received < LIMIT, "{sent:?} out, {received:?} in");
        let megabytes = f64::from(u32::try_from(blocks << 20).unwrap()) / 1e6;
        (megabytes / sent.as_secs_f64(), megabytes / received.as_secs_f64())
    })
}

/// The same over the same link with Linux at both ends.
fn between_linuxes(weather: Weather, seed: u64, blocks: usize) -> (f64, f64) {
    let (one, other) = (Place::new(), Place::new());
    let end = |place: &Place, address: &'static str| {
        place.run(move || {
            let tun = tun::open("t0").unwrap();
            ip(&format!("addr add {address}/24 dev t0"));
            ip(&format!("link set t0 up mtu 1500 txqueuelen {}", tun::QUEUE));
            tun
        })
    };
    let (a, b) = (end(&one, "10.77.0.1"), end(&other, "10.77.0.2"));
    let _relay = Relay::between(a, b, weather, seed);
    let server = serve_at(&other, "10.77.0.2", exchange_blocks);
    goodput(&one, server, blocks)
}
