//! A sender under acknowledgements that no container sends: of what it never got, of ranges that overlap, end before
//! they begin or lie anywhere, with windows of nothing and of a byte, around the end of the number space. Whatever it
//! was told, it stays sound and bounded, and mends everything once the container is honest.
//!
//! What is said and when, a seed decides in tests, and the input under a fuzzer.

use std::time::{Duration, Instant};

use super::{Ack, Acked, Sender, Seq, Silence};

/// Bytes of the largest packet.
const LARGEST: usize = 64_000;
const WINDOWS: [usize; 7] = [0, 1, 63, 1460, 65_000, 1 << 20, 1 << 30];

/// Who decides.
trait Choices {
    /// Below `end`.
    fn below(&mut self, end: usize) -> usize;

    /// True in so many of a thousand cases.
    fn per_mille(&mut self, of: usize) -> bool {
        self.below(1000) < of
    }

    fn number(&mut self) -> u32 {
        let (high, low) = (self.below(1 << 16), self.below(1 << 16));
        u32::try_from(high << 16 | low).unwrap_or_default()
    }
}

/// A fuzzer's input; nothing but zeros behind its end.
#[cfg(fuzzing)]
struct Input<'a>(&'a [u8]);

#[cfg(fuzzing)]
impl Choices for Input<'_> {
    fn below(&mut self, end: usize) -> usize {
        let most = end.saturating_sub(1);
        let width = usize::try_from(most.checked_ilog2().map_or(0, |log| log / 8 + 1)).unwrap_or(8);
        let (bytes, rest) = self.0.split_at(width.min(self.0.len()));
        self.0 = rest;
        bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % end.max(1)
    }
}

/// The whole game as the input has it.
#[cfg(fuzzing)]
pub(in crate::net) fn play(bytes: &[u8]) {
    let mut play = Play::new(Input(bytes));
    while !play.choices.0.is_empty() {
        play.hostile();
    }
    play.honest();
}

struct Play<C> {
    tx: Sender,
    choices: C,
    /// Whether the container tells what it has beyond a gap, once it is honest.
    tells: bool,
    now: Instant,
    timer: Option<Instant>,
    /// What was sent or sent again since somebody last looked.
    said: Vec<(Seq, usize)>,
}

impl<C: Choices> Play<C> {
    fn new(mut choices: C) -> Self {
        // Half of them cross the end of the numbers.
        let ahead = choices.number() >> 12;
        let first = Seq(if choices.per_mille(500) { u32::MAX - ahead } else { ahead });
        let mut tx = Sender::new(first, 1460);
        let size = [28, 64, 536, 1460, 8960][choices.below(5)];
        let (sack, tells) = (choices.per_mille(800), choices.per_mille(500));
        tx.agree(Seq(0), 0, 0, size, sack);
        let now = Instant::now();
        tx.sent(1, now);
        let mut play = Self { tx, choices, tells, now, timer: None, said: Vec::new() };
        play.acknowledge(first + 1, 65_000, [None; 3]);
        play
    }

    fn acknowledge(&mut self, ack: Seq, window: usize, sack: [Option<(Seq, Seq)>; 3]) {
        let bare = self.choices.per_mille(900);
        let ack = Ack { seq: Seq(1), ack, window, sack, bare };
        if matches!(self.tx.acknowledge(&ack, self.now), Acked::New(_)) {
            self.timer = None;
        }
    }

    /// What a flow does after each batch, with a host that has always more to say.
    fn pump(&mut self) {
        let size = usize::from(self.tx.segment_size);
        while let Some((seq, length)) = self.tx.lost(LARGEST / size * size, self.now) {
            assert!(!seq.before(self.tx.una) && !self.tx.nxt.before(seq + length) && length > 0);
            self.said.push((seq, length));
        }
        for _ in 0..8 {
            let room = self.tx.room();
            if room == 0 || room < size && self.tx.in_flight() > 0 {
                break;
            }
            let length = room.min(1 + self.choices.below(LARGEST));
            self.said.push((self.tx.nxt, length));
            self.tx.sent(length, self.now);
        }
        if self.tx.in_flight() == 0 {
            self.timer = None;
        } else if self.timer.is_none() {
            self.timer = Some(self.tx.patience(self.now));
        }
        self.check();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tx.look_again(self.now);
        if self.timer.is_some_and(|at| at <= self.now) {
            self.timer = None;
            if let Silence::Probe(seq, length) = self.tx.silence(self.now) {
                assert!(!seq.before(self.tx.una) && seq + length == self.tx.nxt);
                self.said.push((seq, length));
            }
        }
    }

