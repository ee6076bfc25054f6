//! What goes to the container: the host's bytes, windows and acknowledgements, what was lost once more.

use std::time::Instant;

use rustix::io::Errno;

use super::{Flow, Phase, Step};
use crate::net::link::{LARGEST, SEVERAL};
use crate::net::tcp::segment::{Options, Ranges, Segment};
use crate::net::tcp::seq::Seq;
use crate::sys::inet;

/// The window that is always offered while nothing is in the backlog, in bytes: a socket without room for it is
/// filled to the brim and then tells when it has room.
const LEAST_WINDOW: usize = 64 << 10;

/// Full batches that an acknowledgement waits for at most.
const MOST_PUT_OFF: u8 = 3;

/// Bytes from the container after which the host's socket is asked again how much it takes.
const LITTLE: usize = 4 << 10;

impl Flow {
    /// Discards what the container has and sends it what it may get.
    pub(super) fn pump(&mut self, step: &mut Step<'_>) {
        if self.discard(step).is_err() {
            return self.host_failed(step);
        }
        while let Some((seq, length)) = self.tx.lost(self.largest(), step.now) {
            if self.resend(seq, length, step).is_err() {
                return self.host_failed(step);
            }
        }
        let before = self.tx.nxt;
        loop {
            let at_end = self.tx.fin.is_some_and(|fin| !self.tx.nxt.before(fin));
            if at_end && self.broken && !self.rx.finished {
                return self.host_failed(step);
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
                Ok(0) if self.broken => return self.host_failed(step),
                Ok(0) => {
                    self.tx.fin = Some(self.tx.nxt);
                    break;
                }
                Ok(_) if self.tx.fin.is_some() || self.readable => {}
                Ok(_) => break,
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    break;
                }
                Err(_) => return self.host_failed(step),
            }
        }
        if self.tx.fin == Some(self.tx.nxt) {
            let window = self.window(step);
            let fin = Segment { seq: self.tx.nxt, fin: true, window, ..self.blank() };
            step.link.send_tcp(&fin, 0, u16::MAX);
            self.tx.sent(1, step.now);
            self.acknowledged();
        }
        if self.tx.probes() && self.tx.nxt != before {
            self.timer = None;
        }
        self.rearm(step.now);
    }

    /// Bytes of the largest packet: whole segments.
    fn largest(&self) -> usize {
        let size = usize::from(self.tx.segment_size);
        ((LARGEST - 60) / size).max(1) * size
    }

    /// Throws away what the container has acknowledged.
    pub(super) fn discard(&mut self, step: &mut Step<'_>) -> inet::Outcome<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let acknowledged = self.tx.fin.map_or(self.tx.una, |fin| fin.min(self.tx.una)).after(self.base);
        if acknowledged > 0 {
            self.source.discard(socket, acknowledged, step.pool)?;
            self.base += acknowledged;
        }
        Ok(())
    }

    /// Sends the next bytes, at most `room`. 0: the host sends no more.
    pub(super) fn send_next(&mut self, room: usize, step: &mut Step<'_>) -> inet::Outcome<usize> {
        let Some(socket) = &self.socket else { return Err(Errno::AGAIN) };
        let (size, most) = (usize::from(self.tx.segment_size), self.largest());
        let mut wanted = room.min(SEVERAL / most * most);
        if wanted > size {
            wanted -= wanted % size;
        }
        let offset = self.tx.nxt.after(self.base);
        let buffer = &mut step.link.payload()[..wanted];
        let n = self.source.copy(socket, offset, buffer, step.pool)?;
        // Less than there was room for is all that there is, unless it stops before an urgent byte or an error. What
        // comes later is an event of its own, and so is the end, if it is not here already.
        let all = n > 0 && n < wanted && !self.special && !self.broken && self.source.keeps_in_socket();
        if all && self.tx.fin.is_none() {
            self.readable = false;
            if self.ended {
                self.tx.fin = Some(self.tx.nxt + n);
            }
        }
        let mut at = 0;
        while at < n {
            let length = most.min(n - at);
            let window = self.window(step);
            let fin = self.tx.fin == Some(self.tx.nxt + length);
            let psh = at + length == n && n < wanted;
            let segment = Segment { seq: self.tx.nxt, psh, fin, window, ..self.blank() };
            step.link.send_tcp_part(&segment, at, length, self.tx.segment_size);
            self.tx.sent(length + usize::from(fin), step.now);
            self.acknowledged();
            self.manners.answered(step.now);
            at += length;
        }
        Ok(n)
    }

    /// Sends again `length` sequence numbers from `seq` on.
    pub(super) fn resend(&mut self, seq: Seq, length: usize, step: &mut Step<'_>) -> inet::Outcome<()> {
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
        self.acknowledged();
        Ok(())
    }

    /// What was just sent with bytes acknowledges all that came in its order. What came ahead of a gap is told by an
    /// acknowledgement of its own: only that has room for ranges, and only that counts as a duplicate, without which a
    /// container that is sent to all the time would find out about its loss by a timeout, RFC 5681 §4.2.
    fn acknowledged(&mut self) {
        self.ack_due &= !self.rx.is_whole();
        self.note_acknowledged();
    }

    /// The window field of what is sent now.
    pub(super) fn window(&mut self, step: &Step<'_>) -> u16 {
        // Asking the socket is a system call: not for data that acknowledges nothing, nor while the container may
        // still send plenty.
        let enough = self.rx.offered() >= LEAST_WINDOW / 2 && self.rx.nxt.after(self.asked_at) < LITTLE;
        let acknowledges = self.ack_due || self.manners.owes();
        if self.rx.finished || !self.backlog.is_empty() || !acknowledges || enough {
            return self.rx.offer(0);
        }
        self.asked_at = self.rx.nxt;
        let free = match &self.socket {
            Some(socket) if !self.broken => inet::send_buffer(socket).map_or(0, |(limit, queued)| {
                usize::try_from(limit.saturating_sub(queued)).unwrap_or_default()
            }),
            _ => LEAST_WINDOW,
        };
        let pressed = *step.held > step.limit / 2;
        self.rx.offer(free.max(if pressed { LEAST_WINDOW / 8 } else { LEAST_WINDOW }))
    }

    pub(super) fn send_ack(&mut self, step: &mut Step<'_>) {
        let window = self.window(step);
        let sack = if self.tx.sack_permitted { self.rx.ahead() } else { Ranges::default() };
        let options = Options { sack, ..Options::default() };
        let segment = Segment { window, options, ..self.blank() };
        step.link.send_tcp(&segment, 0, u16::MAX);
        self.ack_due = false;
        self.note_acknowledged();
    }

    fn note_acknowledged(&mut self) {
        (self.acknowledged_at, self.put_off) = (self.rx.nxt, 0);
        self.manners.acknowledged();
    }

    /// Whether an acknowledgement may wait for the next batch, when that is there already: a packet to the container costs
    /// as much as one from it, and of many streams each has few in a batch. Not while the container has used up half of
    /// its window, lest it stops; nor what tells of a gap or of the end.
    pub(super) fn may_acknowledge_later(&self) -> bool {
        let half = self.rx.nxt.after(self.acknowledged_at) >= self.rx.offered();
        let plain = self.rx.is_whole() && !self.rx.finished && self.backlog.is_empty();
        self.ack_due && self.phase == Phase::Open && plain && !half && self.put_off < MOST_PUT_OFF
    }

    /// Sets the timer for what is on its way, or for a window that is shut.
    pub(super) fn rearm(&mut self, now: Instant) {
        let waiting = self.readable || self.tx.fin == Some(self.tx.nxt);
        if self.tx.in_flight() > 0 || (waiting && self.tx.window_is_shut()) {
            let tx = &mut self.tx;
            let until = || if tx.in_flight() > 0 { tx.patience(now) } else { now + tx.timeout.get() };
            self.timer.get_or_insert_with(until);
        } else {
            self.timer = None;
        }
    }
}
