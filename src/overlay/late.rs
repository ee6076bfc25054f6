//! Errors of writes that the writer no longer waits for.
//!
//! With its writeback cache the kernel takes what a program writes into memory and hands it over later. What then does
//! not fit on the disk is told by fsync(2) and close(2), so who only ever writes (a log, `cat /dev/zero`) would write
//! into nothing without end. So the kernel is told to forget the file's attributes: it asks for them before the next
//! write, by the handle of the writer, and gets the error instead, once. Whoever asks by name gets the attributes, and
//! with them the kernel has what it needs: the error is dropped then, as it is with the file, so that it waits for nobody
//! who opens the file later and writes where there is room again.
//!
//! The same way the kernel is told of attributes that the server has changed by itself, setuid taken away by a write.
//!
//! Telling the kernel may wait for a file that is on its way out, and with it for writes that a worker has to answer,
//! so a thread of its own does it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};

use fuser::{INodeNo, Notifier};
use rustix::io::Errno;

use super::{lock, threads};

/// Files whose error nobody has fetched yet. With one more all are dropped: their writers get it at the end, as with any
/// FUSE.
const MOST: usize = 1024;
/// A range that is empty: of the file, the attributes alone are forgotten.
const ATTRIBUTES_ALONE: i64 = -1;

/// What is still to be told.
#[derive(Debug, Default)]
pub(super) struct Late {
    notifier: OnceLock<Notifier>,
    errors: Mutex<HashMap<u64, Errno>>,
    /// How many those are: most requests that could take one need not look.
    waiting: AtomicUsize,
    /// Begun by the first error.
    thread: Mutex<Option<(Sender<u64>, JoinHandle<()>)>>,
}

impl Late {
    pub(super) fn prepare(&self, notifier: Notifier) {
        let _ = self.notifier.set(notifier);
    }

    /// Where `needed`, has the kernel ask for the file's attributes before it believes its mode again: it leaves taking
    /// setuid away to the server, and would go on to run the file as it was. For a worker, before it answers whoever
    /// changed the content and so has the file open: there is nothing to wait for.
    pub(super) fn ask_anew_if(&self, needed: bool, id: u64) {
        if let Some(notifier) = self.notifier.get().filter(|_| needed) {
            let _ = notifier.inval_inode(INodeNo(id), ATTRIBUTES_ALONE, 0);
        }
    }

    /// A write from the kernel's cache has failed.
    pub(super) fn keep(&self, id: u64, error: Errno) {
        let Some(notifier) = self.notifier.get() else { return };
        {
            let mut errors = lock(&self.errors);
            if errors.len() >= MOST {
                errors.clear();
            }
            errors.insert(id, error);
            self.waiting.store(errors.len(), Ordering::Relaxed);
        }
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (ids, failed) = channel();
            let notifier = notifier.clone();
            let work = move || tell_all(&notifier, &failed);
            *thread = threads::spawn(Builder::new().name("late".into()), work).ok().map(|t| (ids, t));
        }
        if let Some((ids, _)) = &*thread {
            let _ = ids.send(id);
        }
    }

    /// The error that whoever uses a handle of the file is to get; it is forgotten.
    pub(super) fn take(&self, id: u64) -> Option<Errno> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut errors = lock(&self.errors);
        let error = errors.remove(&id);
        self.waiting.store(errors.len(), Ordering::Relaxed);
        error
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Some((ids, thread)) = lock(&self.thread).take() {
            drop(ids);
            let _ = thread.join();
        }
    }
}

fn tell_all(notifier: &Notifier, failed: &Receiver<u64>) {
    for id in failed {
        // A file that the kernel knows no more has no writer.
        let _ = notifier.inval_inode(INodeNo(id), ATTRIBUTES_ALONE, 0);
    }
}
