//! Streams between smoltcp's TCP and sockets of the host, over links of every quality: every byte arrives, once, in
//! order, and both ends come to rest.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Clock;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::random::Random;
use super::wire::{Wire, config};
use crate::net::{Config, Query};

/// Bytes a packet of the container's may have.
const MTU: usize = 1500;

/// The container's interface: what comes and what goes.
#[derive(Default)]
struct Queues {
    inward: VecDeque<Vec<u8>>,
    outward: VecDeque<Vec<u8>>,
}

struct Inward(Vec<u8>);
struct Outward<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Inward {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outward<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Inward;
    type TxToken<'a> = Outward<'a>;

    fn receive(&mut self, _: Clock) -> Option<(Inward, Outward<'_>)> {
        let packet = self.inward.pop_front()?;
        Some((Inward(packet), Outward(&mut self.outward)))
    }

    fn transmit(&mut self, _: Clock) -> Option<Outward<'_>> {
        Some(Outward(&mut self.outward))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // The stack leaves the checksum to the container's kernel.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

/// How bad a link is, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    loss: usize,
    doubling: usize,
    swapping: usize,
}

impl Weather {
    /// Moves packets from one side to the other.
    fn carry(self, random: &mut Random, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut carried: Vec<Vec<u8>> = Vec::new();
        for packet in packets {
            if random.per_mille(self.loss) {
                continue;
            }
            if random.per_mille(self.doubling) {
                carried.push(packet.clone());
            }
            carried.push(packet);
            if carried.len() > 1 && random.per_mille(self.swapping) {
                let last = carried.len() - 1;
                carried.swap(last, random.below(last));
            }
        }
        carried
    }
}

/// What one run does.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    weather: Weather,
    /// Bytes from the container to the host, and back.
    up: usize,
    down: usize,
    v6: bool,
    /// Whether the host's client opens the connection.
    published: bool,
    /// Whether the container talks to the DNS handler, whose bytes wait in a ring.
    dns: bool,
    /// Bytes the host reads at a time, at each step of the clock; 0 is all there are.
    sip: usize,
    /// The container's receive buffer.
    buffer: usize,
}

const CALM: Plan = Plan {
    seed: 1,
    weather: Weather { loss: 0, doubling: 0, swapping: 0 },
    up: 300_000,
    down: 300_000,
    v6: false,
    published: false,
    dns: false,
    sip: 0,
    buffer: 65_535,
};

struct World {
    wire: Wire,
    queues: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
    start: std::time::Instant,
}

impl World {
    fn new(config: Config) -> Self {
        let wire = Wire::new(config);
        let mut queues = Queues::default();
        let mut interface =
            Interface::new(InterfaceConfig::new(HardwareAddress::Ip), &mut queues, Clock::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(10, 0, 2, 100), 24)).unwrap();
            addresses.push(IpCidr::new(IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 0x64), 64)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(Ipv4Addr::new(10, 0, 2, 2)).unwrap();
        let start = wire.now;
        Self { wire, queues, interface, sockets: SocketSet::new(Vec::new()), start }
    }

    fn clock(&self) -> Clock {
        Clock::from_micros(i64::try_from((self.wire.now - self.start).as_micros()).unwrap())
    }

    /// One step of everything, and some time.
    fn step(&mut self, weather: Weather, random: &mut Random) {
        let clock = self.clock();
        self.interface.poll(clock, &mut self.queues, &mut self.sockets);
        for packet in weather.carry(random, self.queues.outward.drain(..)) {
            self.wire.give(&packet);
        }
        self.wire.turn();
        let came = self.wire.take();
        let idle = came.is_empty();
        self.queues.inward.extend(weather.carry(random, came));
        // Nothing is on its way: the next thing to happen is a timer.
        self.wire.pass(if idle { Duration::from_millis(20) } else { Duration::from_micros(100) });
    }
}

fn container_socket(buffer: usize) -> tcp::Socket<'static> {
    let ring = |size| tcp::SocketBuffer::new(vec![0; size]);
    let mut socket = tcp::Socket::new(ring(buffer), ring(65_535));
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}

/// The host's end: sends all of `send`, then its end, and reads what comes.
struct HostEnd {
    stream: TcpStream,
    send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    ended: bool,
    shut: bool,
    sip: usize,
}

