//! The handshake: SYN-SENT and SYN-RECEIVED, whoever began.

use super::{Flow, Phase, Step};
use crate::net::link::Link;
use crate::net::tcp::receiver::{self, Receiver};
use crate::net::tcp::segment::{Options, Ranges, Segment};
use crate::net::tcp::sender::Ack;
use crate::net::tcp::seq::Seq;

/// The window of a SYN.
const FIRST_WINDOW: usize = 65_535;

impl Flow {
    /// The container's SYN, as far as its sender recognises it.
    pub(in crate::net) fn syn(&self) -> Segment<'static> {
        let seq = Seq(self.rx.nxt.0.wrapping_sub(1));
        let (source, destination) = (self.pair.container, self.pair.peer);
        Segment { source, destination, seq, ack: None, syn: true, ..self.blank() }
    }

    /// Takes in a SYN: where the container begins and what it can do.
    pub(in crate::net) fn hear_syn(&mut self, syn: &Segment<'_>, link: &Link) {
        let ours = link.segment_size(self.pair.container.ip());
        // RFC 9293: whoever says nothing takes 536 bytes. A hostile 0 would have us send nothing for ever.
        let theirs = syn.options.segment_size.unwrap_or(536).max(64);
        let scaled = syn.options.window_scale;
        self.rx = Receiver::new(syn.seq, scaled.map_or(0, |_| receiver::SCALE));
        (self.asked_at, self.acknowledged_at) = (self.rx.nxt, self.rx.nxt);
        let scale = scaled.unwrap_or(0);
        self.tx.agree(syn.seq, syn.window, scale, ours.min(theirs), syn.options.sack_permitted);
    }

    /// The host's connect has been: answers the SYN.
    pub(in crate::net) fn connected(&mut self, step: &mut Step<'_>) {
        self.phase = Phase::Answered;
        self.send_syn(step);
    }

    /// Sends the SYN, or the SYN that answers one.
    pub(in crate::net) fn send_syn(&mut self, step: &mut Step<'_>) {
        let calling = self.phase == Phase::Calling;
        if self.tx.nxt == self.tx.una {
            (self.readable, self.writable) = (true, true);
            self.tx.sent(1, step.now);
        } else {
            self.tx.sent_again(step.now);
        }
        let window = if calling { 65_535 } else { self.rx.offer_unscaled(FIRST_WINDOW) };
        let scales = calling || self.rx.is_scaled();
        let options = Options {
            segment_size: Some(step.link.segment_size(self.pair.container.ip())),
            window_scale: scales.then_some(receiver::SCALE),
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

    pub(super) fn segment_while_connecting(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
        if segment.rst {
            self.abandon(step);
        } else if segment.syn && segment.ack.is_none() {
            // The same once more, or a new attempt of an application that gave up on the first.
            self.hear_syn(segment, step.link);
        }
    }

    pub(super) fn segment_while_calling(&mut self, segment: &Segment<'_>, step: &mut Step<'_>) {
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
}
