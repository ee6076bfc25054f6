//! One connection: the container on one side, a socket of the host on the other.
//!
//! What the container sends goes straight into the host's socket; what that has no room for waits in the backlog,
//! and the window stays shut until it has gone. What the host sends stays in the host's socket until the container
//! has acknowledged it. Urgent bytes are relayed in their place in the stream, both ways: taken out, as the urgent
//! mechanism has it by default, they would no longer be numbered as the other side numbers them, and RFC 6093 asks
//! receivers to take them in line.

mod arrival;
mod departure;
mod manners;
mod opening;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use manners::Manners;

use super::backlog::Backlog;
use super::receiver::Receiver;
use super::segment::{Options, Segment};
use super::sender::{Sender, Silence};
use super::seq::Seq;
use super::source::{Pool, Source};
use crate::net::link::Link;
use crate::sys::inet;
use crate::sys::poll::Ready;

/// Silence after which the container is asked whether it is still there, RFC 9293 §3.8.4 and RFC 5382.
const KEEP_ALIVE: Duration = Duration::from_secs(2 * 3600);
const KEEP_ALIVE_STEP: Duration = Duration::from_secs(75);
const KEEP_ALIVE_TRIES: u8 = 9;
/// How long a connection that we closed first is remembered.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Tries to be heard, in handshakes and later, before the container counts as gone.
const HANDSHAKE_TRIES: u8 = 5;
const TRIES: u8 = 15;

/// Both ends of a connection as the container sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::net) struct Pair {
    pub container: SocketAddr,
    pub peer: SocketAddr,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Phase {
    /// The host connects; the container's SYN has no answer yet.
    Connecting,
    /// The SYN is answered and the answer not acknowledged: SYN-RECEIVED.
    Answered,
    /// A client of the host waits for the container: SYN-SENT.
    Calling,
    /// Bytes flow, in at least one direction.
    Open,
    /// TIME-WAIT: the host's socket is closed.
    Lingering,
    /// To be forgotten.
    Closed,
}

/// What a flow works with, borrowed for one step.
pub(in crate::net) struct Step<'a> {
    pub link: &'a mut Link,
    pub pool: &'a mut Pool,
    /// Bytes in all backlogs and waiting rooms, and how many may be.
    pub held: &'a mut usize,
    pub limit: usize,
    pub now: Instant,
}

/// One connection.
#[derive(Debug)]
pub(in crate::net) struct Flow {
    pub pair: Pair,
    pub phase: Phase,
    pub socket: Option<OwnedFd>,
    pub tx: Sender,
    pub rx: Receiver,
    source: Source,
    backlog: Backlog,
    /// The number of the host's first byte that is not discarded.
    base: Seq,
    /// What the host's socket was last known to be ready for.
    readable: bool,
    writable: bool,
    /// The host has sent its last byte.
    ended: bool,
    /// There was something else than bytes in their order.
    special: bool,
    /// Nothing can be sent to the host any more.
    broken: bool,
    /// The host was told that the container sends no more.
    shut: bool,
    /// The container closed before we did.
    container_first: bool,
    /// What an acknowledgement is owed for.
    ack_due: bool,
    manners: Manners,
    /// The next byte of the container's when it was last acknowledged, and batches since then.
    acknowledged_at: Seq,
    put_off: u8,
    /// The next byte of the container's when the host's socket was last asked how much it takes.
    asked_at: Seq,
    /// When something is sent again, or a shut window tried.
    timer: Option<Instant>,
    tries: u8,
    /// When the container was last heard.
    heard: Instant,
    /// When the table looks at this flow next.
    pub scheduled: Option<Instant>,
    /// Whether the table knows that there is something to settle.
    pub touched: bool,
}

impl Flow {
    /// A connection that the container opens with `syn`. `first` is our first sequence number.
    pub(in crate::net) fn to_host(
        syn: &Segment<'_>,
        socket: OwnedFd,
        source: Source,
        first: Seq,
        link: &Link,
        now: Instant,
    ) -> Self {
        let pair = Pair { container: syn.source, peer: syn.destination };
        let mut flow = Self::new(pair, socket, source, first, link, now);
        flow.hear_syn(syn, link);
        flow
    }

    /// A connection that a client of the host opens to the container.
    pub(in crate::net) fn to_container(
        pair: Pair,
        socket: OwnedFd,
        source: Source,
        first: Seq,
        link: &Link,
        now: Instant,
    ) -> Self {
        let mut flow = Self::new(pair, socket, source, first, link, now);
        flow.phase = Phase::Calling;
        flow
    }

    fn new(pair: Pair, socket: OwnedFd, source: Source, first: Seq, link: &Link, now: Instant) -> Self {
        Self {
            pair,
            phase: Phase::Connecting,
            socket: Some(socket),
            tx: Sender::new(first, link.segment_size(pair.container.ip())),
            rx: Receiver::new(Seq(0), 0),
            source,
            backlog: Backlog::default(),
            base: first + 1,
            readable: false,
            writable: false,
            ended: false,
            special: false,
            broken: false,
            shut: false,
            container_first: false,
            ack_due: false,
            manners: Manners::default(),
            acknowledged_at: Seq(0),
            put_off: 0,
            asked_at: Seq(0),
            timer: None,
            tries: 0,
            heard: now,
            scheduled: None,
            touched: false,
        }
    }

