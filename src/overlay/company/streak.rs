//! Whether one client asks at a time.
//!
//! Hints: workers that count at once may lose a request.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Requests of one client in a row that make it the only one.
const ENOUGH: u32 = 16;
/// As many count at most: so soon others are noticed.
const MOST: u32 = 64;
/// Fewer are no streak any more.
const FEW: u32 = 4;
/// Requests of the kernel's own in a row, as when it writes back what it had cached: the client runs meanwhile.
const OWN: u32 = 8;

/// Counts the requests of one client in a row. Half of them are forgotten at one of another's: processes that work one
/// after another hardly matter, those that work at once are two or three requests from being noticed.
#[derive(Debug, Default)]
pub(super) struct Streak {
    client: AtomicU32,
    length: AtomicU32,
    own: AtomicU32,
}

impl Streak {
    /// There is a request of this thread's; 0 is the kernel's own.
    pub(super) fn asked(&self, client: u32) {
        if client == 0 {
            if self.own.fetch_add(1, Relaxed) >= OWN {
                self.forget();
            }
            return;
        }
        self.own.store(0, Relaxed);
        let length = self.length.load(Relaxed);
        if self.client.load(Relaxed) == client {
            self.length.store((length + 1).min(MOST), Relaxed);
        } else {
            self.client.store(client, Relaxed);
            self.length.store(length / 2, Relaxed);
        }
    }

    /// The thread that asked last.
    pub(super) fn client(&self) -> u32 {
        self.client.load(Relaxed)
    }

    pub(super) fn is_one_client(&self) -> bool {
        self.length.load(Relaxed) >= ENOUGH
    }

    /// The same with some patience, for whoever has believed it.
    pub(super) fn is_nearly_one_client(&self) -> bool {
        self.length.load(Relaxed) >= FEW
    }

    pub(super) fn forget(&self) {
        self.length.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(requests: impl IntoIterator<Item = u32>) -> Streak {
        let streak = Streak::default();
        requests.into_iter().for_each(|client| streak.asked(client));
        streak
    }

    #[test]
    fn one_after_another_is_one_client() {
        assert!(!after([7; 16]).is_one_client(), "the first of them was another's");
        assert!(after([7; 17]).is_one_client());
        let processes = (1..9).flat_map(|client| [client; 20]);
        assert!(after(processes).is_one_client());
        assert_eq!(after([7, 8]).client(), 8);
    }

    #[test]
    fn two_at_once_are_not() {
        let turns = [7, 7, 8, 8].into_iter().cycle().take(40);
        let streak = after([7; 100].into_iter().chain(turns));
        assert!(!streak.is_nearly_one_client());
    }

    #[test]
    fn the_kernels_own_requests_are_part_of_a_streak_if_few() {
        let files = [7, 7, 7, 0, 0].into_iter().cycle().take(100);
        assert!(after(files).is_one_client());
        assert!(!after([7; 100].into_iter().chain([0; 9])).is_nearly_one_client());
    }
}
