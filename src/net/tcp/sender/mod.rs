//! The direction towards the container: what may be sent and what has to be sent again, RFC 9293, 6675 and 8985.
//!
//! It knows sequence numbers and no bytes: those stay in the host's socket until they are acknowledged.

use std::time::{Duration, Instant};

use super::congestion::Congestion;
use super::flight::Flight;
use super::segment::Ranges;
use super::seq::Seq;
use super::timeout::Timeout;

/// Acknowledgements that say the same before what follows counts as lost, where ranges are not told.
const DUPLICATES: usize = 3;
/// What an acknowledgement may take beyond two round trips before it is asked for.
const TARDINESS: Duration = Duration::from_millis(10);

/// What is sent to the container and what it has said about it.
#[derive(Debug)]
pub(in crate::net) struct Sender {
    /// The oldest byte that is not acknowledged.
    pub una: Seq,
    /// The next to be sent for the first time.
    pub nxt: Seq,
    /// Where the FIN is, once there is one to send.
    pub fin: Option<Seq>,
    /// Largest payload of a segment.
    pub segment_size: u16,
    pub sack_permitted: bool,
    pub timeout: Timeout,
    /// The container's window in bytes, its scale, and the segment that told it.
    window: usize,
    scale: u8,
    told_by: (Seq, Seq),
    flight: Flight,
    congestion: Congestion,
    recovery: Option<Recovery>,
    /// The first that is sent again after a loss goes whatever the window says: it is what the others wait for.
    urgent: bool,
    /// When to look again for what is lost.
    doubt: Option<Instant>,
    probe: Probe,
    /// Where what was sent ended when a probe was, and whether that has repaired a loss is yet to be told.
    probed: Option<Seq>,
    /// When the oldest of what is on its way began to wait: when it was sent, or something before it acknowledged.
    waiting: Option<Instant>,
    /// Acknowledgements in a row that say the same, of a container that tells no ranges.
    duplicates: usize,
}

/// Mending what was lost.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    /// Over when everything before this is acknowledged.
    end: Seq,
    /// Whether it was nothing but silence that told of the loss.
    by_timeout: bool,
}

/// Asking for an acknowledgement by sending the last segment again, RFC 8985 §7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Not,
    /// When the timer runs out.
    Armed,
    /// Asked, or not of use: the timer's next end is a timeout.
    Done,
}

/// What has to be done after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Silence {
    /// Send so many bytes from there again.
    Probe(Seq, usize),
    /// Wait some more.
    Wait,
    /// Everything is lost.
    Over,
}

/// What an acknowledgement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Acked {
    /// So many sequence numbers are acknowledged that were not.
    New(usize),
    Nothing,
    /// It is for something that never was sent.
    Unsent,
}

/// An acknowledgement as it stands in a segment, the window scaled.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Ack {
    pub seq: Seq,
    pub ack: Seq,
    pub window: usize,
    pub sack: Ranges,
    /// Whether the segment is nothing but an acknowledgement.
    pub bare: bool,
}

impl Sender {
    /// A direction that begins at `first`, which its SYN takes.
    pub(in crate::net) fn new(first: Seq, segment_size: u16) -> Self {
        Self {
            una: first,
            nxt: first,
            fin: None,
            segment_size,
            sack_permitted: false,
            timeout: Timeout::new(),
            window: 0,
            scale: 0,
            told_by: (first, first),
            flight: Flight::new(first),
            congestion: Congestion::new(),
            recovery: None,
            urgent: false,
            doubt: None,
            probe: Probe::Not,
            probed: None,
            waiting: None,
            duplicates: 0,
        }
    }

    /// Takes in what the container said in its SYN.
    pub(in crate::net) fn agree(&mut self, seq: Seq, window: u16, scale: u8, segment_size: u16, sack: bool) {
        self.window = window.into();
        self.scale = scale;
        self.segment_size = segment_size;
        self.sack_permitted = sack;
        self.told_by = (seq, self.una);
    }

    /// A window field of a segment that is no SYN, in bytes.
    pub(in crate::net) fn scaled(&self, window: u16) -> usize {
        usize::from(window) << self.scale
    }

    pub(in crate::net) fn in_flight(&self) -> usize {
        self.nxt.after(self.una)
    }

    pub(in crate::net) fn window_is_shut(&self) -> bool {
        self.window == 0
    }

    fn size(&self) -> usize {
        self.segment_size.into()
    }

