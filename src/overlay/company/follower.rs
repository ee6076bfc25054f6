//! When the companion looks where its client is, and what it makes of that.

/// Looking costs about as much as a request. Requests that were there at once count 1, others [`ELSEWHERE`].
const DUE: u32 = 64;
/// Where client and companion share a processor the client is not kept waiting by an answer: it goes on at once, and the
/// companion, which gives way, finds the next request when it gets there. A companion that has to wait for it is
/// elsewhere.
const ELSEWHERE: u32 = 8;
/// Looks in a row that are in vain, or at a machine that is crowded, until it is given up.
const PATIENCE: u32 = 4;

/// What the companion knows of its client while it follows.
#[derive(Debug)]
pub(super) struct Follower {
    /// Whom it looked for last, and the processor that it went to for that.
    client: Option<u32>,
    processor: Option<usize>,
    /// Since the last look: what has counted up to [`DUE`], and how many requests were not there at once.
    counted: u32,
    waited_for: u32,
    /// Looks in a row that found the machine crowded, and that were of no use.
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
        Self { client: None, processor: None, counted: 0, waited_for: 0, crowded: 0, in_vain: 0 }
    }

    /// There is a request. `at_once`: it was there when the last was done.
    pub(super) fn asked(&mut self, at_once: bool) {
        self.counted += if at_once { 1 } else { ELSEWHERE };
        self.waited_for += u32::from(!at_once);
    }

    /// Whether it is time to look where `client`, who asked last, is.
    pub(super) fn is_to_look(&self, client: u32) -> bool {
        self.client != Some(client) || self.counted >= DUE
    }

    /// The client was last seen on this processor. `None`: it is gone, nobody may know, or the companion may not go
    /// there. `crowded`: more wants to run than there are processors.
    pub(super) fn looked(&mut self, client: u32, processor: Option<usize>, crowded: bool) -> Verdict {
        let was_there = self.client == Some(client) && self.processor == processor;
        let is_apart = self.waited_for * ELSEWHERE >= DUE;
        // Side by side, and yet not together: another process has that number where /proc is, or the kernel does
        // otherwise.
        let of_no_use = processor.is_none() || (was_there && is_apart);
        self.in_vain = if of_no_use { self.in_vain + 1 } else { 0 };
        self.crowded = if crowded { self.crowded + 1 } else { 0 };
        (self.counted, self.waited_for, self.client) = (0, 0, Some(client));
        if self.crowded >= PATIENCE || self.in_vain >= PATIENCE {
            return Verdict::Leave;
        }
        let Some(cpu) = processor else { return Verdict::Stay };
        // Also where it was: the watcher may have let it roam.
        self.processor = processor;
        Verdict::Move(cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u32 = 7;

    /// Requests until it looks.
    fn until_due(follower: &mut Follower, at_once: bool) -> u32 {
        let mut requests = 0;
        while !follower.is_to_look(CLIENT) {
            follower.asked(at_once);
            requests += 1;
        }
        requests
    }

    #[test]
    fn it_looks_for_whoever_is_new_and_then_from_time_to_time() {
        let mut follower = Follower::new();
        assert!(follower.is_to_look(CLIENT));
        assert_eq!(follower.looked(CLIENT, Some(1), false), Verdict::Move(1));
        assert!(follower.is_to_look(CLIENT + 1));
        assert_eq!(until_due(&mut follower, true), DUE);
        assert_eq!(follower.looked(CLIENT, Some(1), false), Verdict::Move(1), "it may have been let roam");
        assert_eq!(until_due(&mut follower, false), DUE / ELSEWHERE, "sooner where it seems to be elsewhere");
        assert_eq!(follower.looked(CLIENT, Some(3), false), Verdict::Move(3));
    }

    #[test]
    fn who_cannot_be_seen_is_not_looked_for_at_each_request_nor_for_ever() {
        let mut follower = Follower::new();
        for _ in 1..PATIENCE {
            assert_eq!(follower.looked(CLIENT, None, false), Verdict::Stay);
            assert_eq!(until_due(&mut follower, true), DUE);
        }
        assert_eq!(follower.looked(CLIENT, None, false), Verdict::Leave);
    }

    #[test]
    fn clients_that_are_gone_now_and_then_are_no_reason_to_leave() {
        let mut follower = Follower::new();
        for client in 1..100 {
            let gone = client % PATIENCE != 0;
            let verdict = follower.looked(client, (!gone).then_some(2), false);
            assert_eq!(verdict, if gone { Verdict::Stay } else { Verdict::Move(2) });
        }
    }

    #[test]
    fn side_by_side_and_yet_apart_is_in_vain() {
        let mut follower = Follower::new();
        assert_eq!(follower.looked(CLIENT, Some(0), false), Verdict::Move(0));
        for _ in 1..PATIENCE {
            until_due(&mut follower, false);
            assert_eq!(follower.looked(CLIENT, Some(0), false), Verdict::Move(0));
        }
        until_due(&mut follower, false);
        assert_eq!(follower.looked(CLIENT, Some(0), false), Verdict::Leave);
    }

    #[test]
    fn a_client_that_moves_about_is_followed() {
        let mut follower = Follower::new();
        for cpu in (0..10).cycle().take(100) {
            assert_eq!(follower.looked(CLIENT, Some(cpu), false), Verdict::Move(cpu));
            until_due(&mut follower, false);
        }
    }

    #[test]
    fn a_crowd_is_left_unless_it_passes() {
        let mut follower = Follower::new();
        for crowded in [true, true, true, false, true, true, true] {
            assert_eq!(follower.looked(CLIENT, Some(0), crowded), Verdict::Move(0));
        }
        assert_eq!(follower.looked(CLIENT, Some(0), true), Verdict::Leave);
    }
}
