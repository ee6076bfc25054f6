//! Has the disk begin to write what was brought up, within a second.
//!
//! A copy has its name at once, and its content in memory for the half minute that the kernel takes to write it: a
//! power failure within would leave an empty file in place of the image's. Asking for each copy as it is made is a
//! sixth of what bringing a file up costs; asking a moment later, from a thread that lives as long as there is
//! something to ask for, keeps that from whoever waits, and asks for nothing where the file is gone again by then.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{lock, threads};
use crate::sys::content;

const DELAY: Duration = Duration::from_secs(1);

/// Copies that the disk does not know of yet. Dropping it tells of those that are left.
#[derive(Debug)]
pub(super) struct Settling {
    /// Each holds a descriptor. Of more at once the disk hears immediately.
    most: usize,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There will be no more.
    over: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    files: Vec<Arc<OwnedFd>>,
    /// A thread will look after `files`.
    attended: bool,
    over: bool,
}

impl Settling {
    pub(super) fn new(most: usize) -> Self {
        Self { most, shared: Arc::default(), thread: Mutex::default() }
    }

    /// Takes a copy whose content is complete. Nobody hears of a disk that fails here: fsync(2) will tell.
    pub(super) fn soon(&self, file: Arc<OwnedFd>) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.files.len() >= self.most {
            drop(waiting);
            let _ = content::start_writing(file);
            return;
        }
        waiting.files.push(file);
        if waiting.attended {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let attend = move || while shared.attend() {};
        match threads::spawn(Builder::new().name("settle".into()), attend) {
            Ok(thread) => {
                waiting.attended = true;
                // The one before has nothing left to do.
                *lock(&self.thread) = Some(thread);
            }
            Err(_) => tell(&std::mem::take(&mut waiting.files)),
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        lock(&self.shared.waiting).over = true;
        self.shared.over.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// One round; whether another is needed.
    fn attend(&self) -> bool {
        let waiting = lock(&self.waiting);
        let pause = self.over.wait_timeout_while(waiting, DELAY, |waiting| !waiting.over);
        let (mut waiting, _) = pause.unwrap_or_else(PoisonError::into_inner);
        let files = std::mem::take(&mut waiting.files);
        waiting.attended = !files.is_empty();
        drop(waiting);
        tell(&files);
        !files.is_empty()
    }
}

fn tell(files: &[Arc<OwnedFd>]) {
    // A file without a name is nobody's after a failure.
    let named = |file: &&Arc<OwnedFd>| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0);
    for file in files.iter().filter(named) {
        let _ = content::start_writing(file);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    /// What the disk was told is not to be seen from outside; that nothing is held any longer is.
    #[test]
    fn nothing_is_held_for_long_and_no_thread_stays() {
        let settling = Settling::new(2);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        let held = Arc::new(file.as_fd().try_clone_to_owned().unwrap());
        settling.soon(Arc::clone(&held));
        let begin = std::time::Instant::now();
        while lock(&settling.shared.waiting).attended {
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(Arc::strong_count(&held), 1);
        settling.soon(Arc::clone(&held));
        let shared = Arc::clone(&settling.shared);
        drop(settling);
        assert_eq!((Arc::strong_count(&held), Arc::strong_count(&shared)), (1, 1));
    }

    #[test]
    fn descriptors_are_bounded() {
        let settling = Settling::new(10);
        let file = Arc::new(tempfile::tempfile().unwrap().into());
        for _ in 0..20 {
            settling.soon(Arc::clone(&file));
        }
        assert!(lock(&settling.shared.waiting).files.len() <= 10);
    }
}
