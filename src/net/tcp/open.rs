//! How connections begin, from either side, and how it ends when they cannot.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::flow::{Flow, Pair, Phase};
use super::segment::Segment;
use super::source::{Ring, Source};
use super::{Tcp, is_connected_to_itself, refuse};
use crate::net::handle::Query;
use crate::net::icmp::{self, Problem, Quote};
use crate::net::packet::Packet;
use crate::net::policy::{self, Route};
use crate::net::slab::{Slot, Token};
use crate::net::stack::Surroundings;
use crate::sys::inet::{self, Kind, Origin, Outcome};

/// How many ports of a client's are tried where the container knows its own one already.
const OTHER_PORTS: usize = 64;

/// A container's packets with fewer hops to live than this have theirs counted down on the host's side too: somebody
/// traces the route.
const FEW_HOPS: u8 = 32;

impl Tcp {
    /// Opens the connection that a SYN asks for.
    pub(super) fn open(&mut self, syn: &Segment<'_>, packet: &Packet<'_>, around: &mut Surroundings<'_>) {
        match policy::route(around.config, syn.destination) {
            Route::Host(_) if packet.hop_limit <= 1 => {
                icmp::report(around.link, around.config, None, Problem::Expired, &Quote::of(packet));
            }
            Route::Host(to) => self.open_to_host(syn, packet, to, around),
            Route::Dns => self.open_to_dns(syn, around),
            Route::Own => refuse(syn, around.link),
            Route::Prohibited => {
                icmp::report(around.link, around.config, None, Problem::Prohibited, &Quote::of(packet));
            }
            Route::Unreachable => {
                icmp::report(around.link, around.config, None, Problem::Host, &Quote::of(packet));
            }
            Route::Nowhere => around.link.counters.closed_destination += 1,
        }
    }

    fn open_to_host(
        &mut self,
        syn: &Segment<'_>,
        packet: &Packet<'_>,
        to: SocketAddr,
        around: &mut Surroundings<'_>,
    ) {
        if !self.make_room(around) {
            return;
        }
        match connect(to, packet.hop_limit, around) {
            Ok(socket) => {
                let source = Source::of(&socket);
                self.add(syn, socket, source, around);
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                // The container tries again; by then something may have ended.
                around.link.counters.over_limit += 1;
            }
            Err(e) => answer_failure(e, syn, &Quote::of(packet), around),
        }
    }

    fn open_to_dns(&mut self, syn: &Segment<'_>, around: &mut Surroundings<'_>) {
        let Some(take) = around.dns else { return refuse(syn, around.link) };
        if !self.make_room(around) {
            return;
        }
        let Ok((ours, theirs)) = inet::stream_pair() else {
            around.link.counters.over_limit += 1;
            return;
        };
        take(Query::Stream { client: syn.source, socket: theirs });
        self.add(syn, ours, Source::Ring(Ring::default()), around);
    }

    fn add(&mut self, syn: &Segment<'_>, socket: OwnedFd, source: Source, around: &mut Surroundings<'_>) {
        let pair = Pair { container: syn.source, peer: syn.destination };
        let first = self.first_number(&pair, around.now);
        let flow = Flow::to_host(syn, socket, source, first, around.link, around.now);
        self.insert(pair, flow, around);
    }

    fn insert(&mut self, pair: Pair, flow: Flow, around: &mut Surroundings<'_>) -> Option<Slot> {
        let slot = self.flows.insert(flow);
        self.index.insert(pair, slot);
        self.note_opening(slot);
        let added = self
            .flows
            .get(slot)
            .and_then(|flow| flow.socket.as_ref())
            .is_some_and(|socket| around.poller.add_edge(socket, Token::Tcp(slot).number()).is_ok());
        if !added {
            self.remove(slot);
            around.link.counters.over_limit += 1;
            return None;
        }
        Some(slot)
    }

    /// Keeps the list of those being opened no longer than the table.
    fn note_opening(&mut self, slot: Slot) {
        self.opening.push_back(slot);
        if self.opening.len() > 2 * self.limit.max(64) {
            let flows = &self.flows;
            self.opening.retain(|slot| {
                let phase = flows.get(*slot).map(|flow| flow.phase);
                matches!(phase, Some(Phase::Connecting | Phase::Answered | Phase::Calling))
            });
        }
    }

