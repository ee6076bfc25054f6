//! How long to wait for an acknowledgement, RFC 6298.

use std::time::Duration;

/// Before anything was measured.
const INITIAL: Duration = Duration::from_secs(1);
/// The RFC says a second; every kernel says this, and the link is one hop long.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(60);

/// The retransmission timeout of one connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Timeout {
    /// Smoothed round trip and its variation, once measured.
    measured: Option<(Duration, Duration)>,
    /// How often in a row it ran out.
    doublings: u8,
}

impl Timeout {
    pub(in crate::net) fn new() -> Self {
        Self { measured: None, doublings: 0 }
    }

    /// How long to wait now.
    pub(in crate::net) fn get(&self) -> Duration {
        let base =
            self.measured.map_or(INITIAL, |(smoothed, variation)| (smoothed + 4 * variation).max(LEAST));
        base.saturating_mul(1 << self.doublings.min(10)).min(MOST)
    }

    /// The usual round trip; zero before anything was measured.
    pub(in crate::net) fn smoothed(&self) -> Duration {
        self.measured.map_or(Duration::ZERO, |(smoothed, _)| smoothed)
    }

    /// Takes in a round trip of something that was sent once.
    pub(in crate::net) fn measure(&mut self, trip: Duration) {
        self.measured = Some(match self.measured {
            None => (trip, trip / 2),
            Some((smoothed, variation)) => {
                let variation = (variation * 3 + smoothed.abs_diff(trip)) / 4;
                ((smoothed * 7 + trip) / 8, variation)
            }
        });
        self.doublings = 0;
    }

    /// Waits twice as long from now on.
    pub(in crate::net) fn back_off(&mut self) {
        self.doublings = self.doublings.saturating_add(1);
    }

    /// Whether it has run out since something new was acknowledged.
    pub(in crate::net) fn is_backing_off(&self) -> bool {
        self.doublings > 0
    }

    /// Something new was acknowledged.
    pub(in crate::net) fn progress(&mut self) {
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LEAST, MOST, Timeout};

    #[test]
    fn follows_the_round_trip() {
        let mut timeout = Timeout::new();
        assert_eq!(timeout.get(), Duration::from_secs(1));
        timeout.measure(Duration::from_millis(400));
        assert_eq!(timeout.get(), Duration::from_millis(1200));
        for _ in 0..200 {
            timeout.measure(Duration::from_millis(400));
        }
        assert!(timeout.get() < Duration::from_millis(410));
        for _ in 0..200 {
            timeout.measure(Duration::from_micros(50));
        }
        assert_eq!(timeout.get(), LEAST);
    }

    #[test]
    fn doubles_up_to_a_minute_and_comes_back() {
        let mut timeout = Timeout::new();
        timeout.back_off();
        assert_eq!(timeout.get(), Duration::from_secs(2));
        for _ in 0..300 {
            timeout.back_off();
        }
        assert_eq!(timeout.get(), MOST);
        timeout.progress();
        assert_eq!(timeout.get(), Duration::from_secs(1));
    }
}
