//! ICMP echo: the container's pings become the host's, through ping sockets.
//!
//! The gateway and the DNS address answer by themselves. Where the host does not let its users ping
//! (`net.ipv4.ping_group_range`), the container is told that it is prohibited.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use smoltcp::wire::IpProtocol;

use super::icmp::{self, Problem, Quote};
use super::packet::Packet;
use super::policy::{self, Route};
use super::slab::{Slab, Slot, Token};
use super::stack::Surroundings;
use super::udp::{self, Peers};
use crate::sys::inet::{self, Kind, Origin, Outcome};

/// Silence after which a ping ends, RFC 5508 REQ-2.
const SILENCE: Duration = Duration::from_secs(60);
/// How often at most the table is looked through.
const SWEEP: Duration = Duration::from_secs(5);
const BATCH: usize = 64;
const HOPS: u8 = 64;
const FEW_HOPS: u8 = 32;
/// Length of an echo's header: type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

/// An echo request.
const REQUEST_V4: u8 = 8;
const REQUEST_V6: u8 = 128;
/// An echo reply.
const REPLY_V4: u8 = 0;
const REPLY_V6: u8 = 129;

/// A ping program of the container's: its address and the identifier of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pinger {
    container: IpAddr,
    ident: [u8; 2],
}

#[derive(Debug)]
struct Session {
    pinger: Pinger,
    socket: OwnedFd,
    peers: Peers,
    last: Instant,
    hops: u8,
}

/// All pings.
#[derive(Debug)]
pub(super) struct Ping {
    sessions: Slab<Session>,
    index: HashMap<Pinger, Slot>,
    limit: usize,
    sweep: Option<Instant>,
}

impl Ping {
    pub(super) fn new(limit: usize) -> Self {
        Self { sessions: Slab::new(), index: HashMap::new(), limit: limit.max(1), sweep: None }
    }