    fn check(&self) {
        let tx = &self.tx;
        assert!(tx.flight.is_sound(tx.una, tx.nxt), "{tx:?}");
        assert!(tx.flight.away() <= tx.in_flight(), "{tx:?}");
        assert!(tx.congestion.window() >= tx.size(), "{tx:?}");
        assert!(tx.doubt.is_none_or(|at| at > self.now), "{tx:?}");
    }

    /// A number near what is on its way, mostly.
    fn anywhere(&mut self) -> Seq {
        let around = self.tx.in_flight() + 4000;
        match self.choices.below(20) {
            0 => Seq(self.choices.number()),
            1 => self.tx.una,
            2 => self.tx.nxt,
            _ => Seq(self.tx.una.0.wrapping_sub(2000)) + self.choices.below(around),
        }
    }

    fn hostile(&mut self) {
        match self.choices.below(10) {
            0..=1 => {
                let ack = self.anywhere();
                self.strange(ack);
            }
            2..=6 => self.strange(self.tx.una),
            7 => {
                let micros = self.choices.number() % 2000;
                self.pass(Duration::from_micros(micros.into()));
            }
            8 => {
                let millis = self.choices.number() % 400;
                self.pass(Duration::from_millis(millis.into()));
            }
            // The clock may be read before what was noted last.
            _ => self.now = self.now.checked_sub(Duration::from_micros(3)).unwrap_or(self.now),
        }
        if self.choices.per_mille(700) {
            self.pump();
        }
    }

    fn strange(&mut self, ack: Seq) {
        let window = WINDOWS[self.choices.below(WINDOWS.len())];
        let mut sack = [None; 3];
        for range in &mut sack {
            if self.choices.per_mille(500) {
                let from = self.anywhere();
                let length = self.choices.below(3 * usize::from(self.tx.segment_size));
                let to = if self.choices.per_mille(50) { self.anywhere() } else { from + length };
                *range = Some((from, to));
            }
        }
        self.acknowledge(ack, window, sack);
    }

    /// From now on the container tells what it has, and has all that reaches it.
    fn honest(&mut self) {
        self.said.clear();
        let end = self.tx.nxt;
        let mut here: Vec<(Seq, usize)> = Vec::new();
        self.acknowledge(self.tx.una, 1 << 20, [None; 3]);
        for _ in 0..200_000 {
            if !self.tx.una.before(end) {
                return;
            }
            self.pump();
            here.append(&mut self.said);
            let mut next = self.tx.una;
            while let Some(at) = here
                .iter()
                .position(|(from, length)| from.since(next) <= 0 && (*from + *length).since(next) > 0)
            {
                let (from, length) = here.swap_remove(at);
                next = from + length;
            }
            here.retain(|(from, length)| (*from + *length).since(next) > 0);
            let mut sack = [None; 3];
            if self.tells {
                for (range, (from, length)) in sack.iter_mut().zip(here.iter().rev()) {
                    *range = Some((*from, *from + *length));
                }
            }
            if next == self.tx.una {
                let until = self.timer.expect("a timer while something is on its way");
                self.pass(until.saturating_duration_since(self.now) + Duration::from_micros(1));
            } else {
                self.pass(Duration::from_micros(100));
            }
            self.acknowledge(next, 1 << 20, sack);
        }
        panic!("stuck: {:?}", self.tx);
    }
}

#[cfg(test)]
mod tests {
    use super::{Choices, Play};
    use crate::net::tests::Random;

    const SEEDS: u64 = 40;

    impl Choices for Random {
        fn below(&mut self, end: usize) -> usize {
            Self::below(self, end)
        }
    }

    #[test]
    fn whatever_it_is_told_it_stays_sound_and_mends_everything() {
        for seed in 0..SEEDS {
            let mut play = Play::new(Random::new(seed));
            for _ in 0..3000 {
                play.hostile();
            }
            play.honest();
        }
    }
}