    /// Bytes that may be sent from `nxt` on.
    pub(in crate::net) fn room(&self) -> usize {
        self.window.saturating_sub(self.in_flight()).min(self.spare())
    }

    /// What the congestion window has left.
    fn spare(&self) -> usize {
        let departed = self.duplicates * self.size();
        self.congestion.window().saturating_sub(self.flight.away().saturating_sub(departed))
    }

    /// Notes that `length` sequence numbers from `nxt` on were sent.
    pub(in crate::net) fn sent(&mut self, length: usize, now: Instant) {
        let from = self.nxt;
        if self.in_flight() == 0 {
            self.waiting = Some(now);
        }
        self.nxt += length;
        self.flight.sent(from, self.nxt, now);
    }

    /// Notes that the oldest byte was sent again.
    pub(in crate::net) fn sent_again(&mut self, now: Instant) {
        self.flight.resent(self.una, self.una + 1, now);
    }

    /// Takes in an acknowledgement.
    pub(in crate::net) fn acknowledge(&mut self, ack: &Ack, now: Instant) -> Acked {
        if ack.ack.since(self.nxt) > 0 {
            return Acked::Unsent;
        }
        if ack.ack.before(self.una) {
            return Acked::Nothing;
        }
        let same_window = ack.window == self.window;
        let (seq, by) = self.told_by;
        if seq.before(ack.seq) || seq == ack.seq && !ack.ack.before(by) {
            self.window = ack.window;
            self.told_by = (ack.seq, ack.ack);
        }
        let advanced = ack.ack.after(self.una);
        let in_flight = self.in_flight();
        let (mut news, mut twice) = (0, None);
        if advanced > 0 {
            news = self.flight.acknowledged(ack.ack, now);
            self.una = ack.ack;
            self.timeout.progress();
            self.probe = Probe::Not;
            self.waiting = Some(now);
        }
        if self.sack_permitted {
            let (more, again) = self.note_arrived(&ack.sack, now);
            (news, twice) = (news + more, again);
        }
        if let Some(trip) = self.flight.trip() {
            self.timeout.measure(trip);
        }
        self.congestion.arrived(news, self.timeout.smoothed(), now);
        if self.sack_permitted {
            self.judge(now);
        } else {
            let duplicate = advanced == 0 && in_flight > 0 && ack.bare && same_window;
            self.judge_by_duplicates(duplicate, advanced);
        }
        self.recover(in_flight, advanced);
        let says_nothing = advanced == 0 && ack.bare && same_window && ack.sack[0].is_none();
        self.weigh_probe(twice, says_nothing, in_flight);
        if advanced > 0 { Acked::New(advanced) } else { Acked::Nothing }
    }

    /// A loss that a probe has repaired is a loss, and slows down as any other, RFC 8985 §7.4. It was none if the
    /// container has got what it was sent `twice`, or answers both, the second time with nothing to say.
    fn weigh_probe(&mut self, twice: Option<Seq>, says_nothing: bool, in_flight: usize) {
        let Some(end) = self.probed.filter(|end| !self.una.before(*end)) else { return };
        if twice == Some(end) || says_nothing {
            self.probed = None;
        } else if end.before(self.una) {
            self.probed = None;
            self.congestion.lose(in_flight, self.least_trip(), self.size());
        }
    }

    /// Adds what the container says it has, if it was sent. How many bytes that was not known of, and the end of what
    /// it has got twice.
    fn note_arrived(&mut self, ranges: &Ranges, now: Instant) -> (usize, Option<Seq>) {
        let (mut news, mut twice) = (0, None);
        for (from, to) in ranges.iter().flatten().copied() {
            if !from.before(to) || to.since(self.nxt) > 0 {
                continue;
            }
            if self.una.before(from) {
                news += self.flight.arrived(from, to, now);
            } else if to.since(self.una) <= 0 {
                // RFC 2883.
                self.flight.hurried(self.una, self.nxt);
                twice = Some(to);
            }
        }
        (news, twice)
    }

    /// Looks once more for what is lost, if it is time.
    pub(in crate::net) fn look_again(&mut self, now: Instant) {
        if self.doubt.is_some_and(|at| at <= now) {
            self.judge(now);
            self.recover(self.in_flight(), 0);
        }
    }

    /// When [`Sender::look_again`] has something to do.
    pub(in crate::net) fn doubt(&self) -> Option<Instant> {
        self.doubt
    }

    fn judge(&mut self, now: Instant) {
        let recovering = self.recovery.is_some();
        self.doubt = self.flight.judge(self.size(), recovering, self.timeout.smoothed(), now);
    }