    /// Takes an ICMP message of the container's whose checksum is right.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, around: &mut Surroundings<'_>) {
        let request = if packet.protocol == IpProtocol::Icmp { REQUEST_V4 } else { REQUEST_V6 };
        let message = packet.payload;
        if message.len() < HEADER {
            around.link.counters.malformed += 1;
            return;
        }
        if message[0] != request || message[1] != 0 {
            // Router solicitations and reports of multicast listeners among them: nobody is asked here.
            around.link.counters.unknown_protocol += 1;
            return;
        }
        let problem = match policy::route(around.config, SocketAddr::new(packet.destination, 0)) {
            _ if around.config.is_gateway(packet.destination) => return answer(packet, around),
            Route::Own | Route::Dns => return answer(packet, around),
            Route::Host(_) if packet.hop_limit <= 1 => Problem::Expired,
            Route::Host(to) => match self.send(packet, to, around) {
                Some(problem) => problem,
                None => return,
            },
            Route::Prohibited => Problem::Prohibited,
            Route::Unreachable => Problem::Host,
            Route::Nowhere => {
                around.link.counters.closed_destination += 1;
                return;
            }
        };
        icmp::report(around.link, around.config, None, problem, &Quote::of(packet));
    }

    fn send(
        &mut self,
        packet: &Packet<'_>,
        to: SocketAddr,
        around: &mut Surroundings<'_>,
    ) -> Option<Problem> {
        let ident = [packet.payload[4], packet.payload[5]];
        let pinger = Pinger { container: packet.source, ident };
        let slot = match self.index.get(&pinger) {
            Some(slot) => *slot,
            None => match self.open(pinger, around) {
                Ok(slot) => slot,
                Err(e) => return udp::problem(e, to, around),
            },
        };
        let session = self.sessions.get_mut(slot)?;
        session.last = around.now;
        session.peers.note(to.ip());
        let hops = if packet.hop_limit <= FEW_HOPS { packet.hop_limit - 1 } else { HOPS };
        if hops != session.hops && inet::set_hop_limit(&session.socket, to.ip(), hops).is_ok() {
            session.hops = hops;
        }
        let mut sent = inet::send_to(&session.socket, packet.payload, to);
        if sent.is_err() {
            // Perhaps an error about an earlier one, which the queue has too.
            session.pass_errors_on(around);
            sent = inet::send_to(&session.socket, packet.payload, to);
        }
        match sent {
            Ok(_) => None,
            Err(e) => udp::problem(e, to, around),
        }
    }

    fn open(&mut self, pinger: Pinger, around: &mut Surroundings<'_>) -> Outcome<Slot> {
        if self.sessions.len() >= self.limit
            && let Some((_, oldest)) = self.sessions.iter().map(|(slot, s)| (s.last, slot)).min()
        {
            self.remove(oldest);
            around.link.counters.over_limit += 1;
        }
        let socket = inet::socket(Kind::Ping, pinger.container)?;
        inet::queue_errors(&socket, pinger.container)?;
        if let Some(from) = around.config.outbound(pinger.container) {
            inet::bind(&socket, SocketAddr::new(from, 0))?;
        }
        let slot = self.sessions.insert(Session {
            pinger,
            socket,
            peers: Peers::default(),
            last: around.now,
            hops: HOPS,
        });
        if let Some(session) = self.sessions.get(slot)
            && around.poller.add_readable(&session.socket, Token::Ping(slot).number()).is_err()
        {
            self.sessions.remove(slot);
            return Err(rustix::io::Errno::NOBUFS);
        }
        self.index.insert(pinger, slot);
        self.sweep.get_or_insert(around.now + SWEEP);
        Ok(slot)
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(session) = self.sessions.remove(slot) {
            self.index.remove(&session.pinger);
        }
    }

    /// Passes on what came for the container.
    pub(super) fn ready(&mut self, slot: Slot, failed: bool, around: &mut Surroundings<'_>) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        if failed {
            session.pass_errors_on(around);
            let _ = inet::take_error(&session.socket);
        }
        for _ in 0..BATCH {
            let payload = around.link.payload();
            let Ok((length, from)) = inet::receive_from(&session.socket, payload) else { return };
            if length < HEADER || !session.peers.knows(from.ip()) {
                continue;
            }
            // The socket has an identifier of its own.
            payload[4..6].copy_from_slice(&session.pinger.ident);
            session.last = around.now;
            around.link.send_icmp(from.ip(), session.pinger.container, length);
        }
    }

    /// When [`Ping::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Ends what was silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let over: Vec<Slot> =
            self.sessions.iter().filter(|(_, s)| s.last + SILENCE <= now).map(|(slot, _)| slot).collect();
        for slot in over {
            self.remove(slot);
        }
        let next = self.sessions.iter().map(|(_, s)| s.last + SILENCE).min();
        self.sweep = next.map(|at| at.max(now + SWEEP));
    }
}

impl Session {
    fn pass_errors_on(&mut self, around: &mut Surroundings<'_>) {
        let mut sent = [0; 1232];
        for _ in 0..BATCH {
            let Ok(error) = inet::receive_error(&self.socket, &mut sent) else { return };
            let Origin::Icmp { kind, code } = error.origin else { continue };
            let Some(to) = error.destination else { continue };
            if error.length >= HEADER {
                sent[4..6].copy_from_slice(&self.pinger.ident);
            }
            let quote = Quote::of_message(self.pinger.container, to.ip(), &sent[..error.length]);
            let problem = Problem::Told { kind, code, info: error.info };
            icmp::report(around.link, around.config, error.offender, problem, &quote);
        }
    }
}

/// Answers an echo request to an address of the stack's own.
fn answer(packet: &Packet<'_>, around: &mut Surroundings<'_>) {
    let message = packet.payload;
    let payload = around.link.payload();
    payload[..message.len()].copy_from_slice(message);
    payload[0] = if packet.protocol == IpProtocol::Icmp { REPLY_V4 } else { REPLY_V6 };
    around.link.send_icmp(packet.destination, packet.source, message.len());
}
