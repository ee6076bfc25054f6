//! The direction towards the container: what may be sent, what was lost, RFC 9293, 5681, 6582 and 6675.
//!
//! It knows sequence numbers and no bytes: those stay in the host's socket until they are acknowledged.

use std::time::Instant;

use super::segment::Ranges;
use super::seq::Seq;
use super::timeout::Timeout;

/// The first congestion window in bytes: one packet of the link. There is no queue behind the link that it could
/// flood, so it is more than the ten segments of RFC 6928.
const FIRST_WINDOW: usize = 64 << 10;
const LARGEST_WINDOW: usize = 16 << 20;
/// Acknowledgements that say the same before what follows counts as lost.
const DUPLICATES: u8 = 3;
/// Ranges that are remembered as having arrived ahead of a gap.
const SCOREBOARD: usize = 64;

/// What is sent to the container and what it has said about it.
#[derive(Debug)]
pub(in crate::net) struct Sender {
    /// The oldest byte that is not acknowledged.
    pub una: Seq,
    /// The next to be sent; goes back when everything has to be sent again.
    pub nxt: Seq,
    /// Behind the last that ever was sent.
    pub top: Seq,
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
    congestion_window: usize,
    threshold: usize,
    /// While recovering from a loss: `top` at its start.
    recovery: Option<Seq>,
    /// A timeout was at this `top`: duplicates below it say nothing.
    guard: Option<Seq>,
    /// Up to where gaps were filled in this recovery.
    filled: Seq,
    /// Bytes that may be sent in this recovery: as many as have left the link.
    allowance: usize,
    duplicates: u8,
    arrived: Vec<(Seq, Seq)>,
    /// A byte whose acknowledgement measures the round trip, and when it was sent.
    timed: Option<(Seq, Instant)>,
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
            top: first,
            fin: None,
            segment_size,
            sack_permitted: false,
            timeout: Timeout::new(),
            window: 0,
            scale: 0,
            told_by: (first, first),
            congestion_window: FIRST_WINDOW,
            threshold: usize::MAX,
            recovery: None,
            guard: None,
            filled: first,
            allowance: 0,
            duplicates: 0,
            arrived: Vec::new(),
            timed: None,
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

    /// Bytes that may be sent from `nxt` on.
    pub(in crate::net) fn room(&self) -> usize {
        let window = self.window.saturating_sub(self.in_flight());
        match self.recovery {
            Some(_) => window.min(self.allowance),
            None => window.min(self.congestion_window.saturating_sub(self.in_flight())),
        }
    }

    /// Notes that `length` sequence numbers from `nxt` on were sent.
    pub(in crate::net) fn sent(&mut self, length: usize, now: Instant) {
        let fresh = !self.nxt.before(self.top);
        self.nxt += length;
        self.top = self.top.max(self.nxt);
        self.allowance = self.allowance.saturating_sub(length);
        if fresh && self.timed.is_none() && self.recovery.is_none() {
            self.timed = Some((self.nxt, now));
        }
    }

