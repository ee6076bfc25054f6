//! `kill -9` of commands and shims at random moments. Whatever dies, the next command works, nobody cleans up
//! by hand, and `system check` finds nothing.
//!
//! `KELP_CRASH_SEED` repeats a run, `KELP_CRASH_ROUNDS` lengthens it; both are printed.

mod containers;
mod images;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Marsaglia's xorshift: repeatable, and random enough to find a moment.
struct Random(u64);

impl Random {
    /// As `KELP_CRASH_SEED` says, or by the clock.
    fn new() -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed =
            number("KELP_CRASH_SEED").unwrap_or(clock.as_secs() << 20 | u64::from(clock.subsec_micros()) | 1);
        eprintln!("KELP_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// Anywhere in this time.
    fn moment(&mut self, within: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(within.as_micros()).unwrap()))
    }
}

/// How many kills a test is made of.
fn rounds(usual: u64, of: &str) -> u64 {
    let rounds = number("KELP_CRASH_ROUNDS").unwrap_or(usual);
    eprintln!("KELP_CRASH_ROUNDS={rounds}: {of}");
    rounds
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Sleeps finely: the moments that matter are shorter than a tick.
fn pass(moment: Duration) {
    let end = Instant::now() + moment;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(50));
    }
}
