//! The direction from the container: which bytes are next, how far the window reaches, what came ahead of a gap.

use super::segment::{Ranges, Segment};
use super::seq::Seq;

/// Our scale, RFC 7323: windows up to 16 MiB, in steps of 256 bytes.
pub(in crate::net) const SCALE: u8 = 8;
/// Bytes of one connection that may wait for others before them.
const AHEAD: usize = 512 << 10;
/// Pieces that may.
const PIECES: usize = 256;

/// What is received from the container.
#[derive(Debug)]
pub(in crate::net) struct Receiver {
    /// The next byte.
    pub nxt: Seq,
    /// Up to where the container was told that it may send. Never goes back.
    edge: Seq,
    /// Whether the FIN was taken.
    pub finished: bool,
    scale: u8,
    /// What came ahead, sorted and apart.
    ahead: Vec<(Seq, Vec<u8>)>,
    /// Which piece came last: it is told first, RFC 2018.
    latest: Option<Seq>,
}

/// What a segment is to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Place {
    /// Some of it is in the window.
    Inside,
    /// All of it is before or behind the window. An acknowledgement tells the container so.
    Outside,
}

impl Receiver {
    /// A direction whose SYN is at `first`.
    pub(in crate::net) fn new(first: Seq, scale: u8) -> Self {
        let nxt = first + 1;
        Self { nxt, edge: nxt, finished: false, scale, ahead: Vec::new(), latest: None }
    }

    /// Whether nothing came ahead of a gap.
    pub(in crate::net) fn is_whole(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Whether both ends scale their windows.
    pub(in crate::net) fn is_scaled(&self) -> bool {
        self.scale > 0
    }

    /// The window field that offers `room` bytes, and no fewer than were offered before.
    pub(in crate::net) fn offer(&mut self, room: usize) -> u16 {
        let fresh = (room >> self.scale).min(u16::MAX.into());
        self.edge = self.edge.max(self.nxt + (fresh << self.scale));
        u16::try_from(self.edge.after(self.nxt) >> self.scale).unwrap_or(u16::MAX)
    }

    /// What a SYN offers: its field is never scaled.
    pub(in crate::net) fn offer_unscaled(&mut self, room: usize) -> u16 {
        let field = u16::try_from(room).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.nxt + usize::from(field));
        field
    }

    /// How many bytes the container may still send.
    pub(in crate::net) fn offered(&self) -> usize {
        self.edge.after(self.nxt)
    }

    /// RFC 9293 §3.10.7.4, first step.
    pub(in crate::net) fn place(&self, segment: &Segment<'_>) -> Place {
        let length = segment.length();
        let (first, offered) = (segment.seq.since(self.nxt), self.offered());
        let inside = match (length, offered) {
            (0, 0) => first == 0,
            (0, _) => first >= 0 && segment.seq.after(self.nxt) < offered,
            (_, 0) => false,
            _ => (segment.seq + length).since(self.nxt) > 0 && segment.seq.before(self.edge),
        };
        if inside { Place::Inside } else { Place::Outside }
    }

    /// The part of a segment's payload that lies in the window, and where it begins.
    pub(in crate::net) fn trim<'a>(&self, segment: &Segment<'a>) -> (Seq, &'a [u8]) {
        let known = self.nxt.after(segment.seq).min(segment.payload.len());
        let start = segment.seq + known;
        let bytes = &segment.payload[known..];
        (start, &bytes[..bytes.len().min(self.edge.after(start))])
    }

    /// Keeps bytes that are ahead of a gap. How many more are kept now.
    pub(in crate::net) fn keep(&mut self, mut start: Seq, mut bytes: &[u8]) -> usize {
        let held: usize = self.ahead.iter().map(|(_, b)| b.len()).sum();
        if bytes.is_empty() || held + bytes.len() > AHEAD || self.ahead.len() >= PIECES {
            return 0;
        }
        self.latest = Some(start);
        let mut kept = 0;
        let mut at = self.ahead.partition_point(|(s, b)| (*s + b.len()).since(start) <= 0);
        // Whatever is there already stays; only what is between the pieces is new.
        while !bytes.is_empty() {
            let (fresh, known) = match self.ahead.get(at) {
                Some((next, have)) => {
                    (next.after(start).min(bytes.len()), (*next + have.len()).after(start).min(bytes.len()))
                }
                None => (bytes.len(), bytes.len()),
            };
            if fresh > 0 {
                self.ahead.insert(at, (start, bytes[..fresh].to_vec()));
                kept += fresh;
                at += 1;
            }
            at += 1;
            bytes = &bytes[known..];
            start += known;
        }
        kept
    }

    /// A piece that begins where the stream now is, or before; without what is known of it.
    pub(in crate::net) fn next_piece(&mut self) -> Option<(usize, Vec<u8>)> {
        let (start, _) = self.ahead.first()?;
        if start.since(self.nxt) > 0 {
            return None;
        }
        let (start, mut bytes) = self.ahead.remove(0);
        let held = bytes.len();
        bytes.drain(..self.nxt.after(start).min(held));
        Some((held, bytes))
    }

    /// Throws away what came ahead. How many bytes that was.
    pub(in crate::net) fn forget(&mut self) -> usize {
        self.ahead.drain(..).map(|(_, b)| b.len()).sum()
    }

    /// What came ahead, as it is told to the container: the latest first.
    pub(in crate::net) fn ahead(&self) -> Ranges {
        let mut ranges = [None; 3];
        if self.ahead.is_empty() {
            return ranges;
        }
        let mut runs: Vec<(Seq, Seq)> = Vec::new();
        for (start, bytes) in &self.ahead {
            let end = *start + bytes.len();
            match runs.last_mut() {
                Some((_, last)) if *last == *start => *last = end,
                _ => runs.push((*start, end)),
            }
        }
        if let Some(latest) = self.latest
            && let Some(at) = runs.iter().position(|(s, e)| !latest.before(*s) && latest.before(*e))
        {
            let first = runs.remove(at);
            runs.insert(0, first);
        }
        for (to, run) in ranges.iter_mut().zip(runs) {
            *to = Some(run);
        }
        ranges
    }
}