    /// The host's connect has been, one way or the other.
    pub(super) fn connect_ended(&mut self, slot: Slot, around: &mut Surroundings<'_>) {
        let Some(flow) = self.flows.get(slot) else { return };
        let Some(socket) = &flow.socket else { return };
        let pair = flow.pair;
        let mut failed = inet::take_error(socket);
        if let Route::Host(to) = policy::route(around.config, pair.peer)
            && is_connected_to_itself(socket, to)
        {
            failed = Some(Errno::CONNREFUSED);
        }
        let Some(e) = failed else {
            return self.with(slot, around, Flow::connected);
        };
        let syn = flow.syn();
        // Set up only for those that trace the route: who said so is what they want to know.
        let told = inet::receive_error(socket, &mut [0; 64]).ok();
        self.remove(slot);
        if let Some(told) = told
            && let Origin::Icmp { kind, code } = told.origin
            && told.offender.is_some()
        {
            let problem = Problem::Told { kind, code, info: told.info };
            return icmp::report(
                around.link,
                around.config,
                told.offender,
                problem,
                &Quote::of_segment(&syn),
            );
        }
        answer_failure(e, &syn, &Quote::of_segment(&syn), around);
    }

    /// Opens a connection to the container for a client that came to a published port.
    pub(in crate::net) fn call(
        &mut self,
        socket: OwnedFd,
        client: SocketAddr,
        target: SocketAddr,
        around: &mut Surroundings<'_>,
    ) {
        let pair = self.free_name(Pair { container: target, peer: client });
        let Some(pair) = pair.filter(|_| inet::prepare_tcp(&socket).is_ok() && self.make_room(around)) else {
            inet::reset_on_close(&socket);
            return;
        };
        let source = Source::of(&socket);
        let first = self.first_number(&pair, around.now);
        let flow = Flow::to_container(pair, socket, source, first, around.link, around.now);
        if let Some(slot) = self.insert(pair, flow, around) {
            self.with(slot, around, Flow::send_syn);
        }
    }

    /// The name under which the container sees a new client: another port where a connection of that name is not over
    /// yet. Two clients may be seen at the gateway's address, and a client's kernel may use a port again before the
    /// container has acknowledged the end of what it was used for.
    fn free_name(&mut self, mut pair: Pair) -> Option<Pair> {
        for _ in 0..OTHER_PORTS {
            let Some(slot) = self.index.get(&pair).copied() else { return Some(pair) };
            if self.flows.get(slot).is_some_and(|flow| flow.phase == Phase::Lingering) {
                // The container is done with that one, and its client as well, or it would not call again.
                self.remove(slot);
                return Some(pair);
            }
            pair.peer.set_port(pair.peer.port().wrapping_add(1).max(1024));
        }
        None
    }
}

/// Begins to connect.
fn connect(to: SocketAddr, hops: u8, around: &Surroundings<'_>) -> Outcome<OwnedFd> {
    let socket = inet::socket(Kind::Tcp, to.ip())?;
    inet::prepare_tcp(&socket)?;
    if let Some(from) = around.config.outbound(to.ip())
        && !to.ip().is_loopback()
    {
        inet::bind(socket.as_fd(), SocketAddr::new(from, 0))?;
    }
    if hops <= FEW_HOPS {
        inet::set_hop_limit(&socket, to.ip(), hops - 1)?;
        inet::queue_errors(&socket, to.ip())?;
    }
    match inet::connect(&socket, to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// Tells the container why the host could not connect.
fn answer_failure(e: Errno, syn: &Segment<'_>, quote: &Quote, around: &mut Surroundings<'_>) {
    let problem = match e {
        Errno::CONNREFUSED | Errno::CONNRESET => return refuse(syn, around.link),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => Problem::Network,
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Problem::Host,
        Errno::ACCESS | Errno::PERM => Problem::Prohibited,
        // Nobody answered, or no port is free: silence, and the container tries again.
        _ => return,
    };
    icmp::report(around.link, around.config, None, problem, quote);
}
