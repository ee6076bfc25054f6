//! One connection: the container on one side, a socket of the host on the other.
//!
//! What the container sends goes straight into the host's socket; what that has no room for waits in the backlog,
//! and the window stays shut until it has gone. What the host sends stays in the host's socket until the container
//! has acknowledged it. Urgent bytes are relayed in their place in the stream, both ways: taken out, as the urgent
//! mechanism has it by default, they would no longer be numbered as the other side numbers them, and RFC 6093 asks
//! receivers to take them in line.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::backlog::{self, Backlog};
use super::receiver::{Place, Receiver};
use super::segment::{Options, Ranges, Segment};
use super::sender::{Ack, Acked, Sender};
use super::seq::Seq;
use super::source::{Pool, Source};
use crate::net::link::{LARGEST, Link};
use crate::sys::inet;

/// The window that is always offered while nothing is in the backlog, in bytes: a socket without room for it is
/// filled to the brim and then tells when it has room.
const LEAST_WINDOW: usize = 64 << 10;
/// The window of a SYN.
const FIRST_WINDOW: usize = 65_535;
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
    pub readable: bool,
    pub writable: bool,
    /// Nothing can be sent to the host any more.
    broken: bool,
    /// The host was told that the container sends no more.
    shut: bool,
    /// The container closed before we did.
    container_first: bool,
    /// What an acknowledgement is owed for.
    pub ack_due: bool,
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
            broken: false,
            shut: false,
            container_first: false,
            ack_due: false,
            timer: None,
            tries: 0,
            heard: now,
            scheduled: None,
            touched: false,
        }
    }

    /// Takes in a SYN: where the container begins and what it can do.
    pub(in crate::net) fn hear_syn(&mut self, syn: &Segment<'_>, link: &Link) {
        let ours = link.segment_size(self.pair.container.ip());
        // RFC 9293: whoever says nothing takes 536 bytes. A hostile 0 would have us send nothing for ever.
        let theirs = syn.options.segment_size.unwrap_or(536).max(64);
        let scaled = syn.options.window_scale;
        self.rx = Receiver::new(syn.seq, scaled.map_or(0, |_| super::receiver::SCALE));
        let scale = scaled.unwrap_or(0);
        self.tx.agree(syn.seq, syn.window, scale, ours.min(theirs), syn.options.sack_permitted);
    }

    /// The container's SYN, as far as its sender recognises it.
    pub(in crate::net) fn syn(&self) -> Segment<'static> {
        let seq = Seq(self.rx.nxt.0.wrapping_sub(1));
        let (source, destination) = (self.pair.container, self.pair.peer);
        Segment { source, destination, seq, ack: None, syn: true, ..self.blank() }
    }

    /// The host's connect has been: answers the SYN.
    pub(in crate::net) fn connected(&mut self, step: &mut Step<'_>) {
        self.phase = Phase::Answered;
        (self.readable, self.writable) = (true, true);
        self.tx.sent(1, step.now);
        self.send_syn(step);
    }

    /// Sends the SYN, or the SYN that answers one.
    pub(in crate::net) fn send_syn(&mut self, step: &mut Step<'_>) {
        let calling = self.phase == Phase::Calling;
        if calling && self.tx.nxt == self.tx.una {
            (self.readable, self.writable) = (true, true);
            self.tx.sent(1, step.now);
        }
        let window = if calling { 65_535 } else { self.rx.offer_unscaled(FIRST_WINDOW) };
        let scales = calling || self.rx.is_scaled();
        let options = Options {
            segment_size: Some(step.link.segment_size(self.pair.container.ip())),
            window_scale: scales.then_some(super::receiver::SCALE),
            sack_permitted: calling || self.tx.sack_permitted,
            sack: Ranges::default(),
        };
        let segment = Segment {
            seq: self.tx.una,
            ack: (!calling).then_some(self.rx.nxt),
            syn: true,
            window,
            options,
            ..self.blank()
        };
        step.link.send_tcp(&segment, 0, u16::MAX);
        self.timer = Some(step.now + self.tx.timeout.get());
    }

    fn blank(&self) -> Segment<'static> {
        Segment {
            source: self.pair.peer,
            destination: self.pair.container,
            seq: self.tx.top,
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

    /// Takes a segment of this connection.
    pub(in crate::net) fn segment(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        match self.phase {
            Phase::Connecting => self.segment_while_connecting(segment, step),
            Phase::Calling => self.segment_while_calling(segment, step),
            Phase::Closed => {}
            Phase::Answered | Phase::Open | Phase::Lingering => self.segment_in_step(segment, step),
        }
    }

    /// Whether a SYN may begin a new connection of the same name, RFC 9293 §3.6.1.
    pub(in crate::net) fn gives_way_to(&self, segment: &Segment<'_>) -> bool {
        self.phase == Phase::Lingering
            && segment.syn
            && segment.ack.is_none()
            && !segment.rst
            && segment.seq.since(self.rx.nxt) > 0
    }

    fn segment_while_connecting(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        if segment.rst {
            self.abandon(step);
        } else if segment.syn && segment.ack.is_none() {
            // The same once more, or a new attempt of an application that gave up on the first.
            self.hear_syn(segment, step.link);
        }
    }

    fn segment_while_calling(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        if segment.ack.is_some_and(|ack| ack != self.tx.nxt) {
            if !segment.rst {
                let seq = segment.ack.unwrap_or_default();
                let reset = Segment { seq, ack: None, rst: true, ..self.blank() };
                step.link.send_tcp(&reset, 0, u16::MAX);
            }
        } else if segment.rst {
            if segment.ack.is_some() {
                // Nobody listens there.
                self.abandon(step);
            }
        } else if segment.syn {
            self.heard = step.now;
            self.tries = 0;
            self.hear_syn(segment, step.link);
            if let Some(ack) = segment.ack {
                let window = segment.window.into();
                let ack = Ack { seq: segment.seq, ack, window, sack: Ranges::default(), bare: false };
                self.tx.acknowledge(&ack, step.now);
                self.phase = Phase::Open;
                self.timer = None;
                self.ack_due = true;
            } else {
                // Both called at once, RFC 9293 figure 7.
                self.phase = Phase::Answered;
                self.send_syn(step);
            }
        }
    }

    /// RFC 9293 §3.10.7.4 with the checks of RFC 5961.
    fn segment_in_step(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        let place = self.rx.place(segment);
        if segment.rst {
            match place {
                Place::Inside if segment.seq == self.rx.nxt => self.abandon(step),
                Place::Inside => self.challenge(step),
                Place::Outside => step.link.counters.out_of_window += 1,
            }
            return;
        }
        if segment.syn {
            if self.phase == Phase::Answered && segment.seq + 1 == self.rx.nxt {
                self.send_syn(step);
            } else {
                self.challenge(step);
            }
            return;
        }
        let Some(ack) = segment.ack else { return };
        self.heard = step.now;
        if place == Place::Outside && segment.seq + 1 == self.rx.nxt && segment.length() <= 1 {
            self.asked_whether_alive(step);
        }
        if place == Place::Outside && segment.length() > 0 {
            // Something that came twice, or a probe of a shut window: what is acknowledged counts all the same.
            step.link.counters.out_of_window += 1;
            self.ack_due = true;
        }
        if !self.take_ack(segment, ack, step) {
            return;
        }
        if self.phase == Phase::Lingering {
            if segment.fin {
                self.timer = Some(step.now + TIME_WAIT);
            }
        } else if place == Place::Inside {
            self.take_bytes(segment, step);
        } else if place == Place::Outside {
            self.ack_due = true;
        }
    }

    /// A keep-alive of the container's: it wants to know about the other end, so ask that on its behalf.
    fn asked_whether_alive(&mut self, step: &Step<'_>) {
        if let Some(socket) = &self.socket {
            let silence =
                step.now.saturating_duration_since(self.heard).clamp(Duration::from_secs(10), KEEP_ALIVE);
            // A unix socket knows no such thing, and needs none.
            let _ = inet::keep_alive(socket, silence);
        }
    }

    /// Whether the segment is worth reading on.
    fn take_ack(&mut self, segment: &Segment<'_>, ack: Seq, step: &mut Step<'_>) -> bool {
        let window = self.tx.scaled(segment.window);
        let bare = segment.length() == 0;
        let ack = Ack { seq: segment.seq, ack, window, sack: segment.options.sack, bare };
        match self.tx.acknowledge(&ack, step.now) {
            Acked::Unsent => {
                if self.phase == Phase::Answered {
                    let reset = Segment { seq: ack.ack, ack: None, rst: true, ..self.blank() };
                    step.link.send_tcp(&reset, 0, u16::MAX);
                } else {
                    self.challenge(step);
                }
                return false;
            }
            Acked::New(_) => {
                self.tries = 0;
                self.timer = None;
                if self.phase == Phase::Answered {
                    self.phase = Phase::Open;
                }
            }
            Acked::Nothing => {
                // The container is there, if shut: it may be asked for as long as it answers.
                if self.tx.in_flight() == 0 && self.phase == Phase::Open {
                    self.tries = 0;
                    self.timer = None;
                    if !self.tx.window_is_shut() {
                        self.tx.timeout.progress();
                    }
                }
            }
        }
        self.phase != Phase::Answered
    }

    fn take_bytes(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        if self.rx.finished {
            return;
        }
        let (start, bytes) = self.rx.trim(segment);
        let whole = start + bytes.len() == segment.seq + segment.payload.len();
        if start != self.rx.nxt {
            if *step.held < step.limit {
                *step.held += self.rx.keep(start, bytes);
            }
            self.ack_due = true;
            return;
        }
        if !bytes.is_empty() {
            self.ack_due = true;
            if !self.deliver(bytes, step) {
                return;
            }
            while let Some((held, piece)) = self.rx.next_piece() {
                *step.held = step.held.saturating_sub(held);
                if !self.deliver(&piece, step) {
                    return;
                }
            }
        }
        if segment.fin && whole && segment.seq + segment.payload.len() == self.rx.nxt {
            self.rx.nxt += 1;
            self.rx.finished = true;
            self.container_first = self.tx.fin.is_none();
            self.ack_due = true;
        }
    }

    /// Gives the container's next bytes to the host. `false`: there is no room for them anywhere; they count as
    /// never received.
    fn deliver(&mut self, bytes: &[u8], step: &mut Step<'_>) -> bool {
        let mut sent = 0;
        if let Some(socket) = &self.socket
            && self.backlog.is_empty()
            && !self.broken
        {
            let (n, outcome) = backlog::send(socket, bytes);
            sent = n;
            self.outcome_of_send(outcome.err());
        }
        let rest = if self.broken { &[] } else { &bytes[sent..] };
        if !rest.is_empty() && *step.held + rest.len() > step.limit {
            step.link.counters.backlog_full += rest.len() as u64;
            self.rx.nxt += sent;
            return false;
        }
        self.backlog.push(rest);
        *step.held += rest.len();
        self.rx.nxt += bytes.len();
        true
    }

    fn outcome_of_send(&mut self, failed: Option<Errno>) {
        match failed {
            None => {}
            Some(Errno::AGAIN | Errno::NOBUFS) => self.writable = false,
            // What the host sent before it went is still read; reading then says how it went.
            Some(_) => {
                self.broken = true;
                self.readable = true;
            }
        }
    }

    /// Tells the container where we are, RFC 5961: an answer to what may be forged.
    fn challenge(&mut self, step: &mut Step<'_>) {
        step.link.counters.out_of_window += 1;
        self.ack_due = true;
    }

    /// The work that is left after a batch of segments and events.
    pub(in crate::net) fn settle(&mut self, step: &mut Step<'_>) {
        if self.phase == Phase::Open {
            self.drain(step);
            self.pump(step);
        }
        if self.ack_due && !matches!(self.phase, Phase::Connecting | Phase::Calling | Phase::Closed) {
            self.send_ack(step);
        }
        self.ack_due = false;
        if self.phase == Phase::Open {
            self.end(step);
        }
    }

    /// Gives the backlog to the host, and the end of the stream after it.
    fn drain(&mut self, step: &mut Step<'_>) {
        let Some(socket) = &self.socket else { return };
        if !self.backlog.is_empty() && self.broken {
            *step.held = step.held.saturating_sub(self.backlog.forget());
        } else if !self.backlog.is_empty() && self.writable {
            let (sent, outcome) = self.backlog.drain(socket);
            *step.held = step.held.saturating_sub(sent);
            self.outcome_of_send(outcome.err());
            if self.backlog.is_empty() {
                // The window was shut.
                self.ack_due = true;
            }
        }
        if self.rx.finished && self.backlog.is_empty() && !self.shut {
            self.shut = true;
            if let Some(socket) = &self.socket
                && inet::shutdown_write(socket).is_err()
            {
                self.broken = true;
                self.readable = true;
            }
        }
    }

    /// Discards what the container has and sends it what it may get.
    fn pump(&mut self, step: &mut Step<'_>) {
        if let Err(e) = self.discard(step) {
            return self.host_failed(e, step);
        }
        while let Some((seq, length)) = self.tx.lost() {
            if let Err(e) = self.resend(seq, length, step) {
                return self.host_failed(e, step);
            }
        }
        loop {
            let at_end = self.tx.fin.is_some_and(|fin| !self.tx.nxt.before(fin));
            if at_end && self.broken && !self.rx.finished {
                return self.host_failed(Errno::PIPE, step);
            }
            if at_end || (self.tx.fin.is_none() && !self.readable) {
                break;
            }
            let room = self.tx.room();
            let size = usize::from(self.tx.segment_size);
            // RFC 9293 §3.8.6.2.1: no crumbs while something is on its way.
            if room == 0 || (room < size && self.tx.in_flight() > 0) {
                break;
            }
            match self.send_next(room, step) {
                // Broken while sending, which took the error that reading would have found.
                Ok(0) if self.broken => return self.host_failed(Errno::CONNRESET, step),
                Ok(0) => {
                    self.tx.fin = Some(self.tx.nxt);
                    break;
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    break;
                }
                Err(e) => return self.host_failed(e, step),
            }
        }
        if self.tx.fin == Some(self.tx.nxt) {
            let window = self.window(step);
            let fin = Segment { seq: self.tx.nxt, fin: true, window, ..self.blank() };
            step.link.send_tcp(&fin, 0, u16::MAX);
            self.tx.sent(1, step.now);
            self.ack_due = false;
        }
        self.rearm(step.now);
    }

    /// Throws away what the container has acknowledged.
    fn discard(&mut self, step: &mut Step<'_>) -> inet::Outcome<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let acknowledged = self.tx.fin.map_or(self.tx.una, |fin| fin.min(self.tx.una)).after(self.base);
        if acknowledged > 0 {
            self.source.discard(socket, acknowledged, step.pool)?;
            self.base += acknowledged;
        }
        Ok(())
    }

    /// Sends the next bytes, at most `room`. 0: the host sends no more.
    fn send_next(&mut self, room: usize, step: &mut Step<'_>) -> inet::Outcome<usize> {
        let Some(socket) = &self.socket else { return Err(Errno::AGAIN) };
        let size = usize::from(self.tx.segment_size);
        let most = ((LARGEST - 60) / size).max(1) * size;
        let mut wanted = room.min(most);
        if wanted > size {
            wanted -= wanted % size;
        }
        let offset = self.tx.nxt.after(self.base);
        let buffer = &mut step.link.payload()[..wanted];
        let n = self.source.copy(socket, offset, buffer, step.pool)?;
        if n > 0 {
            let window = self.window(step);
            let segment = Segment { seq: self.tx.nxt, psh: n < wanted, window, ..self.blank() };
            if self.tx.nxt.before(self.tx.top) {
                step.link.counters.retransmitted += 1;
            }
            step.link.send_tcp(&segment, n, self.tx.segment_size);
            self.tx.sent(n, step.now);
            self.ack_due = false;
        }
        Ok(n)
    }

    /// Sends again `length` sequence numbers from `seq` on.
    fn resend(&mut self, seq: Seq, length: usize, step: &mut Step<'_>) -> inet::Outcome<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let bytes = self.tx.fin.map_or(length, |fin| fin.after(seq).min(length));
        let mut n = 0;
        if bytes > 0 {
            let buffer = &mut step.link.payload()[..bytes];
            n = self.source.copy(socket, seq.after(self.base), buffer, step.pool)?;
        }
        let fin = self.tx.fin.is_some_and(|fin| seq + n == fin) && n < length;
        let window = self.window(step);
        let segment = Segment { seq, fin, window, ..self.blank() };
        step.link.counters.retransmitted += 1;
        step.link.send_tcp(&segment, n, self.tx.segment_size);
        self.ack_due = false;
        Ok(())
    }

    /// The window field of what is sent now.
    fn window(&mut self, step: &Step<'_>) -> u16 {
        // Asking the socket is a system call: not for data that acknowledges nothing.
        if self.rx.finished || !self.backlog.is_empty() || !self.ack_due {
            return self.rx.offer(0);
        }
        let free = match &self.socket {
            Some(socket) if !self.broken => inet::send_buffer(socket).map_or(0, |(limit, queued)| {
                usize::try_from(limit.saturating_sub(queued)).unwrap_or_default()
            }),
            _ => LEAST_WINDOW,
        };
        let pressed = *step.held > step.limit / 2;
        self.rx.offer(free.max(if pressed { LEAST_WINDOW / 8 } else { LEAST_WINDOW }))
    }

    fn send_ack(&mut self, step: &mut Step<'_>) {
        let window = self.window(step);
        let sack = if self.tx.sack_permitted { self.rx.ahead() } else { Ranges::default() };
        let options = Options { sack, ..Options::default() };
        let segment = Segment { window, options, ..self.blank() };
        step.link.send_tcp(&segment, 0, u16::MAX);
        self.ack_due = false;
    }

    /// The host's side is gone: so is the container's.
    fn host_failed(&mut self, _why: Errno, step: &mut Step<'_>) {
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

    /// Sets the timer for what is on its way, or for a window that is shut.
    fn rearm(&mut self, now: Instant) {
        let waiting = self.readable || self.tx.fin == Some(self.tx.nxt);
        if self.tx.in_flight() > 0 || (waiting && self.tx.window_is_shut()) {
            self.timer.get_or_insert(now + self.tx.timeout.get());
        } else {
            self.timer = None;
        }
    }

    /// When [`Flow::expire`] has something to do.
    pub(in crate::net) fn deadline(&self) -> Option<Instant> {
        let silent = self.heard + KEEP_ALIVE + KEEP_ALIVE_STEP * u32::from(self.tries);
        match (self.phase, self.timer) {
            (Phase::Connecting | Phase::Closed, _) => None,
            (Phase::Open, None) => Some(silent),
            (Phase::Open, Some(timer)) => Some(timer.min(silent)),
            (_, timer) => timer,
        }
    }

    /// Does what is due.
    pub(in crate::net) fn expire(&mut self, step: &mut Step<'_>) {
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
            self.tx.time_out();
            self.timer = None;
            self.readable = true;
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
