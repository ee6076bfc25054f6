//! What is on its way to the container, and what of it is lost: RACK, RFC 8985.
//!
//! Every piece carries when it was last sent. Whatever was sent a while before something that has arrived, and has not
//! arrived itself, is lost, be it sent for the first time or again. Pieces are many bytes long as long as nothing is
//! lost, and bounded in number: a container that tells of more gaps is not listened to until some are filled.

use std::time::{Duration, Instant};

use super::seq::Seq;

/// Pieces of one connection. What is sent beyond them is noted as part of the last one, and so is what is sent again.
const MOST: usize = 256;
/// Segments that arrive behind a gap before it counts as one, RFC 5681.
const DUPLICATES: usize = 3;
/// The longest that reordering is waited for, in quarters of the shortest round trip.
const MOST_QUARTERS: u32 = 16;
/// Losses that are mended without anything arriving twice before the wait is as short as it was at first.
const MEMORY: u8 = 16;

/// What is known about a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Away,
    /// Selectively acknowledged.
    Arrived,
    /// To be sent again.
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    from: Seq,
    to: Seq,
    /// When it was sent last, and whether that was not the first time.
    at: Instant,
    again: bool,
    fate: Fate,
}

/// Everything between what is acknowledged and what was never sent, in order and without a gap.
#[derive(Debug)]
pub(in crate::net) struct Flight {
    pieces: Vec<Piece>,
    /// Every piece was sent once and nothing else is known about it.
    plain: bool,
    /// When that was sent which was sent last of all that arrived, where it ends, and how long it took.
    latest: Option<(Instant, Seq, Duration)>,
    /// The shortest round trip that was seen.
    least: Option<Duration>,
    /// The round trip of something sent once that has just arrived.
    trip: Option<Duration>,
    /// The end of all that arrived.
    furthest: Seq,
    /// Something came after what was sent later.
    reordered: bool,
    /// How long reordering is waited for, in quarters of the shortest round trip.
    quarters: u32,
    /// Until this is acknowledged it does not grow again: that takes a round trip.
    round: Seq,
    /// After how many more mended losses it is forgotten.
    memory: u8,
}

impl Flight {
    pub(in crate::net) fn new(first: Seq) -> Self {
        Self {
            pieces: Vec::new(),
            plain: true,
            latest: None,
            least: None,
            trip: None,
            furthest: first,
            reordered: false,
            quarters: 1,
            round: first,
            memory: 0,
        }
    }

    /// The bytes up to `to` were sent for the first time.
    pub(in crate::net) fn sent(&mut self, from: Seq, to: Seq, at: Instant) {
        let full = self.pieces.len() >= MOST;
        match self.pieces.last_mut() {
            Some(last) if last.fate == Fate::Away && !last.again && (last.at == at || full) => {
                (last.to, last.at) = (to, at);
            }
            _ => self.pieces.push(Piece { from, to, at, again: false, fate: Fate::Away }),
        }
    }

    /// The bytes from `from` to `to` were sent again.
    pub(in crate::net) fn resent(&mut self, from: Seq, to: Seq, at: Instant) {
        self.plain = false;
        let (first, end) = (self.cut(from), self.cut(to));
        for piece in &mut self.pieces[first..end] {
            (piece.at, piece.again, piece.fate) = (at, true, Fate::Away);
        }
        if self.pieces.len() > MOST {
            self.pieces.dedup_by(|next, kept| {
                let both = [*next, *kept].iter().all(|p| p.again && p.fate == Fate::Away);
                if both {
                    (kept.to, kept.at) = (next.to, next.at.max(kept.at));
                }
                both
            });
        }
    }

    /// Everything before `to` has arrived. How many bytes that was not known of.
    pub(in crate::net) fn acknowledged(&mut self, to: Seq, now: Instant) -> usize {
        let end = self.cut(to);
        let mut news = 0;
        for at in 0..end {
            news += self.deliver(self.pieces[at], now);
        }
        self.pieces.drain(..end);
        self.plain = self.plain || self.pieces.iter().all(|p| p.fate == Fate::Away && !p.again);
        if self.pieces.is_empty() && self.pieces.capacity() > 8 {
            self.pieces = Vec::new();
        }
        news
    }

    /// These have arrived, and something before them has not. How many bytes that was not known of.
    pub(in crate::net) fn arrived(&mut self, from: Seq, to: Seq, now: Instant) -> usize {
        if self.pieces.len() >= MOST {
            return 0;
        }
        self.plain = false;
        let (first, end) = (self.cut(from), self.cut(to));
        let mut news = 0;
        for at in first..end {
            news += self.deliver(self.pieces[at], now);
            self.pieces[at].fate = Fate::Arrived;
        }
        if news > 0 {
            self.pieces.dedup_by(|next, kept| {
                let both = next.fate == Fate::Arrived && kept.fate == Fate::Arrived;
                if both {
                    kept.to = next.to;
                }
                both
            });
        }
        news
    }

