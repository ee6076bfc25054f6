//! TCP: one small state machine a connection, and the table of all of them.
//!
//! A SYN of the container's is answered when the host's connect has been, the way that connect went: refused is a
//! reset, unreachable an ICMP message, no answer no answer. `sender` and `receiver` are the two directions as
//! sequence numbers, `source` and `backlog` where their bytes wait, `flow` is both with the host's socket between.
//!
//! Segments and events only note what changed; `settle` does the work once a batch, so that a batch of segments
//! is acknowledged once.

mod backlog;
mod congestion;
mod flight;
mod flow;
mod open;
mod receiver;
mod segment;
mod sender;
mod seq;
mod source;
mod timeout;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

pub(super) use flow::Pair;
use flow::{Flow, Phase, Step};
#[cfg(test)]
pub(super) use segment::Options;
pub(super) use segment::Segment;
#[cfg(fuzzing)]
pub(super) use sender::strange::play;
pub(super) use seq::Seq;
use source::Pool;

use super::link::Link;
use super::packet::Packet;
use super::slab::{Slab, Slot};
use super::stack::Surroundings;
use crate::sys::inet;
use crate::sys::poll::Ready;

/// Answered SYNs that are passed over when something has to give way.
const SPARED: usize = 16;

/// All connections.
#[derive(Debug)]
pub(super) struct Tcp {
    flows: Slab<Flow>,
    index: HashMap<Pair, Slot>,
    /// When to look at which flow. Entries that came too early are put back.
    agenda: BinaryHeap<Reverse<(Instant, Slot)>>,
    touched: Vec<Slot>,
    /// Connections that were being opened, the oldest first: they give way to new ones.
    opening: VecDeque<Slot>,
    /// Those that are over and only remembered, the oldest first: they give way before any other.
    lingering: VecDeque<Slot>,
    pool: Pool,
    /// Bytes in backlogs and waiting rooms.
    held: usize,
    limit: usize,
    most_held: usize,
    secret: RandomState,
    epoch: Instant,
}

impl Tcp {
    /// At most `limit` connections and `most_held` bytes that wait for the host.
    pub(super) fn new(limit: usize, most_held: usize, now: Instant) -> Self {
        Self {
            flows: Slab::new(),
            index: HashMap::new(),
            agenda: BinaryHeap::new(),
            touched: Vec::new(),
            opening: VecDeque::new(),
            lingering: VecDeque::new(),
            pool: Pool::default(),
            held: 0,
            limit,
            most_held,
            secret: RandomState::new(),
            epoch: now,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes a segment of the container's.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, around: &mut Surroundings<'_>) {
        let Ok(segment) = Segment::parse(packet) else {
            around.link.counters.malformed += 1;
            return;
        };
        let pair = Pair { container: segment.source, peer: segment.destination };
        if let Some(slot) = self.index.get(&pair).copied() {
            if self.flows.get(slot).is_some_and(|flow| flow.gives_way_to(&segment)) {
                self.remove(slot);
            } else {
                return self.with(slot, around, |flow, step| flow.segment(&segment, step));
            }
        }
        if segment.rst {
            return;
        }
        if segment.syn && segment.ack.is_none() {
            self.open(&segment, packet, around);
        } else {
            refuse(&segment, around.link);
        }
    }

    /// Takes what the poller says about a flow's socket.
    pub(super) fn ready(&mut self, slot: Slot, ready: Ready, around: &mut Surroundings<'_>) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        flow.note(ready);
        if flow.phase == Phase::Connecting {
            if ready.writable || ready.failed {
                self.connect_ended(slot, around);
            }
            return;
        }
        self.touch(slot);
    }

    fn touch(&mut self, slot: Slot) {
        if let Some(flow) = self.flows.get_mut(slot)
            && !flow.touched
        {
            flow.touched = true;
            self.touched.push(slot);
        }
    }

    /// Has `act` done with a flow, and what it leaves behind settled later.
    fn with(
        &mut self,
        slot: Slot,
        around: &mut Surroundings<'_>,
        act: impl FnOnce(&mut Flow, &mut Step<'_>),
    ) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let mut step = Step {
            link: &mut *around.link,
            pool: &mut self.pool,
            held: &mut self.held,
            limit: self.most_held,
            now: around.now,
        };
        act(flow, &mut step);
        self.touch(slot);
    }

    /// Does what the batch has left to do. `more`: the next batch is there already.
    pub(super) fn settle(&mut self, more: bool, around: &mut Surroundings<'_>) {
        let mut touched = std::mem::take(&mut self.touched);
        // The allocation is used again.
        touched.retain(|slot| self.settle_one(*slot, more, around));
        self.touched = touched;
    }

    /// Whether something is put off until the next batch.
    fn settle_one(&mut self, slot: Slot, more: bool, around: &mut Surroundings<'_>) -> bool {
        let Some(flow) = self.flows.get_mut(slot) else { return false };
        let mut step = Step {
            link: &mut *around.link,
            pool: &mut self.pool,
            held: &mut self.held,
            limit: self.most_held,
            now: around.now,
        };
        let before = flow.phase;
        let put_off = flow.settle(more, &mut step);
        flow.touched = put_off;
        match flow.phase {
            Phase::Closed => {
                self.remove(slot);
                return false;
            }
            phase => {
                if phase == Phase::Lingering && before != phase {
                    self.note_lingering(slot);
                }
                self.schedule(slot);
            }
        }
        put_off
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(flow) = self.flows.remove(slot) {
            self.index.remove(&flow.pair);
        }
    }

    /// Remembers that this one is over. Those that are forgotten by now leave the list, from its front: nearly all last
    /// as long.
    fn note_lingering(&mut self, slot: Slot) {
        while self.lingering.front().is_some_and(|first| self.flows.get(*first).is_none()) {
            self.lingering.pop_front();
        }
        self.lingering.push_back(slot);
        // A container that sends one FIN for ever keeps the front.
        if self.lingering.len() > 2 * self.limit.max(64) {
            let flows = &self.flows;
            self.lingering.retain(|slot| flows.get(*slot).is_some());
        }
    }

    /// Puts a flow into the agenda, unless it stands there early enough.
    fn schedule(&mut self, slot: Slot) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let Some(deadline) = flow.deadline() else { return };
        if flow.scheduled.is_none_or(|at| deadline < at) {
            flow.scheduled = Some(deadline);
            self.agenda.push(Reverse((deadline, slot)));
            self.trim_agenda();
        }
    }

