//! Published ports: clients of the host's sockets become flows towards the container.
//!
//! A client from elsewhere keeps its own address. One on this host, or of a family that the container's address is
//! not of, is seen as the gateway: its own address would mean something else in the container.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::handle::{HostClient, Listener, ListenerId, Protocol};
use super::slab::{Slab, Slot, Token};
use super::stack::Surroundings;
use super::tcp::Tcp;
use super::train::Arrivals;
use super::udp::Datagram;
use crate::sys::inet;

/// Silence after which a UDP client is forgotten, as RFC 4787 has it for mappings.
const SILENCE: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(5);
/// Clients of one listener in a row, so that others get their turn.
const BATCH: usize = 64;

#[derive(Debug)]
struct Published {
    id: ListenerId,
    listener: Listener,
}

/// A conversation as the container sees it: its own end, and the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    target: SocketAddr,
    client: SocketAddr,
}

/// A UDP client.
#[derive(Debug)]
struct Client {
    listener: Slot,
    real: SocketAddr,
    /// The address of the host that the client knows.
    local: Option<IpAddr>,
    last: Instant,
}

/// All published ports and their UDP clients.
#[derive(Debug)]
pub(super) struct Ports {
    listeners: Slab<Published>,
    clients: HashMap<Seen, Client>,
    /// How a client of a listener is seen.
    seen: HashMap<(Slot, SocketAddr), SocketAddr>,
    limit: usize,
    sweep: Option<Instant>,
    /// Given up to take a client, and refuse it, when the process may have no more descriptors: it would wait at
    /// the listener, which would be ready for ever.
    spare: Option<OwnedFd>,
}

impl Ports {
    pub(super) fn new(limit: usize) -> Self {
        let (clients, seen) = (HashMap::new(), HashMap::new());
        let spare = inet::event().ok();
        Self { listeners: Slab::new(), clients, seen, limit: limit.max(1), sweep: None, spare }
    }

    /// Begins to take clients.
    pub(super) fn publish(&mut self, id: ListenerId, listener: Listener, around: &mut Surroundings<'_>) {
        let ready = inet::set_nonblocking(&listener.socket).is_ok();
        if listener.protocol == Protocol::Udp {
            inet::tell_local_address(&listener.socket);
            inet::widen_queue(&listener.socket);
        }
        let slot = self.listeners.insert(Published { id, listener });
        let added = self.listeners.get(slot).is_some_and(|published| {
            around.poller.add_readable(&published.listener.socket, Token::Listener(slot).number()).is_ok()
        });
        if !ready || !added {
            self.listeners.remove(slot);
            around.link.counters.over_limit += 1;
        }
    }

    /// Takes no more clients there.
    pub(super) fn unpublish(&mut self, id: ListenerId, around: &mut Surroundings<'_>) {
        let found: Vec<Slot> =
            self.listeners.iter().filter(|(_, p)| p.id == id).map(|(slot, _)| slot).collect();
        for slot in found {
            if let Some(published) = self.listeners.remove(slot) {
                around.poller.remove(&published.listener.socket);
            }
            self.clients.retain(|_, client| client.listener != slot);
            self.seen.retain(|(listener, _), _| *listener != slot);
        }
    }

    /// Takes the clients that wait at a listener.
    pub(super) fn ready(&mut self, slot: Slot, tcp: &mut Tcp, around: &mut Surroundings<'_>) {
        match self.listeners.get(slot).map(|p| p.listener.protocol) {
            Some(Protocol::Tcp) => self.accept(slot, tcp, around),
            Some(Protocol::Udp) => self.receive(slot, around),
            None => {}
        }
    }

    fn accept(&mut self, slot: Slot, tcp: &mut Tcp, around: &mut Surroundings<'_>) {
        let Some(Published { listener, .. }) = self.listeners.get(slot) else { return };
        for _ in 0..BATCH {
            let (socket, client) = match inet::accept(&listener.socket) {
                Ok(accepted) => accepted,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(Errno::MFILE | Errno::NFILE) => {
                    around.link.counters.over_limit += 1;
                    self.spare = None;
                    if let Ok((socket, _)) = inet::accept(&listener.socket) {
                        inet::reset_on_close(&socket);
                    }
                    self.spare = inet::event().ok();
                    return;
                }
                Err(_) => return,
            };
            let own = inet::is_own(client.ip());
            if own && let Some(take) = &listener.host_clients {
                take(HostClient { socket, client, target: listener.target });
                continue;
            }
            match seen_as(client, listener.target, own, around) {
                Some(seen) => tcp.call(socket, seen, listener.target, around),
                None => inet::reset_on_close(&socket),
            }
        }
    }

