//! Answers fsync(2) beside the workers.
//!
//! A disk takes milliseconds to say that it has something. A worker that waits for it answers nobody else meanwhile, and
//! there are one or two of them: a database would hold up every program of its container.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::Builder;

use fuser::ReplyEmpty;

use super::adapter::empty;
use super::{Overlay, threads};

/// Threads that wait for the disk at once. Whoever syncs beyond that has a worker wait.
const MOST: usize = 16;
/// What one of them needs at most: some paths and `stat` buffers.
const STACK: usize = 128 << 10;

/// How many threads wait.
#[derive(Debug, Default)]
pub(super) struct Syncing(Arc<AtomicUsize>);

impl Syncing {
    /// Answers once the disk has the file or directory.
    pub(super) fn answer(&self, overlay: &Arc<Overlay>, id: u64, data_only: bool, reply: ReplyEmpty) {
        let (hand, handed) = channel();
        let waiting = if overlay.volatile { None } else { Waiting::begin(&self.0) };
        let thread = waiting.and_then(|waiting| {
            let overlay = Arc::clone(overlay);
            let work = move || {
                if let Ok(reply) = handed.recv() {
                    empty(overlay.sync(id, data_only), reply);
                }
                drop(waiting);
            };
            threads::spawn(Builder::new().name("sync".into()).stack_size(STACK), work).ok()
        });
        match thread {
            Some(_) => drop(hand.send(reply)),
            None => empty(overlay.sync(id, data_only), reply),
        }
    }
}

/// One of the [`MOST`].
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(count: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |n: usize| (n < MOST).then_some(n + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_some_wait_at_once() {
        let count = Arc::default();
        let mut all: Vec<_> = (0..MOST).map(|_| Waiting::begin(&count).unwrap()).collect();
        assert!(Waiting::begin(&count).is_none());
        all.pop();
        assert!(Waiting::begin(&count).is_some());
    }
}
