//! What holds in the world.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kelp::net::{Listener, Protocol};

use crate::world::{CONTAINER, FAR, FAR_MTU, FAR_V6, GATEWAY, HOST, HOST_V6, Place, World, at};
use crate::{floods, recovery};

const PATIENCE: Duration = Duration::from_secs(20);

/// A check and its name.
type Check = (&'static str, fn(&World));

/// Every check, in the order in which they are made.
const CHECKS: &[Check] = &[
    ("a_gigabyte_each_way", a_gigabyte_each_way),
    ("refused_and_unreachable", refused_and_unreachable),
    ("half_closed_both_ways", half_closed_both_ways),
    ("reset_both_ways", reset_both_ways),
    ("datagrams_of_every_size", datagrams_of_every_size),
    ("datagrams_in_a_row", datagrams_in_a_row),
    ("datagrams_in_a_row_for_the_container", datagrams_in_a_row_for_the_container),
    ("datagrams_refused", datagrams_refused),
    ("the_path_mtu", the_path_mtu),
    ("every_hop_is_told", every_hop_is_told),
    ("pings", pings),
    ("clients_keep_their_address", clients_keep_their_address),
    ("the_hosts_loopback_is_closed", the_hosts_loopback_is_closed),
    ("two_thousand_at_once", two_thousand_at_once),
    ("a_slow_reader_stalls_itself_alone", a_slow_reader_stalls_itself_alone),
    ("bad_weather", recovery::bad_weather),
    ("a_million_syns", floods::a_million_syns),
    ("a_hundred_thousand_udp_flows", floods::a_hundred_thousand_udp_flows),
    ("slow_readers", floods::slow_readers),
    ("asleep_when_idle", asleep_when_idle),
];

pub fn run(filter: Option<&str>) {
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(8192), maximum: Some(8192) },
    );
    let world = World::new();
    let mut count = 0;
    for (name, check) in CHECKS {
        if filter.is_none_or(|f| name.contains(f)) {
            let start = Instant::now();
            check(&world);
            println!("test {name} ... ok ({:.2?})", start.elapsed());
            count += 1;
        }
    }
    let stack = world.end();
    println!("{count} checks; {:?}", stack.counters());
}

/// A server on the far machine that answers each connection with `serve`.
fn serve(world: &World, address: &'static str, serve: fn(TcpStream)) -> SocketAddr {
    serve_at(&world.far, address, serve)
}

pub fn serve_at(place: &Place, address: &'static str, serve: fn(TcpStream)) -> SocketAddr {
    place.run(move || {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || serve(stream));
            }
        });
        at
    })
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Length of a block in bytes.
const BLOCK: usize = 1 << 20;

/// Bytes that differ from place to place and, within 251 blocks, from block to block.
pub fn block(number: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(state >> 24).unwrap()
        };
        (0..BLOCK + 251).map(|_| next()).collect()
    });
    &bytes[number % 251..][..BLOCK]
}

fn expect_blocks(stream: &mut TcpStream, blocks: usize) {
    let mut got = vec![0; BLOCK];
    for number in 0..blocks {
        stream.read_exact(&mut got).unwrap();
        assert!(got == block(number), "block {number} differs");
    }
    assert_eq!(stream.read(&mut got).unwrap(), 0, "there is more");
}

/// Takes as many blocks as the first bytes say, and sends as many.
pub fn exchange_blocks(mut stream: TcpStream) {
    let mut count = [0; 2];
    stream.read_exact(&mut count).unwrap();
    let blocks = usize::from(u16::from_le_bytes(count));
    expect_blocks(&mut stream, blocks);
    for number in 0..blocks {
        stream.write_all(block(number)).unwrap();
    }
}

