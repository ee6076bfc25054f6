//! How long to wait for an acknowledgement, RFC 6298.

use std::time::Duration;

/// Before anything was measured.
const INITIAL: Duration = Duration::from_secs(1);
/// The same where the handshake had to be repeated: it may be that the link is slow and nothing was lost, RFC 6298 §5.7.
const AFTER_REPEATED_SYN: Duration = Duration::from_secs(3);
/// The RFC says a second; every kernel says this, and the link is one hop long.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(60);

/// The retransmission timeout of one connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Timeout {
    /// Smoothed round trip and its variation, once measured.
    measured: Option<(Duration, Duration)>,
    /// Until then.
    initial: Duration,
    /// How often it ran out since a round trip was measured. What is acknowledged after it was sent again tells of no
    /// round trip, so the wait stays as long as it has become: one that is too short would never learn (Karn's
    /// algorithm, RFC 1122 §4.2.3.1).
    doublings: u8,
    /// It ran out, and nothing new was acknowledged since.
    silent: bool,
}

impl Timeout {
    pub(in crate::net) fn new() -> Self {
        Self { measured: None, initial: INITIAL, doublings: 0, silent: false }
    }

    /// How long to wait now.
    pub(in crate::net) fn get(&self) -> Duration {
        let base =
            self.measured.map_or(self.initial, |(smoothed, variation)| (smoothed + 4 * variation).max(LEAST));
        base.saturating_mul(1 << self.doublings.min(10)).min(MOST)
    }

    /// Whether there is a round trip to reckon with.
    pub(in crate::net) fn is_measured(&self) -> bool {
        self.measured.is_some()
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
        self.silent = true;
    }

    /// Whether it has run out since something new was acknowledged.
    pub(in crate::net) fn is_backing_off(&self) -> bool {
        self.silent
    }

    /// Something new was acknowledged.
    pub(in crate::net) fn progress(&mut self) {
        self.silent = false;
        if self.measured.is_none() && self.initial == INITIAL && self.doublings > 0 {
            (self.initial, self.doublings) = (AFTER_REPEATED_SYN, 0);
        }
    }

    /// A window that was shut has opened: what was waited for was not the link.
    pub(in crate::net) fn opened(&mut self) {
        (self.silent, self.doublings) = (false, 0);
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
        assert_eq!(timeout.get(), Duration::from_secs(3), "the first to be acknowledged is the SYN");
        timeout.measure(Duration::from_millis(1));
        assert_eq!(timeout.get(), LEAST);
    }

    #[test]
    fn what_was_sent_twice_does_not_shorten_the_wait() {
        let mut timeout = Timeout::new();
        timeout.measure(Duration::from_millis(1));
        timeout.back_off();
        timeout.progress();
        assert!(!timeout.is_backing_off());
        assert_eq!(timeout.get(), 2 * LEAST);
        timeout.measure(Duration::from_millis(500));
        assert!(timeout.get() > Duration::from_millis(500), "{timeout:?}");
        let before = timeout.get();
        timeout.back_off();
        assert_eq!(timeout.get(), 2 * before);
        timeout.opened();
        assert_eq!(timeout.get(), before);
    }
}