    /// The same as far as it goes without ranges, RFC 6582.
    fn judge_by_duplicates(&mut self, duplicate: bool, advanced: usize) {
        match self.recovery {
            // Sent again from the start: it says nothing.
            Some(Recovery { by_timeout: true, .. }) => self.duplicates = 0,
            Some(recovery) if advanced > 0 => {
                self.duplicates = 0;
                if self.una.before(recovery.end) {
                    self.flight.lose_first(self.size());
                    self.urgent = true;
                }
            }
            _ if advanced > 0 => self.duplicates = 0,
            _ if duplicate => {
                self.duplicates += 1;
                if self.duplicates == DUPLICATES && self.recovery.is_none() {
                    self.flight.lose_first(self.size());
                }
            }
            _ => {}
        }
    }

    /// Begins to recover if something is lost, ends if nothing can be any more.
    fn recover(&mut self, in_flight: usize, advanced: usize) {
        if self.recovery.is_some_and(|recovery| !self.una.before(recovery.end)) {
            self.recovery = None;
            self.flight.mended();
        }
        match self.recovery {
            None if self.flight.lost().is_some() => {
                self.recovery = Some(Recovery { end: self.nxt, by_timeout: false });
                self.congestion.lose(in_flight, self.least_trip(), self.size());
                (self.urgent, self.probed) = (true, None);
            }
            Some(Recovery { by_timeout: false, .. }) => {}
            _ if advanced > 0 => self.congestion.grow(advanced, self.size()),
            _ => {}
        }
    }

    fn least_trip(&self) -> Duration {
        self.flight.least_trip().unwrap_or_default()
    }

    /// The next piece to be sent again, of at most so many bytes. Counts as sent.
    pub(in crate::net) fn lost(&mut self, most: usize, now: Instant) -> Option<(Seq, usize)> {
        let (from, to) = self.flight.lost()?;
        let size = self.size();
        let spare = if self.urgent { self.spare().max(size) } else { self.spare() };
        let mut length = to.after(from);
        if length > spare.min(most) {
            // Whole segments.
            length = spare.min(most) / size * size;
        }
        if length == 0 {
            return None;
        }
        self.urgent = false;
        self.flight.resent(from, from + length, now);
        Some((from, length))
    }

    /// Until when to wait for the container to say something about what is on its way.
    pub(in crate::net) fn patience(&mut self, now: Instant) -> Instant {
        let timeout = now + self.timeout.get();
        // Without a round trip to reckon with it is a second, and no sooner than the timeout.
        let asks = self.sack_permitted
            && self.recovery.is_none()
            && self.in_flight() > self.size()
            && self.timeout.is_measured();
        let sooner = now + self.timeout.smoothed() * 2 + TARDINESS;
        if asks && self.probe != Probe::Done && sooner < timeout {
            self.probe = Probe::Armed;
            // Not put off for ever by what is sent meanwhile.
            return sooner.min(self.waiting.unwrap_or(now) + self.timeout.get());
        }
        if self.probe == Probe::Armed {
            self.probe = Probe::Not;
        }
        timeout
    }

    /// Whether the timer runs for a probe, which is due only a while after the last segment.
    pub(in crate::net) fn probes(&self) -> bool {
        self.probe == Probe::Armed
    }

    /// The timer has run out.
    pub(in crate::net) fn silence(&mut self, now: Instant) -> Silence {
        if self.probe != Probe::Armed {
            self.time_out();
            return Silence::Over;
        }
        self.probe = Probe::Done;
        if self.recovery.is_some() {
            return Silence::Wait;
        }
        let length = self.in_flight().min(self.size());
        let from = self.una + (self.in_flight() - length);
        self.flight.resent(from, self.nxt, now);
        self.probed = Some(self.nxt);
        Silence::Probe(from, length)
    }

    /// Nothing was heard for too long: everything goes again, slowly at first.
    fn time_out(&mut self) {
        self.congestion.time_out(self.in_flight(), self.least_trip(), self.size());
        self.flight.lose_all(self.timeout.is_backing_off());
        self.recovery = Some(Recovery { end: self.nxt, by_timeout: true });
        (self.urgent, self.doubt, self.duplicates, self.probed) = (true, None, 0, None);
        self.timeout.back_off();
    }

    /// Whether the container has everything, the FIN included.
    pub(in crate::net) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin.before(self.una))
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::net) mod strange;
#[cfg(test)]
mod tests;
