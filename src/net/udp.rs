//! UDP: every socket of the container's has one of the host's, RFC 4787.
//!
//! The host's socket is the same whatever the destination (endpoint-independent mapping); only addresses that the
//! container has sent to may send back (address-dependent filtering). ICMP errors that the host is told about what
//! was sent are passed on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use smoltcp::wire::UdpPacket;

use super::handle::{Query, ReplyTo};
use super::icmp::{self, Problem, Quote};
use super::packet::Packet;
use super::policy::{self, Route};
use super::slab::{Slab, Slot, Token};
use super::stack::Surroundings;
use super::train::{self, Arrivals, Train};
use crate::sys::inet::{self, Kind, Origin, Outcome};

/// Silence after which a mapping ends. RFC 4787 asks for two minutes at least and recommends five.
const SILENCE: Duration = Duration::from_secs(300);
/// The same for one that only ever asked name servers, which RFC 4787 REQ-5a allows to be shorter.
const SILENCE_OF_NAMES: Duration = Duration::from_secs(30);
/// Addresses a mapping remembers having sent to. The first ones are forgotten for the last.
const PEERS: usize = 256;
/// Datagrams of one socket in a row, so that others get their turn.
const BATCH: usize = 64;
/// Hops of what the host sends, unless the container's packets have few left.
const HOPS: u8 = 64;
const FEW_HOPS: u8 = 32;
/// The longest packet of an ordinary link, in bytes.
const ORDINARY: usize = 1500;
/// How often at most the table is looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// A socket of the container's and its counterpart.
#[derive(Debug)]
struct Mapping {
    container: SocketAddr,
    socket: OwnedFd,
    peers: Peers,
    last: Instant,
    silence: Duration,
    hops: u8,
    dont_fragment: bool,
}

/// A train from one socket to one destination.
#[derive(Debug, Default)]
struct Departures {
    /// Whose it is, where it goes, and where the container thinks that it goes.
    way: Option<(Slot, SocketAddr, SocketAddr)>,
    train: Train,
    bytes: Vec<u8>,
}

/// Addresses that may send back.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: Vec<IpAddr>,
    next: usize,
}

/// All mappings.
#[derive(Debug)]
pub(super) struct Udp {
    mappings: Slab<Mapping>,
    index: HashMap<SocketAddr, Slot>,
    limit: usize,
    sweep: Option<Instant>,
    departures: Departures,
}

impl Peers {
    pub(super) fn note(&mut self, peer: IpAddr) {
        if self.knows(peer) {
            return;
        }
        if self.known.len() < PEERS {
            self.known.push(peer);
        } else {
            self.known[self.next] = peer;
            self.next = (self.next + 1) % PEERS;
        }
    }

    pub(super) fn knows(&self, peer: IpAddr) -> bool {
        self.known.contains(&peer)
    }
}

impl Udp {
    pub(super) fn new(limit: usize) -> Self {
        let (index, departures) = (HashMap::new(), Departures::default());
        Self { mappings: Slab::new(), index, limit: limit.max(1), sweep: None, departures }
    }

    pub(super) fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Takes a datagram of the container's that is no answer to a client of a published port.
    pub(super) fn packet(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        around: &mut Surroundings<'_>,
    ) {
        let problem = match policy::route(around.config, datagram.destination) {
            Route::Host(_) if packet.hop_limit <= 1 => Problem::Expired,
            Route::Host(to) => match self.send(packet, datagram, to, around) {
                Some(problem) => problem,
                None => return,
            },
            Route::Dns => match around.dns {
                Some(take) => {
                    let from = ReplyTo { client: datagram.source, server: datagram.destination };
                    return take(Query::Datagram { from, bytes: datagram.payload.to_vec() });
                }
                None => Problem::Port,
            },
            Route::Own => Problem::Port,
            Route::Prohibited => Problem::Prohibited,
            Route::Unreachable => Problem::Host,
            Route::Nowhere => {
                around.link.counters.closed_destination += 1;
                return;
            }
        };
        icmp::report(around.link, around.config, None, problem, &Quote::of(packet));
    }

