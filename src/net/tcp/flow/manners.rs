//! When an acknowledgement may wait for what the host answers, RFC 9293 §3.8.6.3.
//!
//! A packet costs more than anything else here, and while the two ends talk in turns, every other packet to the
//! container would be an acknowledgement that the answer, microseconds later, carries as well. So where short messages
//! were answered promptly several times in a row, the next one is acknowledged with its answer. Anything else — a
//! second message before the answer, a long one, an answer that takes its time — is acknowledged at once, and so is all
//! that follows until there were such turns again: a sender that waits for acknowledgements (Nagle's algorithm) waits
//! once at most.

use std::time::{Duration, Instant};

/// How long an acknowledgement waits. RFC 9293 allows half a second, Linux takes 40 ms.
const PATIENCE: Duration = Duration::from_millis(4);
/// Prompt answers in a row after which the next one is waited for.
const TURNS: u8 = 4;

/// How one connection's ends have been talking.
#[derive(Debug, Default)]
pub(super) struct Manners {
    /// Prompt answers in a row, counted up to [`TURNS`].
    turns: u8,
    /// When the container said what has no answer yet.
    said: Option<Instant>,
    /// Whether that is not acknowledged yet.
    owed: bool,
}

impl Manners {
    /// The container has sent the next bytes: a `short` message, or more. Whether acknowledging them can wait.
    pub(super) fn heard(&mut self, short: bool, now: Instant) -> bool {
        if !short || self.said.is_some() {
            self.turns = 0;
        }
        let waits = short && self.turns >= TURNS && !self.owed;
        self.said = short.then_some(now);
        self.owed = waits;
        waits
    }

    /// The host's bytes were sent to the container.
    pub(super) fn answered(&mut self, now: Instant) {
        let Some(said) = self.said.take() else { return };
        let prompt = now.saturating_duration_since(said) < PATIENCE;
        self.turns = if prompt { (self.turns + 1).min(TURNS) } else { 0 };
    }

    /// Whether something that the container has sent is still to be acknowledged.
    pub(super) fn owes(&self) -> bool {
        self.owed
    }

    /// Everything that the container has sent is acknowledged.
    pub(super) fn acknowledged(&mut self) {
        self.owed = false;
    }

    /// When an acknowledgement can wait no longer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.said.filter(|_| self.owed).map(|said| said + PATIENCE)
    }

    /// Whether an acknowledgement has waited long enough. Then the next ones do not.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        if due {
            self.turns = 0;
            self.owed = false;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_turns(now: Instant) -> Manners {
        let mut manners = Manners::default();
        for _ in 0..TURNS {
            assert!(!manners.heard(true, now));
            manners.acknowledged();
            manners.answered(now);
        }
        manners
    }

    #[test]
    fn acknowledgements_wait_for_answers_that_have_been_prompt() {
        let now = Instant::now();
        let mut manners = after_turns(now);
        for _ in 0..3 {
            assert!(manners.heard(true, now));
            assert_eq!(manners.deadline(), Some(now + PATIENCE));
            manners.acknowledged();
            manners.answered(now);
            assert_eq!(manners.deadline(), None);
        }
    }

    #[test]
    fn whoever_says_two_things_at_a_time_never_waits() {
        let now = Instant::now();
        let mut manners = Manners::default();
        for _ in 0..20 {
            assert!(!manners.heard(true, now) && !manners.heard(true, now));
            manners.acknowledged();
            manners.answered(now);
        }
        let mut manners = after_turns(now);
        assert!(manners.heard(true, now));
        assert!(!manners.heard(true, now), "the second is acknowledged at once");
        assert!(!manners.heard(true, now));
        let mut manners = after_turns(now);
        assert!(!manners.heard(false, now) && !manners.heard(true, now), "a long one is no turn");
    }

    #[test]
    fn an_answer_that_takes_its_time_is_not_waited_for_again() {
        let now = Instant::now();
        let mut manners = after_turns(now);
        assert!(manners.heard(true, now));
        assert!(!manners.expire(now + PATIENCE / 2) && manners.expire(now + PATIENCE));
        assert_eq!(manners.deadline(), None);
        manners.answered(now + 2 * PATIENCE);
        assert!(!manners.heard(true, now + 3 * PATIENCE));
    }
}
