//! What comes from the container: its segments judged, its acknowledgements noted, its bytes given to the host.

use std::time::Duration;

use rustix::io::Errno;

use super::{Flow, KEEP_ALIVE, Phase, Step, TIME_WAIT};
use crate::net::tcp::backlog;
use crate::net::tcp::receiver::Place;
use crate::net::tcp::segment::Segment;
use crate::net::tcp::sender::{Ack, Acked};
use crate::net::tcp::seq::Seq;
use crate::sys::inet;

impl Flow {
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

    /// RFC 9293 §3.10.7.4 with the checks of RFC 5961.
    pub(super) fn segment_in_step(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
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
        if place == Place::Outside && segment.seq + 1 == self.rx.nxt && segment.length() <= 1 {
            self.asked_whether_alive(step);
        }
        self.heard = step.now;
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

    /// A keep-alive of the container's: it wants to know about the other end, so ask that on its behalf, after as long
    /// a silence.
    pub(super) fn asked_whether_alive(&mut self, step: &Step<'_>) {
        if let Some(socket) = &self.socket {
            let silence =
                step.now.saturating_duration_since(self.heard).clamp(Duration::from_secs(10), KEEP_ALIVE);
            // A unix socket knows no such thing, and needs none.
            let _ = inet::keep_alive(socket, silence);
        }
    }

    /// Whether the segment is worth reading on.
    pub(super) fn take_ack(&mut self, segment: &Segment<'_>, ack: Seq, step: &mut Step<'_>) -> bool {
        let window = self.tx.scaled(segment.window);
        let bare = segment.length() == 0;
        let ack = Ack { seq: segment.seq, ack, window, sack: segment.options.sack, bare };
        let was_shut = self.tx.window_is_shut();
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
                if was_shut && !self.tx.window_is_shut() {
                    self.tx.timeout.opened();
                }
                if self.phase == Phase::Answered {
                    self.phase = Phase::Open;
                }
            }
            Acked::Nothing if self.phase == Phase::Open => self.hear_nothing_new(was_shut),
            Acked::Nothing => {}
        }
        self.phase != Phase::Answered
    }

    /// The container is there, be it shut: it may be asked for as long as it answers, RFC 9293 §3.8.6.1. That is so
    /// with bytes on their way too, which a container short of memory may have dropped with its window.
    fn hear_nothing_new(&mut self, was_shut: bool) {
        let (idle, shut) = (self.tx.in_flight() == 0, self.tx.window_is_shut());
        if idle || shut || was_shut {
            self.tries = 0;
        }
        if idle || was_shut && !shut {
            self.timer = None;
        }
        if was_shut && !shut {
            self.tx.timeout.opened();
        }
    }

    pub(super) fn take_bytes(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
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
            let short = bytes.len() < usize::from(self.tx.segment_size) && !segment.fin && self.rx.is_whole();
            self.ack_due |= !self.manners.heard(short, step.now);
            if !self.deliver(bytes, step) {
                self.ack_due = true;
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
    pub(super) fn deliver(&mut self, bytes: &[u8], step: &mut Step<'_>) -> bool {
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

    pub(super) fn outcome_of_send(&mut self, failed: Option<Errno>) {
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
    pub(super) fn challenge(&mut self, step: &mut Step<'_>) {
        step.link.counters.out_of_window += 1;
        self.ack_due = true;
    }

    /// Gives the backlog to the host, and the end of the stream after it.
    pub(super) fn drain(&mut self, step: &mut Step<'_>) {
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
}