impl HostEnd {
    fn step(&mut self) {
        while self.sent < self.send.len() {
            match self.stream.write(&self.send[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("writing: {e}"),
            }
        }
        if self.sent == self.send.len() && !self.shut {
            self.stream.shutdown(Shutdown::Write).unwrap();
            self.shut = true;
        }
        let mut buffer = vec![0; if self.sip == 0 { 1 << 20 } else { self.sip }];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("reading: {e}"),
            }
            if self.sip != 0 {
                break;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ended && self.shut
    }
}

/// How long it took by the link's clock until every byte was there.
fn play(plan: Plan) -> Duration {
    let mut random = Random::new(plan.seed);
    let mut world = World::new(config());
    let (up, down) = (random.bytes(plan.up), random.bytes(plan.down));
    let loopback: IpAddr =
        if plan.v6 { std::net::Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let gateway =
        if plan.v6 { IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 2) } else { IpAddress::v4(10, 0, 2, 2) };
    let dns = if plan.v6 { IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 3) } else { IpAddress::v4(10, 0, 2, 3) };
    let listener = TcpListener::bind((loopback, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut socket = container_socket(plan.buffer);
    let mut stream = None;
    let (sender, queries) = std::sync::mpsc::channel();
    world.wire.stack.serve_dns(std::sync::Arc::new(move |query| sender.send(query).unwrap()));
    if plan.published {
        let target = if plan.v6 { "[fd00::64]:80" } else { "10.0.2.100:80" }.parse().unwrap();
        socket.listen(80).unwrap();
        world.wire.stack.handle().publish(crate::net::Listener {
            socket: listener.try_clone().unwrap().into(),
            protocol: crate::net::Protocol::Tcp,
            target,
            host_clients: None,
        });
        world.wire.turn();
        stream = Some(TcpStream::connect(address).unwrap());
    }
    let handle = world.sockets.add(socket);
    if !plan.published {
        listener.set_nonblocking(true).unwrap();
        let context = world.interface.context();
        let socket = world.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let to = if plan.dns { (dns, 53) } else { (gateway, address.port()) };
        socket.connect(context, to, 49_152).unwrap();
    }
    let mut end = None;
    let (mut sent, mut received) = (0, Vec::new());
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(
            steps < 400_000,
            "stuck: {plan:?}, {sent} up, {} down, {:?}",
            received.len(),
            world.wire.stack
        );
        world.step(plan.weather, &mut random);
        if end.is_none() {
            let came = stream.take().or_else(|| listener.accept().ok().map(|(stream, _)| stream));
            let asked = queries.try_recv().ok().map(|query| match query {
                Query::Stream { socket, .. } => TcpStream::from(socket),
                Query::Datagram { .. } => panic!("nobody sent one"),
            });
            let came = came.or(asked);
            end = came.map(|stream| {
                stream.set_nonblocking(true).unwrap();
                let send = down.clone();
                let received = Vec::new();
                HostEnd { stream, send, sent: 0, received, ended: false, shut: false, sip: plan.sip }
            });
        }
        let Some(end) = &mut end else { continue };
        end.step();
        let socket = world.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if sent < up.len() && socket.may_send() {
            sent += socket.send_slice(&up[sent..]).unwrap();
        }
        if sent == up.len() && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), received.extend_from_slice(bytes))).unwrap();
        }
        if end.is_done() && !socket.may_recv() && !socket.may_send() && sent == up.len() {
            assert!(end.received == up, "{plan:?}: up {} of {}", end.received.len(), up.len());
            assert!(received == down, "{plan:?}: down {} of {}", received.len(), down.len());
            break;
        }
    }
    let took = world.wire.now - world.start;
    drop(end);
    for _ in 0..400 {
        world.step(plan.weather, &mut random);
        world.wire.pass(Duration::from_secs(2));
    }
    assert_eq!(world.wire.stack.flows().0, 0, "{plan:?}: a flow is left");
    took
}

#[test]
fn a_quiet_link() {
    play(CALM);
    play(Plan { v6: true, ..CALM });
    play(Plan { up: 0, down: 0, ..CALM });
    play(Plan { up: 5_000_000, down: 1, ..CALM });
    play(Plan { up: 1, down: 5_000_000, ..CALM });
}

#[test]
fn a_client_of_a_published_port() {
    play(Plan { published: true, ..CALM });
    play(Plan { published: true, v6: true, up: 1_000_000, ..CALM });
    let weather = Weather { loss: 30, doubling: 10, swapping: 30 };
    play(Plan { published: true, weather, ..CALM });
}

#[test]
fn a_stream_of_dns() {
    play(Plan { dns: true, ..CALM });
    play(Plan { dns: true, v6: true, up: 100, down: 3_000_000, ..CALM });
    let weather = Weather { loss: 30, doubling: 10, swapping: 100 };
    play(Plan { dns: true, weather, down: 1_000_000, ..CALM });
    play(Plan { dns: true, sip: 5000, weather, ..CALM });
}

#[test]
fn every_weather() {
    let mut random = Random::new(7);
    for seed in 0..24 {
        let weather =
            Weather { loss: random.below(80), doubling: random.below(100), swapping: random.below(200) };
        let (up, down) = (random.below(400_000), random.below(400_000));
        play(Plan { seed, weather, up, down, v6: seed % 3 == 0, published: seed % 4 == 1, ..CALM });
    }
}

/// Losses are mended by what the container says, in some round trips: by the silence of a timeout, at 200 ms each, it
/// would take many times as long.
#[test]
fn losses_are_mended_without_waiting() {
    for (loss, most) in [(10, 400), (50, 900)] {
        let took: Duration = (0..8)
            .map(|seed| {
                let weather = Weather { loss, doubling: 0, swapping: 0 };
                play(Plan { seed, weather, up: 0, down: 1_000_000, buffer: 1 << 20, ..CALM })
            })
            .sum();
        assert!(took / 8 < Duration::from_millis(most), "{loss} ‰ lost: {took:?}");
    }
}

#[test]
fn a_reader_that_sips() {
    play(Plan { up: 3_000_000, down: 0, sip: 20_000, ..CALM });
    let weather = Weather { loss: 20, doubling: 0, swapping: 20 };
    play(Plan { up: 1_000_000, down: 10_000, sip: 5_000, weather, ..CALM });
}

#[test]
fn a_container_with_a_small_window() {
    play(Plan { down: 200_000, up: 1000, buffer: 1000, ..CALM });
    play(Plan { down: 100_000, up: 1000, buffer: 7, ..CALM });
}