    /// Takes in an acknowledgement.
    pub(in crate::net) fn acknowledge(&mut self, ack: &Ack, now: Instant) -> Acked {
        if ack.ack.since(self.top) > 0 {
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
        let before = self.arrived_bytes();
        let advanced = ack.ack.after(self.una);
        if advanced > 0 {
            self.advance(ack.ack, advanced, now);
        }
        self.note_arrived(&ack.sack);
        let arrived = self.arrived_bytes();
        let news = arrived.saturating_sub(before);
        if advanced == 0 && self.in_flight() > 0 && ack.bare && (same_window || news > 0) {
            self.duplicates = self.duplicates.saturating_add(1);
            let reordered = usize::from(DUPLICATES) * usize::from(self.segment_size);
            if self.duplicates >= DUPLICATES || arrived > reordered {
                self.lose();
            }
            self.allowance += news.max(usize::from(self.segment_size));
        } else if self.recovery.is_some() {
            self.allowance += advanced + news;
        }
        if advanced > 0 { Acked::New(advanced) } else { Acked::Nothing }
    }

    fn advance(&mut self, to: Seq, advanced: usize, now: Instant) {
        self.una = to;
        self.nxt = self.nxt.max(to);
        self.filled = self.filled.max(to);
        self.duplicates = 0;
        self.arrived.retain(|(_, end)| to.before(*end));
        self.timeout.progress();
        if let Some((seq, at)) = self.timed
            && !to.before(seq)
        {
            self.timeout.measure(now.saturating_duration_since(at));
            self.timed = None;
        }
        if self.guard.is_some_and(|g| !to.before(g)) {
            self.guard = None;
        }
        match self.recovery {
            Some(end) if !to.before(end) => {
                self.recovery = None;
                self.congestion_window = self.threshold;
            }
            Some(_) => {}
            None if self.congestion_window < self.threshold => self.congestion_window += advanced,
            None => {
                let size = usize::from(self.segment_size);
                self.congestion_window += (size * advanced / self.congestion_window).max(1);
            }
        }
        self.congestion_window = self.congestion_window.min(LARGEST_WINDOW);
    }

    /// Begins to recover from a loss, unless it already does.
    fn lose(&mut self) {
        if self.recovery.is_some() || self.guard.is_some() {
            return;
        }
        self.threshold = (self.in_flight() / 2).max(2 * usize::from(self.segment_size));
        self.recovery = Some(self.top);
        self.filled = self.una;
        self.allowance = 0;
        self.timed = None;
    }

    fn arrived_bytes(&self) -> usize {
        self.arrived.iter().map(|(from, to)| to.after(*from)).sum()
    }

    /// Adds what the container says it has, if it was sent, and keeps the ranges sorted and apart.
    fn note_arrived(&mut self, ranges: &Ranges) {
        if !self.sack_permitted {
            return;
        }
        for (from, to) in ranges.iter().flatten().copied() {
            // A range below `una` says that something arrived twice, RFC 2883.
            if !from.before(to) || !self.una.before(from) || to.since(self.top) > 0 {
                continue;
            }
            if self.arrived.len() >= SCOREBOARD {
                return;
            }
            let at = self.arrived.partition_point(|(start, _)| start.before(from));
            self.arrived.insert(at, (from, to));
            let mut merged: Vec<(Seq, Seq)> = Vec::with_capacity(self.arrived.len());
            for (from, to) in self.arrived.drain(..) {
                match merged.last_mut() {
                    Some((_, end)) if !end.before(from) => *end = end.max(to),
                    _ => merged.push((from, to)),
                }
            }
            self.arrived = merged;
        }
    }

    /// The next piece to be sent again, `filled` told what was.
    pub(in crate::net) fn lost(&mut self) -> Option<(Seq, usize)> {
        self.recovery?;
        let (start, end) = self.gap()?;
        let length = end.after(start).min(usize::from(self.segment_size));
        // The first one goes whatever the allowance says: it is what the others wait for.
        if length == 0 || (self.allowance < length && start != self.una) {
            return None;
        }
        self.allowance = self.allowance.saturating_sub(length);
        self.filled = start + length;
        Some((start, length))
    }

    fn gap(&self) -> Option<(Seq, Seq)> {
        let mut start = self.filled.max(self.una);
        for (from, to) in &self.arrived {
            if start.before(*from) {
                return Some((start, *from));
            }
            start = start.max(*to);
        }
        // Without any range the first segment is what is missing.
        let first = self.arrived.is_empty() && self.filled == self.una;
        (first && self.una.before(self.top)).then_some((self.una, self.top))
    }

    /// Nothing was heard for too long: everything goes again, slowly at first.
    pub(in crate::net) fn time_out(&mut self) {
        self.threshold = (self.in_flight() / 2).max(2 * usize::from(self.segment_size));
        self.congestion_window = usize::from(self.segment_size);
        self.guard = Some(self.top);
        self.recovery = None;
        self.duplicates = 0;
        // RFC 2018: the receiver may have thrown away what it had said it has.
        self.arrived.clear();
        self.nxt = self.una;
        self.filled = self.una;
        self.timed = None;
        self.timeout.back_off();
    }

    /// Whether the container has everything, the FIN included.
    pub(in crate::net) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin.before(self.una))
    }
}