    fn receive(&mut self, slot: Slot, around: &mut Surroundings<'_>) {
        let mut arrivals = Arrivals::default();
        for _ in 0..BATCH {
            let Some(Published { listener, .. }) = self.listeners.get(slot) else { break };
            let target = listener.target;
            let room = &mut around.link.payload()[arrivals.end()..];
            let Ok((length, real, local)) = inet::receive_published(&listener.socket, room) else { break };
            let seen = match self.seen.get(&(slot, real)) {
                Some(seen) => *seen,
                None => match self.welcome(slot, real, target, around) {
                    Some(seen) => seen,
                    None => continue,
                },
            };
            let client = self.clients.entry(Seen { target, client: seen });
            let client = client.or_insert(Client { listener: slot, real, local, last: around.now });
            client.last = around.now;
            client.local = local;
            arrivals.add((seen, target), length, around.link);
        }
        arrivals.flush(around.link);
    }

    /// Decides how a new UDP client is seen.
    fn welcome(
        &mut self,
        slot: Slot,
        real: SocketAddr,
        target: SocketAddr,
        around: &mut Surroundings<'_>,
    ) -> Option<SocketAddr> {
        if self.clients.len() >= self.limit {
            self.forget_oldest(around);
        }
        let mut seen = seen_as(real, target, inet::is_own(real.ip()), around)?;
        // Two clients that both are seen as the gateway may have the same port.
        for _ in 0..1024 {
            if !self.clients.contains_key(&Seen { target, client: seen }) {
                self.seen.insert((slot, real), seen);
                self.sweep.get_or_insert(around.now + SWEEP);
                return Some(seen);
            }
            seen.set_port(seen.port().wrapping_add(1).max(1024));
        }
        around.link.counters.over_limit += 1;
        None
    }

    fn forget_oldest(&mut self, around: &mut Surroundings<'_>) {
        let mut by_age: Vec<(Instant, Seen)> = self.clients.iter().map(|(seen, c)| (c.last, *seen)).collect();
        by_age.sort_unstable_by_key(|(last, _)| *last);
        let count = (by_age.len() / 16).max(1);
        for (_, seen) in by_age.into_iter().take(count) {
            self.forget(&seen);
            around.link.counters.over_limit += 1;
        }
    }

    fn forget(&mut self, seen: &Seen) {
        if let Some(client) = self.clients.remove(seen) {
            self.seen.remove(&(client.listener, client.real));
        }
    }

    /// Sends a datagram of the container's to the client that it answers. `false`: it answers none.
    pub(super) fn answer(&mut self, datagram: &Datagram<'_>, now: Instant) -> bool {
        if self.clients.is_empty() {
            return false;
        }
        let seen = Seen { target: datagram.source, client: datagram.destination };
        let Some(client) = self.clients.get_mut(&seen) else { return false };
        let Some(published) = self.listeners.get(client.listener) else { return false };
        client.last = now;
        // Lost if it cannot be sent, as datagrams may be.
        let _ = inet::send_published(&published.listener.socket, datagram.payload, client.real, client.local);
        true
    }

    /// When [`Ports::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Forgets clients that were silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let over: Vec<Seen> =
            self.clients.iter().filter(|(_, c)| c.last + SILENCE <= now).map(|(seen, _)| *seen).collect();
        for seen in over {
            self.forget(&seen);
        }
        let next = self.clients.values().map(|c| c.last + SILENCE).min();
        self.sweep = next.map(|at| at.max(now + SWEEP));
    }
}

/// The address that the container sees for a client.
fn seen_as(
    client: SocketAddr,
    target: SocketAddr,
    own: bool,
    around: &Surroundings<'_>,
) -> Option<SocketAddr> {
    let config = around.config;
    let foreign = client.is_ipv4() != target.is_ipv4();
    let ours = config.is_container(client.ip()) || config.is_dns(client.ip());
    let link_local = matches!(client.ip(), IpAddr::V6(a) if a.is_unicast_link_local());
    if own || foreign || ours || link_local {
        return config.gateway(target.ip()).map(|gateway| SocketAddr::new(gateway, client.port()));
    }
    Some(client)
}