    /// Sends a datagram; what to tell the container if it could not be.
    fn send(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        to: SocketAddr,
        around: &mut Surroundings<'_>,
    ) -> Option<Problem> {
        let slot = match self.index.get(&datagram.source) {
            Some(slot) => *slot,
            None => match self.open(datagram.source, around) {
                Ok(slot) => slot,
                Err(e) => return problem(e, to, around),
            },
        };
        let way = (slot, to, datagram.destination);
        let length = datagram.payload.len();
        let mapping = self.mappings.get(slot)?;
        let Departures { way: before, train, .. } = &self.departures;
        let follows = *before == Some(way) && train.takes(length) && mapping.fits(packet);
        if !follows {
            self.flush(around);
        }
        let mapping = self.mappings.get_mut(slot)?;
        mapping.last = around.now;
        mapping.peers.note(to.ip());
        if datagram.destination.port() != 53 {
            mapping.silence = SILENCE;
        }
        mapping.fit(packet);
        if length == 0 || length > train::LONGEST {
            mapping.send(datagram.payload, to, datagram.destination, around);
            return None;
        }
        let departures = &mut self.departures;
        if follows {
            departures.train.add(length);
        } else {
            (departures.way, departures.train) = (Some(way), Train::of(length));
        }
        departures.bytes.extend_from_slice(datagram.payload);
        None
    }

    /// Sends what waits for others to go with it. Nothing may wait longer than a batch of packets.
    pub(super) fn flush(&mut self, around: &mut Surroundings<'_>) {
        let Departures { way, train, bytes } = &mut self.departures;
        let Some((slot, to, seen)) = way.take() else { return };
        if let Some(mapping) = self.mappings.get_mut(slot) {
            let size = u16::try_from(train.size).unwrap_or_default();
            let together =
                bytes.len() > train.size && inet::send_segments(&mapping.socket, bytes, size, to).is_ok();
            if !together {
                // One, or something is wrong: each gets the answer that is its own.
                for payload in bytes.chunks(train.size) {
                    mapping.send(payload, to, seen, around);
                }
            }
        }
        bytes.clear();
    }

    fn open(&mut self, container: SocketAddr, around: &mut Surroundings<'_>) -> Outcome<Slot> {
        if self.mappings.len() >= self.limit {
            self.evict(around);
        }
        let socket = inet::socket(Kind::Udp, container.ip())?;
        inet::queue_errors(&socket, container.ip())?;
        inet::widen_queue(&socket);
        if let Some(from) = around.config.outbound(container.ip()) {
            inet::bind(&socket, SocketAddr::new(from, 0))?;
        }
        let slot = self.mappings.insert(Mapping {
            container,
            socket,
            peers: Peers::default(),
            last: around.now,
            silence: SILENCE_OF_NAMES,
            hops: HOPS,
            dont_fragment: false,
        });
        let mapping = self.mappings.get(slot).ok_or(Errno::NOBUFS)?;
        if around.poller.add_readable(&mapping.socket, Token::Udp(slot).number()).is_err() {
            self.mappings.remove(slot);
            return Err(Errno::NOBUFS);
        }
        self.index.insert(container, slot);
        self.sweep.get_or_insert(around.now + SWEEP);
        Ok(slot)
    }

    /// Ends the sixteenth of the mappings that was silent longest.
    fn evict(&mut self, around: &mut Surroundings<'_>) {
        let mut by_age: Vec<(Instant, Slot)> = self.mappings.iter().map(|(slot, m)| (m.last, slot)).collect();
        by_age.sort_unstable();
        let count = (by_age.len() / 16).max(1);
        for (_, slot) in by_age.into_iter().take(count) {
            self.remove(slot);
            around.link.counters.over_limit += 1;
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(mapping) = self.mappings.remove(slot) {
            self.index.remove(&mapping.container);
        }
    }

    /// Passes on what came for the container.
    pub(super) fn ready(&mut self, slot: Slot, failed: bool, around: &mut Surroundings<'_>) {
        let Some(mapping) = self.mappings.get_mut(slot) else { return };
        if failed {
            mapping.pass_errors_on(around);
            // One that is not in the queue would wake us for ever.
            let _ = inet::take_error(&mapping.socket);
        }
        let mut arrivals = Arrivals::default();
        for _ in 0..BATCH {
            let room = &mut around.link.payload()[arrivals.end()..];
            let Ok((length, from)) = inet::receive_from(&mapping.socket, room) else { break };
            let Some(seen) = policy::seen_from_container(around.config, from.ip()) else { continue };
            if mapping.peers.knows(from.ip()) {
                mapping.last = around.now;
                let way = (SocketAddr::new(seen, from.port()), mapping.container);
                arrivals.add(way, length, around.link);
            }
        }
        arrivals.flush(around.link);
    }

    /// When [`Udp::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Ends what was silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let over: Vec<Slot> =
            self.mappings.iter().filter(|(_, m)| m.last + m.silence <= now).map(|(slot, _)| slot).collect();
        for slot in over {
            self.remove(slot);
        }
        let next = self.mappings.iter().map(|(_, m)| m.last + m.silence).min();
        self.sweep = next.map(|at| at.max(now + SWEEP));
    }
}

