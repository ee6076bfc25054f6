//! What goes to the container: the host's bytes, windows and acknowledgements, what was lost once more.

use std::time::Instant;

use rustix::io::Errno;

use super::{Flow, Step};
use crate::net::link::LARGEST;
use crate::net::tcp::segment::{Options, Ranges, Segment};
use crate::net::tcp::seq::Seq;
use crate::sys::inet;

/// The window that is always offered while nothing is in the backlog, in bytes: a socket without room for it is
/// filled to the brim and then tells when it has room.
const LEAST_WINDOW: usize = 64 << 10;

impl Flow {
    /// Discards what the container has and sends it what it may get.
    pub(super) fn pump(&mut self, step: &mut Step<'_>) {
        if self.discard(step).is_err() {
            return self.host_failed(step);
        }
        while let Some((seq, length)) = self.tx.lost() {
            if self.resend(seq, length, step).is_err() {
                return self.host_failed(step);
            }
        }
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
                Ok(_) => {}
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
            self.ack_due = false;
        }
        self.rearm(step.now);
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
        self.ack_due = false;
        Ok(())
    }

    /// The window field of what is sent now.
    pub(super) fn window(&mut self, step: &Step<'_>) -> u16 {
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

    pub(super) fn send_ack(&mut self, step: &mut Step<'_>) {
        let window = self.window(step);
        let sack = if self.tx.sack_permitted { self.rx.ahead() } else { Ranges::default() };
        let options = Options { sack, ..Options::default() };
        let segment = Segment { window, options, ..self.blank() };
        step.link.send_tcp(&segment, 0, u16::MAX);
        self.ack_due = false;
    }

    /// Sets the timer for what is on its way, or for a window that is shut.
    pub(super) fn rearm(&mut self, now: Instant) {
        let waiting = self.readable || self.tx.fin == Some(self.tx.nxt);
        if self.tx.in_flight() > 0 || (waiting && self.tx.window_is_shut()) {
            self.timer.get_or_insert(now + self.tx.timeout.get());
        } else {
            self.timer = None;
        }
    }
}
