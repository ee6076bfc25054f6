//! When the companion looks where its client is, and what it makes of that.

/// Requests between two looks: looking costs about as much as one. So many at first and after a move, and twice as many
/// after each look that found the client where it was, up to the most.
const SOON: u32 = 8;
const LATE: u32 = 64;
/// Looks in a row that did not find the client, or found the machine crowded, until it is given up.
const PATIENCE: u32 = 4;

/// What the companion knows of its client while it follows.
#[derive(Debug)]
pub(super) struct Follower {
    /// Whom it looked for last, and the processor that it went to for that.
    client: Option<u32>,
    processor: Option<usize>,
    /// Requests until the next look, and between the last two.
    left: u32,
    interval: u32,
    /// Looks in a row that found the machine crowded, and that did not find the client.
    crowded: u32,
    unseen: u32,
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
        Self { client: None, processor: None, left: 0, interval: SOON, crowded: 0, unseen: 0 }
    }

    /// A request of `client`'s is answered. Whether it is time to look where that is.
    pub(super) fn is_to_look(&mut self, client: u32) -> bool {
        self.left = self.left.saturating_sub(1);
        self.client != Some(client) || self.left == 0
    }

    /// The client was last seen on this processor. `None`: it is gone, nobody may know, or the companion may not go
    /// there. `crowded`: more wants to run than there are processors.
    pub(super) fn looked(&mut self, client: u32, processor: Option<usize>, crowded: bool) -> Verdict {
        let stays = self.client == Some(client) && self.processor == processor;
        self.interval = if stays { (self.interval * 2).min(LATE) } else { SOON };
        (self.client, self.left) = (Some(client), self.interval);
        self.unseen = if processor.is_none() { self.unseen + 1 } else { 0 };
        self.crowded = if crowded { self.crowded + 1 } else { 0 };
        if self.crowded >= PATIENCE || self.unseen >= PATIENCE {
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
    fn until_due(follower: &mut Follower) -> u32 {
        (1..=LATE).find(|_| follower.is_to_look(CLIENT)).unwrap()
    }

    #[test]
    fn it_looks_for_whoever_is_new_and_ever_more_rarely_for_who_stays() {
        let mut follower = Follower::new();
        assert!(follower.is_to_look(CLIENT));
        assert_eq!(follower.looked(CLIENT, Some(1), false), Verdict::Move(1));
        for requests in [SOON, 16, 32, LATE, LATE] {
            assert_eq!(until_due(&mut follower), requests);
            assert_eq!(
                follower.looked(CLIENT, Some(1), false),
                Verdict::Move(1),
                "it may have been let roam"
            );
        }
        assert!(follower.is_to_look(CLIENT + 1));
        assert_eq!(follower.looked(CLIENT, Some(3), false), Verdict::Move(3));
        assert_eq!(until_due(&mut follower), SOON);
    }

    #[test]
    fn who_cannot_be_seen_is_not_looked_for_at_each_request_nor_for_ever() {
        let mut follower = Follower::new();
        for _ in 1..PATIENCE {
            assert_eq!(follower.looked(CLIENT, None, false), Verdict::Stay);
            assert!(until_due(&mut follower) >= SOON);
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
    fn a_crowd_is_left_unless_it_passes() {
        let mut follower = Follower::new();
        for crowded in [true, true, true, false, true, true, true] {
            assert_eq!(follower.looked(CLIENT, Some(0), crowded), Verdict::Move(0));
        }
        assert_eq!(follower.looked(CLIENT, Some(0), true), Verdict::Leave);
    }
}