    /// Strikes out what no flow waits for any more, once that is most of the agenda: a flow that keeps talking would
    /// leave the hour of its keep-alive there each time, and a flow that is gone its last one.
    fn trim_agenda(&mut self) {
        if self.agenda.len() > 2 * self.flows.len().max(64) {
            let flows = &self.flows;
            self.agenda.retain(|Reverse((at, slot))| {
                flows.get(*slot).is_some_and(|flow| flow.scheduled == Some(*at))
            });
        }
    }

    /// Entries of the agenda, those of no use included.
    #[cfg(test)]
    pub(super) fn appointments(&self) -> usize {
        self.agenda.len()
    }

    /// When there is something to do: what was put off is due at once, whether the next batch comes or not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.touched.is_empty() {
            return Some(self.epoch);
        }
        self.agenda.peek().map(|Reverse((at, _))| *at)
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, around: &mut Surroundings<'_>) {
        while let Some(Reverse((at, slot))) = self.agenda.peek().copied()
            && at <= around.now
        {
            self.agenda.pop();
            let Some(flow) = self.flows.get_mut(slot) else { continue };
            if flow.scheduled == Some(at) {
                flow.scheduled = None;
            } else {
                continue;
            }
            self.with(slot, around, |flow, step| flow.expire(step));
        }
    }

    /// Whether every connection has got all that the container had to say.
    pub(super) fn is_drained(&self) -> bool {
        self.flows.iter().all(|(_, flow)| flow.is_drained())
    }

    /// A first sequence number that nobody outside can tell, RFC 6528.
    fn first_number(&self, pair: &Pair, now: Instant) -> Seq {
        let ticks = now.saturating_duration_since(self.epoch).as_micros() / 4;
        let ticks = u32::try_from(ticks & 0xffff_ffff).unwrap_or_default();
        let hash = u32::try_from(self.secret.hash_one(pair) & 0xffff_ffff).unwrap_or_default();
        Seq(hash.wrapping_add(ticks))
    }

    /// Makes room for one more connection. `false`: there is none.
    fn make_room(&mut self, around: &mut Surroundings<'_>) -> bool {
        if self.flows.len() < self.limit {
            return true;
        }
        while let Some(slot) = self.lingering.pop_front() {
            if self.flows.get(slot).is_some() {
                self.remove(slot);
                return true;
            }
        }
        around.link.counters.over_limit += 1;
        let mut spared = 0;
        while let Some(slot) = self.opening.pop_front() {
            match self.flows.get(slot).map(|flow| flow.phase) {
                // The host has connected: the container's acknowledgement may be on its way behind a flood of SYNs.
                Some(Phase::Answered) if spared < SPARED => {
                    spared += 1;
                    self.opening.push_back(slot);
                }
                Some(Phase::Connecting | Phase::Answered | Phase::Calling) => {
                    self.with(slot, around, Flow::abandon);
                    self.remove(slot);
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

/// Peers of connections that were cut must not take them for ended.
impl Drop for Tcp {
    fn drop(&mut self) {
        for (_, flow) in self.flows.iter().filter(|(_, flow)| !flow.is_drained()) {
            if let Some(socket) = &flow.socket {
                inet::reset_on_close(socket);
            }
        }
    }
}

/// Answers a segment that belongs to no connection, RFC 9293 §3.10.7.1.
fn refuse(segment: &Segment<'_>, link: &mut Link) {
    let (seq, ack) = match segment.ack {
        Some(ack) => (ack, None),
        None => (Seq(0), Some(segment.seq + segment.length())),
    };
    let reset = Segment {
        source: segment.destination,
        destination: segment.source,
        seq,
        ack,
        syn: false,
        fin: false,
        rst: true,
        psh: false,
        window: 0,
        options: segment::Options::default(),
        payload: &[],
    };
    link.send_tcp(&reset, 0, u16::MAX);
}

/// Whether a socket of the host is connected to itself, which happens when nobody listens at a port that the kernel
/// then chooses for the other end.
fn is_connected_to_itself(socket: impl std::os::fd::AsFd, to: std::net::SocketAddr) -> bool {
    to.ip().is_loopback() && inet::local_address(socket).is_ok_and(|local| local == to)
}
