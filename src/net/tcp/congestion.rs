//! How much may be on its way to the container at a time, RFC 5681.
//!
//! After a loss it is as much as the link was seen to carry in its shortest round trip, as in TCP Westwood+ (Grieco and
//! Mascolo, 2004), and at least the half that RFC 5681 asks for: a link that is full has more than that in its queue
//! and is relieved of it; one that loses at random, with nothing in its queue, is not slowed down.

use std::time::{Duration, Instant};

/// The first window in bytes: one packet of the link. There is no queue behind the link that it could flood, so it is
/// more than the ten segments of RFC 6928.
const FIRST: usize = 64 << 10;
const LARGEST: usize = 16 << 20;

#[derive(Debug)]
pub(in crate::net) struct Congestion {
    /// Bytes that may be on their way.
    window: usize,
    /// Up to where the window grows quickly.
    threshold: usize,
    /// Bytes in a second that arrive; a rate seen once is forgotten slowly.
    rate: f64,
    /// Bytes that have arrived since then.
    counted: usize,
    since: Option<Instant>,
}

impl Congestion {
    pub(in crate::net) fn new() -> Self {
        Self { window: FIRST, threshold: usize::MAX, rate: 0.0, counted: 0, since: None }
    }

    pub(in crate::net) fn window(&self) -> usize {
        self.window
    }

    /// So many bytes have arrived, in order or not, on a link of this round trip.
    #[allow(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub(in crate::net) fn arrived(&mut self, bytes: usize, trip: Duration, now: Instant) {
        self.counted += bytes;
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= trip && !elapsed.is_zero() {
            let rate = self.counted as f64 / elapsed.as_secs_f64();
            self.rate = rate.max(self.rate * 7.0 / 8.0);
            self.counted = 0;
            self.since = Some(now);
        }
    }

    /// So many bytes are acknowledged, and nothing is lost.
    pub(in crate::net) fn grow(&mut self, acknowledged: usize, segment_size: usize) {
        let more = if self.window < self.threshold {
            acknowledged
        } else {
            (segment_size * acknowledged / self.window).max(1)
        };
        self.window = (self.window + more).min(LARGEST);
    }

    /// Something of the `in_flight` bytes was lost.
    pub(in crate::net) fn lose(&mut self, in_flight: usize, least: Duration, segment_size: usize) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds below")]
        let carried = (self.rate * least.as_secs_f64()) as usize;
        self.threshold = carried.clamp(in_flight / 2, in_flight).max(2 * segment_size);
        self.window = self.threshold;
    }

    /// Nothing was heard for too long.
    pub(in crate::net) fn time_out(&mut self, in_flight: usize, least: Duration, segment_size: usize) {
        self.lose(in_flight, least, segment_size);
        self.window = segment_size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(4);

    /// A window in each round trip, which takes longer than the link's by `queueing`.
    fn after_trips(window: usize, queueing: Duration) -> Congestion {
        let mut congestion = Congestion::new();
        let mut now = Instant::now();
        for _ in 0..20 {
            congestion.arrived(window, TRIP + queueing, now);
            now += TRIP + queueing;
        }
        congestion
    }

    #[test]
    fn a_random_loss_slows_nobody_down() {
        let mut congestion = after_trips(400_000, Duration::ZERO);
        congestion.lose(400_000, TRIP, 1460);
        assert!(congestion.window() > 390_000, "{congestion:?}");
    }

    #[test]
    fn a_full_link_is_relieved() {
        let mut congestion = after_trips(400_000, TRIP / 2);
        congestion.lose(400_000, TRIP, 1460);
        assert!((260_000..270_000).contains(&congestion.window()), "{congestion:?}");
        let mut congestion = after_trips(400_000, 9 * TRIP);
        congestion.lose(400_000, TRIP, 1460);
        assert_eq!(congestion.window(), 200_000);
    }

    #[test]
    fn silence_begins_anew() {
        let mut congestion = after_trips(400_000, Duration::ZERO);
        congestion.time_out(400_000, TRIP, 1460);
        assert_eq!(congestion.window(), 1460);
        for _ in 0..8 {
            congestion.grow(congestion.window(), 1460);
        }
        assert_eq!(congestion.window(), 1460 << 8);
    }
}