/// Whether the host may not cut up a datagram of the container's. Linux marks so whatever its own link takes, and cuts up
/// what is larger by itself, unmarked. A link that is longer than those outside would only have it mark more: of that the
/// container would hear, and lose it, where it has asked for nothing.
fn is_to_stay_whole(packet: &Packet<'_>) -> bool {
    packet.dont_fragment && packet.whole.len() <= ORDINARY
}

/// The hops that the host's datagram may make for one of the container's.
fn hops(packet: &Packet<'_>) -> u8 {
    if packet.hop_limit <= FEW_HOPS { packet.hop_limit.saturating_sub(1).max(1) } else { HOPS }
}

impl Mapping {
    /// Sends one datagram; tells the container if it could not be.
    fn send(&mut self, payload: &[u8], to: SocketAddr, seen: SocketAddr, around: &mut Surroundings<'_>) {
        let mut sent = inet::send_to(&self.socket, payload, to);
        if sent == Err(Errno::CONNREFUSED) || sent == Err(Errno::HOSTUNREACH) {
            // An error about an earlier datagram, which the queue has too.
            self.pass_errors_on(around);
            sent = inet::send_to(&self.socket, payload, to);
        }
        if let Err(e) = sent
            && let Some(problem) = problem(e, to, around)
        {
            let quote = Quote::of_datagram(self.container, seen, payload);
            icmp::report(around.link, around.config, None, problem, &quote);
        }
    }

    /// Whether the socket sends as the container's packet was sent.
    fn fits(&self, packet: &Packet<'_>) -> bool {
        self.hops == hops(packet) && self.dont_fragment == is_to_stay_whole(packet)
    }

    /// Has it do so.
    fn fit(&mut self, packet: &Packet<'_>) {
        let hops = hops(packet);
        if hops != self.hops && inet::set_hop_limit(&self.socket, self.container.ip(), hops).is_ok() {
            self.hops = hops;
        }
        let whole = is_to_stay_whole(packet);
        if whole != self.dont_fragment
            && inet::set_dont_fragment(&self.socket, self.container.ip(), whole).is_ok()
        {
            self.dont_fragment = whole;
        }
    }

    /// Tells the container what the host was told.
    fn pass_errors_on(&mut self, around: &mut Surroundings<'_>) {
        let mut sent = [0; 1232];
        for _ in 0..BATCH {
            let Ok(error) = inet::receive_error(&self.socket, &mut sent) else { return };
            let Origin::Icmp { kind, code } = error.origin else { continue };
            let Some(to) = error.destination else { continue };
            let Some(seen) = policy::seen_from_container(around.config, to.ip()) else { continue };
            let seen = SocketAddr::new(seen, to.port());
            let quote = Quote::of_datagram(self.container, seen, &sent[..error.length]);
            let problem = Problem::Told { kind, code, info: error.info };
            icmp::report(around.link, around.config, error.offender, problem, &quote);
        }
    }
}

/// What the container is told about a datagram that could not be sent, if anything.
pub(super) fn problem(e: Errno, to: SocketAddr, around: &mut Surroundings<'_>) -> Option<Problem> {
    match e {
        Errno::MSGSIZE => inet::path_mtu(to).ok().map(Problem::TooBig),
        Errno::CONNREFUSED => Some(Problem::Port),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => Some(Problem::Network),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Problem::Host),
        Errno::ACCESS | Errno::PERM => Some(Problem::Prohibited),
        Errno::MFILE | Errno::NFILE => {
            around.link.counters.over_limit += 1;
            None
        }
        // Lost, as datagrams may be.
        _ => None,
    }
}

/// A datagram of the container's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the header. The checksum is not looked at.
    pub(super) fn parse(packet: &Packet<'a>) -> Option<Self> {
        let udp = UdpPacket::new_checked(packet.payload).ok()?;
        let payload = udp.payload();
        let (source, destination) = (udp.src_port(), udp.dst_port());
        (destination != 0).then(|| Self {
            source: SocketAddr::new(packet.source, source),
            destination: SocketAddr::new(packet.destination, destination),
            payload,
        })
    }
}
