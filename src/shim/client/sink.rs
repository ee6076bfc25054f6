//! Our stdout and stderr: written to without ever standing still, whatever they are.
//!
//! The descriptors are shared with whoever started us, so they cannot be made non-blocking. Files never block; a
//! pipe or a terminal is opened a second time, non-blocking, for ourselves; what can be neither (a socket, a
//! terminal of another user) is written to in pieces that poll(2) promises room for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Room for this much is what POLLOUT on a pipe means.
const PROMISED: usize = 4096;

#[derive(Debug)]
pub(super) struct Sink {
    fd: Way,
    pending: Vec<u8>,
    written: usize,
    /// Why nothing can be written any more; what comes is dropped.
    failed: Option<Errno>,
}

#[derive(Debug)]
enum Way {
    /// Writes do not block, because of what it is.
    Reopened(OwnedFd),
    File(BorrowedFd<'static>),
    /// After each POLLOUT, [`PROMISED`] bytes.
    Polled(BorrowedFd<'static>),
}

impl Sink {
    pub(super) fn new(fd: BorrowedFd<'static>) -> Self {
        let kind = rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode));
        let reopen = || {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok()
        };
        let way = match kind {
            Ok(FileType::RegularFile) => Way::File(fd),
            Ok(FileType::Fifo | FileType::CharacterDevice) => reopen().map_or(Way::Polled(fd), Way::Reopened),
            _ => Way::Polled(fd),
        };
        Self { fd: way, pending: Vec::new(), written: 0, failed: None }
    }

    /// What a write failed with. EPIPE: nobody reads it any more.
    pub(super) fn failed(&self) -> Option<Errno> {
        self.failed
    }

    pub(super) fn idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// What to poll for room, when something waits.
    pub(super) fn wants_room(&self) -> Option<BorrowedFd<'_>> {
        (!self.idle()).then(|| self.descriptor())
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Way::Reopened(fd) => fd.as_fd(),
            Way::File(fd) | Way::Polled(fd) => *fd,
        }
    }

    /// Writes what goes, and keeps the rest. To be called when idle, or what is kept grows.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let polled = matches!(self.fd, Way::Polled(_));
        let written = if self.idle() && !polled { self.try_write(bytes) } else { 0 };
        if self.failed.is_none() {
            self.pending.extend_from_slice(&bytes[written..]);
        }
    }

    /// There is room.
    pub(super) fn drain(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let rest = &pending[self.written..];
        let most = if matches!(self.fd, Way::Polled(_)) { rest.len().min(PROMISED) } else { rest.len() };
        self.written += self.try_write(&rest[..most]);
        if self.failed.is_none() && self.written < pending.len() {
            self.pending = pending;
        } else {
            self.written = 0;
            // The memory of a burst is worth keeping while there is a session.
            self.pending = pending;
            self.pending.clear();
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::write(self.descriptor(), &bytes[done..]) {
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => {
                    self.failed = Some(e);
                    break;
                }
            }
            if matches!(self.fd, Way::Polled(_)) {
                break;
            }
        }
        done
    }
}
