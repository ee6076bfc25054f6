//! Looking a moment for the next event before going to sleep.
//!
//! Most of what a byte's way through the stack costs is the waking of the stack's thread on another processor, once for
//! each direction. Where events have been coming one right after another, as when a client and a server talk in turns,
//! the thread looks for the next one for a short while before it lets the kernel put it to sleep.
//!
//! The price is processor time while that goes on; a network that is not used costs none, because whoever looked in
//! vain does not look again before events have come quickly once more. With a single processor, where looking would
//! only keep the others from running, nobody looks; nor after much work, when the processors have better to do.

use std::time::{Duration, Instant};

/// How long to look, and how soon an event has to follow for looking to be of use: some times what a sleeping thread
/// takes to wake up.
const SPAN: Duration = Duration::from_micros(40);
/// Events that must have come so quickly, one after another, before anybody looks.
const QUICK: u8 = 8;
/// Packets of one turn that are much work.
const MUCH: u64 = 8;

/// Decides when to look.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Of no use with one processor. Found out when it first matters: that takes a while.
    useful: Option<bool>,
    /// Events in a row that came within [`SPAN`], counted up to [`QUICK`].
    quick: u8,
    /// When the last turn was done, unless it was much work, and how many packets the link had seen by then.
    since: Option<Instant>,
    packets: u64,
}

impl Lookout {
    /// A turn is done, in `bulk` or not, and so many packets have passed by `now`. Bulk is better taken in large
    /// batches: whoever looks takes it piece by piece. Until when to look for what comes next; `None`: not at
    /// all.
    pub(super) fn look(&mut self, packets: u64, bulk: bool, now: Instant) -> Option<Instant> {
        let much = bulk || packets.wrapping_sub(self.packets) > MUCH;
        self.packets = packets;
        self.since = (!much).then_some(now);
        if bulk {
            self.quick = 0;
        }
        if much || self.quick < QUICK {
            return None;
        }
        let several = || std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        self.useful.get_or_insert_with(several).then_some(now + SPAN)
    }

    /// Something came, or the clock ran out, at `now`.
    pub(super) fn came(&mut self, now: Instant) {
        let Some(since) = self.since.take() else { return };
        let quick = now.saturating_duration_since(since) <= SPAN;
        self.quick = if quick { (self.quick + 1).min(QUICK) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expecting(now: Instant) -> Lookout {
        let mut lookout = Lookout { useful: Some(true), ..Lookout::default() };
        for _ in 0..QUICK {
            assert_eq!(lookout.look(0, false, now), None);
            lookout.came(now + SPAN / 2);
        }
        lookout
    }

    #[test]
    fn looks_while_events_come_quickly() {
        let now = Instant::now();
        let mut lookout = expecting(now);
        for _ in 0..3 {
            assert_eq!(lookout.look(0, false, now), Some(now + SPAN));
            lookout.came(now + SPAN);
        }
    }

    #[test]
    fn a_look_in_vain_is_the_last_for_now() {
        let now = Instant::now();
        let mut lookout = expecting(now);
        assert!(lookout.look(0, false, now).is_some());
        lookout.came(now + 2 * SPAN);
        for _ in 0..QUICK {
            assert_eq!(lookout.look(0, false, now), None);
            lookout.came(now);
        }
        assert!(lookout.look(0, false, now).is_some());
    }

    #[test]
    fn nobody_looks_after_much_work_nor_alone() {
        let now = Instant::now();
        let mut lookout = expecting(now);
        assert_eq!(lookout.look(MUCH + 1, false, now), None);
        assert!(lookout.look(2 * MUCH, false, now).is_some(), "much was once");
        let mut alone = Lookout { useful: Some(false), ..expecting(now) };
        assert_eq!(alone.look(0, false, now), None);
    }
}