    /// Something arrived twice, of what is acknowledged up to `una`: it was sent again too soon.
    pub(in crate::net) fn hurried(&mut self, una: Seq, nxt: Seq) {
        self.reordered = true;
        self.memory = MEMORY;
        if !una.before(self.round) {
            self.quarters = (self.quarters + 1).min(MOST_QUARTERS);
            self.round = nxt;
        }
    }

    /// A loss is mended.
    pub(in crate::net) fn mended(&mut self) {
        self.memory = self.memory.saturating_sub(1);
        if self.memory == 0 {
            self.quarters = 1;
        }
    }

    /// Takes in that a piece has arrived.
    fn deliver(&mut self, piece: Piece, now: Instant) -> usize {
        if piece.fate == Fate::Arrived {
            return 0;
        }
        let trip = now.saturating_duration_since(piece.at);
        if !piece.again {
            self.reordered |= piece.to.before(self.furthest);
            self.least = Some(self.least.map_or(trip, |least| least.min(trip)));
            self.trip = Some(self.trip.map_or(trip, |other| other.min(trip)));
        }
        self.furthest = self.furthest.max(piece.to);
        // Sooner than any round trip: it was the first one that has arrived.
        let doubtful = piece.again && self.least.is_some_and(|least| trip < least);
        let later =
            |(at, to, _): (Instant, Seq, Duration)| at < piece.at || at == piece.at && to.before(piece.to);
        if !doubtful && self.latest.is_none_or(later) {
            self.latest = Some((piece.at, piece.to, trip));
        }
        piece.to.after(piece.from)
    }

    /// The round trip that the last acknowledgement measured.
    pub(in crate::net) fn trip(&mut self) -> Option<Duration> {
        self.trip.take()
    }

    pub(in crate::net) fn least_trip(&self) -> Option<Duration> {
        self.least
    }

    /// Marks what is lost. When to do that again, for what would be by then. `recovering` and three segments behind a
    /// gap: nothing is waited for where nothing was ever reordered. `most` is waited for at the most.
    pub(in crate::net) fn judge(
        &mut self,
        segment_size: usize,
        recovering: bool,
        most: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let (at, to, trip) = self.latest.filter(|_| !self.plain)?;
        let certain = recovering || self.bytes(Fate::Arrived) > (DUPLICATES - 1) * segment_size;
        let patience = match self.least {
            Some(least) if self.reordered || !certain => (least / 4 * self.quarters).min(most),
            _ => Duration::ZERO,
        };
        let mut again: Option<Instant> = None;
        for piece in self.pieces.iter_mut().filter(|p| p.fate == Fate::Away) {
            if piece.at > at || piece.at == at && !piece.to.before(to) {
                continue;
            }
            let due = piece.at + trip + patience;
            if due <= now {
                piece.fate = Fate::Lost;
            } else {
                again = Some(again.map_or(due, |other| other.min(due)));
            }
        }
        again
    }

    /// The first `length` bytes are lost.
    pub(in crate::net) fn lose_first(&mut self, length: usize) {
        let Some(first) = self.pieces.first() else { return };
        self.plain = false;
        self.cut(first.from + length);
        self.pieces[0].fate = Fate::Lost;
    }

    /// All that has not arrived is lost; all of it, if the container is `doubted`: RFC 2018 allows a receiver to throw
    /// away what it had said it has.
    pub(in crate::net) fn lose_all(&mut self, doubted: bool) {
        self.plain = false;
        for piece in self.pieces.iter_mut().filter(|p| doubted || p.fate != Fate::Arrived) {
            piece.fate = Fate::Lost;
        }
    }

    /// The first piece that is lost: where it begins and ends.
    pub(in crate::net) fn lost(&self) -> Option<(Seq, Seq)> {
        if self.plain {
            return None;
        }
        self.pieces.iter().find(|p| p.fate == Fate::Lost).map(|p| (p.from, p.to))
    }

    /// Bytes that are on their way.
    pub(in crate::net) fn away(&self) -> usize {
        match (self.pieces.first(), self.pieces.last()) {
            (Some(first), Some(last)) if self.plain => last.to.after(first.from),
            _ => self.bytes(Fate::Away),
        }
    }

    fn bytes(&self, fate: Fate) -> usize {
        self.pieces.iter().filter(|p| p.fate == fate).map(|p| p.to.after(p.from)).sum()
    }

    /// Whether the pieces are those from `una` to `nxt`, and no more of them than may be.
    #[cfg(any(test, fuzzing))]
    pub(in crate::net) fn is_sound(&self, una: Seq, nxt: Seq) -> bool {
        let ends = self.pieces.first().map_or(nxt, |p| p.from) == una
            && self.pieces.last().map_or(una, |p| p.to) == nxt;
        let joined = self.pieces.windows(2).all(|two| two[0].to == two[1].from);
        let full = self.pieces.iter().all(|p| p.from.before(p.to));
        ends && joined && full && self.pieces.len() <= MOST + 8
    }