    /// Takes in what the poller says about the host's socket.
    pub(in crate::net) fn note(&mut self, ready: Ready) {
        self.readable |= ready.readable || ready.failed;
        self.writable |= ready.writable || ready.failed;
        self.ended |= ready.ended;
        self.special |= ready.special;
    }

    fn blank(&self) -> Segment<'static> {
        Segment {
            source: self.pair.peer,
            destination: self.pair.container,
            seq: self.tx.nxt,
            ack: Some(self.rx.nxt),
            syn: false,
            fin: false,
            rst: false,
            psh: false,
            window: 0,
            options: Options::default(),
            payload: &[],
        }
    }

    /// The work that is left after a batch of segments and events; `more`: the next batch is there already. Whether an
    /// acknowledgement is put off until that.
    pub(in crate::net) fn settle(&mut self, more: bool, step: &mut Step<'_>) -> bool {
        if self.phase == Phase::Open {
            self.drain(step);
            self.pump(step);
        }
        let put_off = more && self.may_acknowledge_later();
        if put_off {
            self.put_off += 1;
        } else {
            if self.ack_due && !matches!(self.phase, Phase::Connecting | Phase::Calling | Phase::Closed) {
                self.send_ack(step);
            }
            self.ack_due = false;
        }
        if self.phase == Phase::Open {
            self.end(step);
        }
        put_off
    }

    /// The host's side is gone: so is the container's.
    fn host_failed(&mut self, step: &mut Step<'_>) {
        let reset = Segment { rst: true, ..self.blank() };
        step.link.send_tcp(&reset, 0, u16::MAX);
        self.close(step);
    }

    /// The container's side is gone: the host's peer gets a reset.
    pub(in crate::net) fn abandon(&mut self, step: &mut Step<'_>) {
        if let Some(socket) = &self.socket {
            inet::reset_on_close(socket);
        }
        self.close(step);
    }

    fn close(&mut self, step: &mut Step<'_>) {
        let held = self.backlog.forget() + self.rx.forget();
        *step.held = step.held.saturating_sub(held);
        self.source.release(step.pool);
        self.socket = None;
        self.phase = Phase::Closed;
    }

    /// Ends the connection when both directions have ended.
    fn end(&mut self, step: &mut Step<'_>) {
        if !(self.tx.is_finished() && self.rx.finished && self.backlog.is_empty()) {
            return;
        }
        let container_first = self.container_first;
        self.close(step);
        if !container_first {
            // The last acknowledgement may be lost, and the container's FIN come again.
            self.phase = Phase::Lingering;
            self.timer = Some(step.now + TIME_WAIT);
        }
    }

    /// Whether the host has got everything from the container, the end included.
    pub(in crate::net) fn is_drained(&self) -> bool {
        self.rx.finished && self.backlog.is_empty() || self.socket.is_none()
    }

    /// When [`Flow::expire`] has something to do.
    pub(in crate::net) fn deadline(&self) -> Option<Instant> {
        let silent = self.heard + KEEP_ALIVE + KEEP_ALIVE_STEP * u32::from(self.tries);
        match (self.phase, self.timer) {
            (Phase::Connecting | Phase::Closed, _) => None,
            (Phase::Open, timer) => {
                let due = [timer, self.manners.deadline(), self.tx.doubt()];
                due.into_iter().flatten().chain([silent]).min()
            }
            (_, timer) => timer,
        }
    }

    /// Does what is due.
    pub(in crate::net) fn expire(&mut self, step: &mut Step<'_>) {
        self.ack_due |= self.manners.expire(step.now);
        self.tx.look_again(step.now);
        if self.deadline().is_none_or(|at| at > step.now) {
            return;
        }
        self.tries = self.tries.saturating_add(1);
        match self.phase {
            Phase::Lingering => self.close(step),
            Phase::Answered | Phase::Calling if self.tries > HANDSHAKE_TRIES => self.abandon(step),
            Phase::Answered | Phase::Calling => {
                self.tx.timeout.back_off();
                self.send_syn(step);
            }
            Phase::Open => self.expire_open(step),
            Phase::Connecting | Phase::Closed => {}
        }
    }

    fn expire_open(&mut self, step: &mut Step<'_>) {
        let due = self.timer.is_some_and(|at| at <= step.now);
        let most = if due { TRIES } else { KEEP_ALIVE_TRIES };
        if self.tries > most {
            let reset = Segment { rst: true, ..self.blank() };
            step.link.send_tcp(&reset, 0, u16::MAX);
            return self.abandon(step);
        }
        if due && self.tx.in_flight() > 0 {
            self.timer = None;
            if let Silence::Probe(seq, length) = self.tx.silence(step.now)
                && self.resend(seq, length, step).is_err()
            {
                self.host_failed(step);
            }
            return;
        }
        if due {
            self.tx.timeout.back_off();
            self.timer = Some(step.now + self.tx.timeout.get());
        }
        // A byte that the container has: it has to say what it expects, RFC 9293 §3.8.4, and its window with it.
        let window = self.window(step);
        let probe = Segment { seq: Seq(self.tx.una.0.wrapping_sub(1)), window, ..self.blank() };
        step.link.send_tcp(&probe, 0, u16::MAX);
    }
}
