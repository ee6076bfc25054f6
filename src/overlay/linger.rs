//! Waiting a moment for the next request before going to sleep.
//!
//! Most of what a round trip costs is the waking of a worker that sleeps on another processor. A program that works on
//! files asks again within microseconds of an answer, so one worker looks for that question for a short while before
//! it lets the kernel put it to sleep. The others sleep as ever: a request never waits for the one who looks.
//!
//! The price is processor time while requests come in; a mount that is not used costs none. Whoever looked in vain
//! lets some requests pass before looking again, and with a single processor, where looking would only keep the asker
//! from running, nobody looks.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

/// How long somebody looks: some times what a sleeping worker takes to wake up (measured: 10 to 20 us).
const SPAN: Duration = Duration::from_micros(50);
/// Requests that pass after a look in vain.
const PAUSE: u32 = 4;

/// Who looks for the next request of one mount.
#[derive(Debug)]
pub(super) struct Lookout {
    device: OwnedFd,
    /// Of no use with one processor.
    useful: bool,
    taken: AtomicBool,
    /// Requests to let pass. A hint: that two workers may count it down at once does no harm.
    pause: AtomicU32,
}

impl Lookout {
    /// `device` is the mount's, or a duplicate: what is waiting can be seen through each.
    pub(super) fn new(device: OwnedFd) -> Self {
        let useful = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        Self { device, useful, taken: AtomicBool::new(false), pause: AtomicU32::new(0) }
    }

    /// Called by a worker that has answered. Returns when there is something to read, or after [`SPAN`].
    pub(super) fn look(&self) {
        if !self.useful {
            return;
        }
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
            return;
        }
        if self.taken.swap(true, Ordering::Relaxed) {
            return;
        }
        if !self.something_came() {
            self.pause.store(PAUSE, Ordering::Relaxed);
        }
        self.taken.store(false, Ordering::Relaxed);
    }

    fn something_came(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let begin = Instant::now();
        while begin.elapsed() < SPAN {
            let mut device = [PollFd::new(&self.device, PollFlags::IN)];
            // An error is for the worker's next read to find out.
            if rustix::event::poll(&mut device, Some(&at_once)) != Ok(0) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_seen_at_once_and_nothing_is_waited_for_shortly() {
        let (ours, theirs) = std::io::pipe().unwrap();
        let lookout = Lookout::new(ours.into());
        let begin = Instant::now();
        assert!(!lookout.something_came());
        assert!(begin.elapsed() >= SPAN);
        std::io::Write::write_all(&mut &theirs, b"request").unwrap();
        assert!(lookout.something_came());
    }

    #[test]
    fn a_look_in_vain_lets_requests_pass() {
        let (ours, _theirs) = std::io::pipe().unwrap();
        let lookout = Lookout { useful: true, ..Lookout::new(ours.into()) };
        lookout.look();
        assert_eq!(lookout.pause.load(Ordering::Relaxed), PAUSE);
        for rest in (0..PAUSE).rev() {
            lookout.look();
            assert_eq!(lookout.pause.load(Ordering::Relaxed), rest);
        }
    }

    #[test]
    fn one_looks_the_others_go_to_sleep() {
        let (ours, _theirs) = std::io::pipe().unwrap();
        let lookout = Lookout { useful: true, taken: AtomicBool::new(true), ..Lookout::new(ours.into()) };
        lookout.look();
        assert_eq!(lookout.pause.load(Ordering::Relaxed), 0, "did not look");
    }
}