    /// Has a piece begin at `at`, unless it is outside; which one.
    fn cut(&mut self, at: Seq) -> usize {
        let found = self.pieces.partition_point(|p| p.to.since(at) <= 0);
        match self.pieces.get_mut(found) {
            Some(piece) if piece.from.before(at) => {
                let rest = Piece { from: at, ..*piece };
                piece.to = at;
                self.pieces.insert(found + 1, rest);
                found + 1
            }
            _ => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1000;
    const TRIP: Duration = Duration::from_millis(4);

    /// Ten segments, a microsecond after each other, and when the last one arrives.
    fn ten(start: Instant) -> (Flight, Instant) {
        let mut flight = Flight::new(Seq(0));
        for n in 0..10 {
            flight.sent(segment(n).0, segment(n).1, start + Duration::from_micros(n.into()));
        }
        (flight, start + Duration::from_micros(9) + TRIP)
    }

    fn segment(n: u32) -> (Seq, Seq) {
        (Seq(n * 1000), Seq(n * 1000 + 1000))
    }

    fn judge(flight: &mut Flight, now: Instant) -> Option<Instant> {
        flight.judge(SIZE, false, TRIP, now)
    }

    #[test]
    fn a_gap_before_three_segments_is_lost_and_so_is_its_repair() {
        let (mut flight, now) = ten(Instant::now());
        assert_eq!(flight.acknowledged(Seq(2000), now), 2000);
        assert_eq!(flight.arrived(segment(3).0, segment(5).1, now), 3000);
        assert_eq!((judge(&mut flight, now), flight.lost()), (None, Some(segment(2))));
        assert_eq!(flight.away(), 4000);
        flight.resent(segment(2).0, segment(2).1, now);
        assert_eq!((flight.lost(), flight.away()), (None, 5000));
        // Sent after the repair, and here before it.
        flight.sent(segment(10).0, segment(10).1, now + TRIP / 4);
        flight.arrived(segment(6).0, segment(10).1, now + TRIP * 5 / 4);
        judge(&mut flight, now + TRIP * 5 / 4);
        assert_eq!(flight.lost(), Some(segment(2)));
    }

    #[test]
    fn less_is_waited_for_and_so_is_reordering() {
        let (mut flight, now) = ten(Instant::now());
        assert_eq!(flight.arrived(segment(1).0, segment(1).1, now), 1000);
        let again = judge(&mut flight, now).unwrap();
        assert!(flight.lost().is_none() && again > now && again < now + TRIP / 3);
        // It comes, late: from now on three segments are no proof.
        assert_eq!(flight.acknowledged(Seq(2000), now), 1000);
        flight.arrived(segment(3).0, segment(9).1, now);
        let again = judge(&mut flight, now).unwrap();
        assert!(flight.lost().is_none());
        judge(&mut flight, again);
        assert_eq!(flight.lost(), Some(segment(2)));
        // It was not lost either.
        flight.hurried(Seq(0), Seq(10_000));
        flight.resent(segment(2).0, segment(2).1, again);
        flight.acknowledged(Seq(10_000), again + TRIP);
        assert!(flight.plain && flight.away() == 0);
    }

    #[test]
    fn reordering_is_waited_for_longer_once_a_round_trip_and_forgotten_in_the_end() {
        let mut flight = Flight::new(Seq(0));
        flight.hurried(Seq(0), Seq(1000));
        flight.hurried(Seq(500), Seq(2000));
        assert_eq!(flight.quarters, 2, "both are of one round trip");
        flight.hurried(Seq(1000), Seq(2000));
        assert_eq!(flight.quarters, 3);
        for _ in 0..MEMORY - 1 {
            flight.mended();
        }
        assert_eq!(flight.quarters, 3);
        flight.mended();
        assert_eq!(flight.quarters, 1);
    }

    #[test]
    fn pieces_are_bounded() {
        let mut now = Instant::now();
        let mut flight = Flight::new(Seq(0));
        for n in 0..5000 {
            now += Duration::from_micros(1);
            flight.sent(Seq(n), Seq(n + 1), now);
        }
        for n in 0..2500 {
            flight.arrived(Seq(2 * n + 1), Seq(2 * n + 2), now);
        }
        assert!(flight.pieces.len() <= MOST + 1);
        assert!(flight.pieces.windows(2).all(|two| two[0].to == two[1].from));
        assert_eq!(flight.away() + flight.bytes(Fate::Arrived), 5000);
        flight.lose_all(true);
        assert_eq!(flight.lost().unwrap().0, Seq(0));
        flight.acknowledged(Seq(5000), now);
        assert_eq!(flight.pieces.capacity(), 0);
        // Lost as one and sent again in crumbs.
        flight.sent(Seq(5000), Seq(10_000), now);
        flight.lose_all(true);
        for n in 5000..10_000 {
            now += Duration::from_micros(1);
            flight.resent(Seq(n), Seq(n + 1), now);
        }
        assert!(flight.is_sound(Seq(5000), Seq(10_000)) && flight.away() == 5000);
    }
}