fn a_gigabyte_each_way(world: &World) {
    // IPv6 is the same machine in other clothes: less will do.
    for (address, blocks) in [(FAR, 1024u16), (FAR_V6, 128)] {
        let server = serve(world, address, exchange_blocks);
        world.container.run(move || {
            let mut stream = connect(server);
            stream.write_all(&blocks.to_le_bytes()).unwrap();
            for number in 0..blocks.into() {
                stream.write_all(block(number)).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            expect_blocks(&mut stream, blocks.into());
        });
    }
}

fn refused_and_unreachable(world: &World) {
    world.container.run(|| {
        for (to, kinds) in [
            (at(FAR, 1), &[ErrorKind::ConnectionRefused][..]),
            (at(FAR_V6, 1), &[ErrorKind::ConnectionRefused]),
            (at(GATEWAY, 1), &[ErrorKind::ConnectionRefused]),
            // The host has no route there.
            (at("192.0.2.1", 80), &[ErrorKind::NetworkUnreachable]),
            (at("2001:db8::1", 80), &[ErrorKind::NetworkUnreachable]),
            (at("10.0.2.7", 80), &[ErrorKind::HostUnreachable]),
            (at("169.254.169.254", 80), &[ErrorKind::HostUnreachable, ErrorKind::PermissionDenied]),
        ] {
            let start = Instant::now();
            let e = TcpStream::connect_timeout(&to, PATIENCE).unwrap_err();
            assert!(kinds.contains(&e.kind()), "{to}: {e}");
            assert!(start.elapsed() < Duration::from_secs(1), "{to}: told after {:?}", start.elapsed());
        }
    });
}

fn half_closed_both_ways(world: &World) {
    let late = serve(world, FAR, |mut stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"after your end");
    });
    let echo = serve(world, FAR, |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    world.container.run(move || {
        let mut stream = connect(late);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        stream.write_all(b"after your end").unwrap();
        let mut stream = connect(echo);
        stream.write_all(b"before mine").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"before mine");
    });
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

fn reset_both_ways(world: &World) {
    let cuts = serve(world, FAR, reset);
    world.container.run(move || {
        // The reset may come as early as the answer to the SYN, or before it.
        let read = |mut stream: TcpStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read(&mut [0; 8])
        };
        let e = TcpStream::connect_timeout(&cuts, PATIENCE).and_then(read).unwrap_err();
        assert!([ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused].contains(&e.kind()), "{e}");
    });
    let (server, seen) = world.far.run(|| {
        let listener = TcpListener::bind((FAR, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let seen = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read(&mut [0; 8]).unwrap_err().kind()
        });
        (at, seen)
    });
    world.container.run(move || reset(connect(server)));
    assert_eq!(seen.join().unwrap(), ErrorKind::ConnectionReset);
}

/// A UDP socket on the far machine that sends back what it gets.
fn echo_datagrams(world: &World, address: &'static str) -> SocketAddr {
    world.far.run(move || {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 70_000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
        at
    })
}

fn datagrams_of_every_size(world: &World) {
    for (far, unspecified) in [(FAR, "0.0.0.0"), (FAR_V6, "::")] {
        let echo = echo_datagrams(world, far);
        world.container.run(move || {
            let socket = UdpSocket::bind((unspecified, 0)).unwrap();
            for size in [0, 1, 512, 1200, 1352, 1372, 1400, 1472, 1473, 2800, 9000, 40_000, 65_000, 65_507] {
                let sent: Vec<u8> = block(size)[..size].to_vec();
                let mut buffer = vec![0; 70_000];
                // The first that is too large for the path teaches its MTU, and is lost; so may be one that is sent
                // while the far machine is looked for. What comes late is not this one's answer.
                let mut got = None;
                socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
                for _ in 0..5 {
                    if socket.send_to(&sent, echo).is_err() {
                        continue;
                    }
                    got = std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).find(|(n, _)| *n == size);
                    if got.is_some() {
                        break;
                    }
                }
                let (length, from) =
                    got.unwrap_or_else(|| panic!("{size} bytes to {echo} did not come back"));
                assert_eq!((length, from), (size, echo));
                assert!(buffer[..length] == sent, "{size} bytes differ");
            }
        });
    }
}

/// Sizes that belong together, and that do not.
const SIZES: [usize; 24] = [
    1000, 1000, 1000, 1000, 7, 1000, 1000, 1200, 1200, 1200, 0, 1200, 1372, 1372, 1, 1, 1, 2, 2, 1372, 900,
    901, 901, 900,
];

