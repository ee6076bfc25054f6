//! When the companion looks where its client is, and what it makes of that.

use std::time::{Duration, Instant};

/// The companion is not preempted by a client that is elsewhere: it waits for the next request. Where they are together
/// that is there already, and only has to be read.
const AT_ONCE: Duration = Duration::from_micros(5);
/// Looking costs about as much as a request. Requests that came at once count 1, others [`ELSEWHERE`].
const DUE: u32 = 64;
const ELSEWHERE: u32 = 8;
/// Looks in a row at a crowded machine, or at a client that is elsewhere whatever is done, that are enough.
const PATIENCE: u32 = 4;

/// What the companion knows of itself while it follows.
#[derive(Debug)]
pub(super) struct Follower {
    /// The client that it looked for, and the processor that it found.
    client: u32,
    processor: Option<usize>,
    /// When it had done with the last request.
    done: Option<Instant>,
    /// What has counted up to [`DUE`], and how many requests since the last look did not come at once.
    counted: u32,
    elsewhere: u32,
    crowded: u32,
    in_vain: u32,
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    /// To this processor.
    Move(usize),
    Leave,
}

impl Follower {
    pub(super) const fn new() -> Self {
        Self { client: 0, processor: None, done: None, counted: 0, elsewhere: 0, crowded: 0, in_vain: 0 }
    }

    /// The next request is there.
    pub(super) fn asked(&mut self, now: Instant) {
        let at_once = self.done.is_some_and(|done| now.saturating_duration_since(done) <= AT_ONCE);
        self.counted += if at_once { 1 } else { ELSEWHERE };
        self.elsewhere += u32::from(!at_once);
    }

    /// The last is answered, and nothing else left to do.
    pub(super) fn answered(&mut self, now: Instant) {
        self.done = Some(now);
    }

    /// Whether it is time to look where the client is.
    pub(super) fn is_to_look(&self, client: u32) -> bool {
        self.processor.is_none() || client != self.client || self.counted >= DUE
    }

    /// The client was last seen there, unless it is gone or nobody can know; the machine has more to do than processors
    /// or not.
    pub(super) fn looked(&mut self, client: u32, processor: Option<usize>, crowded: bool) -> Verdict {
        let same = client == self.client && self.processor.is_some() && processor == self.processor;
        // Side by side, and yet not together: another namespace's number, or a kernel that does otherwise.
        self.in_vain = if same && self.elsewhere * ELSEWHERE >= DUE { self.in_vain + 1 } else { 0 };
        self.crowded = if crowded { self.crowded + 1 } else { 0 };
        (self.counted, self.elsewhere, self.client) = (0, 0, client);
        if self.crowded >= PATIENCE || self.in_vain >= PATIENCE {
            return Verdict::Leave;
        }
        match processor {
            // Also where it was: the watcher may have let it roam.
            Some(cpu) => {
                self.processor = processor;
                Verdict::Move(cpu)
            }
            None => Verdict::Stay,
        }
    }
}