/// Whatever is sent together arrives as what it was, in order.
fn datagrams_in_a_row(world: &World) {
    for (far, any) in [(FAR, "0.0.0.0"), (FAR_V6, "::")] {
        let (to, got) = world.far.run(move || {
            let socket = UdpSocket::bind((far, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let to = socket.local_addr().unwrap();
            let got = std::thread::spawn(move || {
                let mut buffer = vec![0; 2000];
                let mut receive = || {
                    let length = socket.recv(&mut buffer).unwrap();
                    buffer[..length].to_vec()
                };
                (0..SIZES.len() * 4).map(|_| receive()).collect::<Vec<_>>()
            });
            (to, got)
        });
        world.container.run(move || {
            let socket = UdpSocket::bind((any, 0)).unwrap();
            for (number, size) in SIZES.iter().cycle().take(SIZES.len() * 4).enumerate() {
                socket.send_to(&block(number)[..*size], to).unwrap();
            }
        });
        for (number, got) in got.join().unwrap().iter().enumerate() {
            let size = SIZES[number % SIZES.len()];
            assert!(got == &block(number)[..size], "datagram {number}: {} bytes for {size}", got.len());
        }
    }
}

/// The same towards the container, where the kernel takes apart what came together.
fn datagrams_in_a_row_for_the_container(world: &World) {
    for (far, any) in [(FAR, "0.0.0.0"), (FAR_V6, "::")] {
        let to = world.far.run(move || {
            let socket = UdpSocket::bind((far, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let to = socket.local_addr().unwrap();
            std::thread::spawn(move || {
                let (_, container) = socket.recv_from(&mut [0; 10]).unwrap();
                for (number, size) in SIZES.iter().cycle().take(SIZES.len() * 4).enumerate() {
                    socket.send_to(&block(number)[..*size], container).unwrap();
                }
            });
            to
        });
        world.container.run(move || {
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(b"begin", to).unwrap();
            let mut buffer = vec![0; 2000];
            for number in 0..SIZES.len() * 4 {
                let length = socket.recv(&mut buffer).unwrap();
                let size = SIZES[number % SIZES.len()];
                assert!(
                    buffer[..length] == block(number)[..size],
                    "datagram {number}: {length} bytes for {size}"
                );
            }
        });
    }
}

fn datagrams_refused(world: &World) {
    for to in [at(FAR, 9), at(FAR_V6, 9), at(GATEWAY, 9)] {
        world.container.run(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(to).unwrap();
            socket.send(b"anybody?").unwrap();
            let e = socket.recv(&mut [0; 8]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::ConnectionRefused, "{to}");
        });
    }
}

fn the_path_mtu(world: &World) {
    let echo = echo_datagrams(world, FAR);
    world.container.run(move || {
        let socket = kelp::sys::inet::socket(kelp::sys::inet::Kind::Udp, echo.ip()).unwrap();
        kelp::sys::inet::set_dont_fragment(&socket, echo.ip(), true).unwrap();
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(false).unwrap();
        socket.connect(echo).unwrap();
        let deadline = Instant::now() + PATIENCE;
        // The container's kernel learns it from an ICMP message, and then refuses by itself.
        loop {
            match socket.send(&[0; 1460]) {
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => break,
                _ => assert!(Instant::now() < deadline, "never told"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(kelp::sys::inet::path_mtu(echo).unwrap(), u32::from(FAR_MTU));
    });
}

fn every_hop_is_told(world: &World) {
    for (to, gateway) in [(at(FAR, 33_434), GATEWAY), (at(FAR_V6, 33_434), "fd00::2")] {
        world.container.run(move || {
            for (hops, who) in [(1, at(gateway, 0).ip()), (2, to.ip())] {
                let socket = kelp::sys::inet::socket(kelp::sys::inet::Kind::Udp, to.ip()).unwrap();
                kelp::sys::inet::queue_errors(&socket, to.ip()).unwrap();
                kelp::sys::inet::set_hop_limit(&socket, to.ip(), hops).unwrap();
                kelp::sys::inet::send_to(&socket, b"probe", to).unwrap();
                let deadline = Instant::now() + PATIENCE;
                let told = loop {
                    match kelp::sys::inet::receive_error(&socket, &mut [0; 64]) {
                        Ok(told) => break told,
                        Err(_) => assert!(Instant::now() < deadline, "hop {hops} towards {to} says nothing"),
                    }
                    std::thread::sleep(Duration::from_millis(5));
                };
                assert_eq!(told.offender, Some(who), "hop {hops}");
                assert_eq!(told.destination, Some(to));
            }
        });
    }
}

fn pings(world: &World) {
    for to in [FAR, FAR_V6, GATEWAY] {
        world.container.run(move || {
            let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
            let to = at(to, 0);
            let socket = kelp::sys::inet::socket(kelp::sys::inet::Kind::Ping, to.ip()).unwrap();
            let kind = if to.is_ipv4() { 8 } else { 128 };
            let mut echo = vec![kind, 0, 0, 0, 0, 0, 0, 7];
            echo.extend_from_slice(&[0x55; 3000]);
            let deadline = Instant::now() + PATIENCE;
            let mut buffer = vec![0; 4000];
            // The first one to a link with a smaller MTU may be lost to learning it.
            loop {
                let _ = kelp::sys::inet::send_to(&socket, &echo, to);
                std::thread::sleep(Duration::from_millis(50));
                if let Ok((length, from)) = kelp::sys::inet::receive_from(&socket, &mut buffer) {
                    assert_eq!((length, from.ip()), (echo.len(), to.ip()));
                    assert_eq!(buffer[6..length], echo[6..]);
                    break;
                }
                assert!(Instant::now() < deadline, "no answer from {to}");
            }
        });
    }
}

fn clients_keep_their_address(world: &World) {
    let (tcp, udp) = (TcpListener::bind("[::]:0").unwrap(), UdpSocket::bind((HOST, 0)).unwrap());
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let publish = |socket, protocol, target| {
        world.handle.publish(Listener { socket, protocol, target, host_clients: None });
    };
    let tcp6 = TcpListener::bind((HOST_V6, 0)).unwrap();
    let tcp6_port = tcp6.local_addr().unwrap().port();
    publish(tcp.into(), Protocol::Tcp, at(CONTAINER, 80));
    publish(tcp6.into(), Protocol::Tcp, at("fd00::64", 80));
    publish(udp.into(), Protocol::Udp, at(CONTAINER, 53));
    world.container.run(|| {
        for address in [CONTAINER, "fd00::64"] {
            let listener = TcpListener::bind((address, 80)).unwrap();
            std::thread::spawn(move || {
                while let Ok((mut stream, client)) = listener.accept() {
                    stream.write_all(client.to_string().as_bytes()).unwrap();
                }
            });
        }
        let socket = UdpSocket::bind((CONTAINER, 53)).unwrap();
        std::thread::spawn(move || {
            while let Ok((_, client)) = socket.recv_from(&mut [0; 64]) {
                socket.send_to(client.to_string().as_bytes(), client).unwrap();
            }
        });
    });
    let ask_tcp = |to: SocketAddr| {
        let mut stream = connect(to);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (stream.local_addr().unwrap(), answer.parse::<SocketAddr>().unwrap())
    };
    for to in [at(HOST, tcp_port), at(HOST_V6, tcp6_port)] {
        let (mine, seen) = world.far.run(move || ask_tcp(to));
        assert_eq!(mine, seen);
    }
    let (mine, seen) = world.far.run(move || {
        let socket = UdpSocket::bind((FAR, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect((HOST, udp_port)).unwrap();
        socket.send(b"who am I?").unwrap();
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer).unwrap();
        let seen = std::str::from_utf8(&answer[..length]).unwrap().parse::<SocketAddr>().unwrap();
        (socket.local_addr().unwrap(), seen)
    });
    assert_eq!(mine, seen);
    // From the host itself: the gateway, never loopback.
    for to in [at("127.0.0.1", tcp_port), at(HOST, tcp_port)] {
        let (mine, seen) = ask_tcp(to);
        assert_eq!(seen, at(GATEWAY, mine.port()));
    }
}

fn the_hosts_loopback_is_closed(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    world.container.run(move || {
        for (to, refused) in [
            (at(GATEWAY, port), Some(ErrorKind::ConnectionRefused)),
            (at("0.0.0.1", port), None),
            (at("::ffff:127.0.0.1", port), None),
        ] {
            let e = TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err();
            assert!(refused.is_none_or(|kind| e.kind() == kind), "{to}: {e}");
        }
    });
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came through");
}

fn two_thousand_at_once(world: &World) {
    let echo = serve(world, FAR, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    world.container.run(move || {
        let mut streams: Vec<TcpStream> = (0..2000).map(|_| connect(echo)).collect();
        for round in 0..2 {
            for stream in &mut streams {
                stream.write_all(&[round]).unwrap();
            }
            for stream in &mut streams {
                let mut byte = [9];
                stream.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [round]);
            }
        }
    });
}

fn a_slow_reader_stalls_itself_alone(world: &World) {
    let never_reads = serve(world, FAR, |stream| {
        std::thread::sleep(Duration::from_secs(4));
        drop(stream);
    });
    let echo = serve(world, FAR, exchange_blocks);
    let stalled = world.container.spawn(move || {
        let mut stream = connect(never_reads);
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut sent = 0usize;
        while let Ok(n) = stream.write(&[0; 1 << 16]) {
            sent += n;
        }
        sent
    });
    world.container.run(move || {
        std::thread::sleep(Duration::from_millis(300));
        let mut stream = connect(echo);
        stream.write_all(&4u16.to_le_bytes()).unwrap();
        for number in 0..4 {
            stream.write_all(block(number)).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        expect_blocks(&mut stream, 4);
    });
    let sent = stalled.join().unwrap();
    assert!(sent < 64 << 20, "{sent} bytes went nowhere");
}

fn asleep_when_idle(world: &World) {
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", world.stack_id)).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    // Connections of the checks before this one end, and their timers run out.
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let before = switches();
        std::thread::sleep(Duration::from_secs(3));
        if switches() - before <= 1 {
            return;
        }
        assert!(Instant::now() < deadline, "it wakes up again and again");
    }
}
