//! What a shim and a process that it has forked for a container say to each other before the exec.
//!
//! ```text
//!   shim                        forked process
//!                           <-  Warning(text)             any number
//!                           <-  Terminal + pty master     with a terminal, once
//!     Go                    ->                            the shim has written down that the process exists
//!                           <-  Failed{…}                 or the socket closes: the program runs
//! ```
//!
//! A `SOCK_SEQPACKET` pair, close-on-exec on both ends. If the shim dies, reading `Go` fails and nothing runs.

use std::fmt::Display;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::socket::{self, Received};
use crate::sys::{self, process};

/// Why the program does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub hint: Option<String>,
}

/// How a failure ends that is about an id of the container that stands for none on the host. Who sees the host can say
/// better than its hint what is missing there.
pub const UNMAPPED: &str = "not among the ids that you may map";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// kelp or the kernel refused: exit status 125.
    Own,
    /// The program was found and cannot be executed: 126.
    CannotInvoke,
    /// There is no such program: 127.
    NotFound,
}

impl Failure {
    pub fn own(doing: &str, cause: impl Display) -> Self {
        Self { kind: FailureKind::Own, message: format!("{doing}: {cause}"), hint: None }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Names the step that failed.
pub(super) trait Step<T> {
    fn step(self, doing: &str) -> Result<T, Failure>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|e| Failure::own(doing, e))
    }
}

/// From the forked process.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Warning(String),
    Terminal,
    Failed(Failure),
}

/// What the shim learns while the process gets ready.
#[derive(Debug)]
pub enum News {
    Warning(String),
    Terminal(OwnedFd),
    Failed(Failure),
    /// The program runs.
    Running,
}

/// The longest word, in bytes.
const MAX_WORD: usize = 16 * 1024;
const GO: &[u8] = b"go";

/// The shim's end.
#[derive(Debug)]
pub struct ShimEnd(OwnedFd);

/// The forked process's end.
#[derive(Debug)]
pub struct ProcessEnd(OwnedFd);

pub fn pair() -> sys::Result<(ShimEnd, ProcessEnd)> {
    let (a, b) = socket::seqpacket_pair()?;
    Ok((ShimEnd(a), ProcessEnd(b)))
}

impl ShimEnd {
    pub fn go(&self) -> sys::Result<()> {
        // A process that failed already has closed its end; its word is read next.
        match socket::send(&self.0, &[IoSlice::new(GO)], &[], true) {
            Err(e) if e.is(libc::EPIPE) || e.is(libc::ECONNRESET) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Blocks until the process has something to say. ETIMEDOUT when `patience` ends first: whoever shares a pid
    /// namespace with the process can stop it.
    pub fn next(&self, patience: Option<Duration>) -> sys::Result<News> {
        if patience.is_some() && !process::readable_within(&self.0, patience)? {
            return Err(sys::Error::new("wait for the new process", libc::ETIMEDOUT));
        }
        let news = self.hear(true)?;
        news.ok_or_else(|| sys::Error::new("wait for the new process", libc::EAGAIN))
    }

    /// As [`Self::next`], for whoever polls: `None` when nothing more has been said yet.
    pub fn try_next(&self) -> sys::Result<Option<News>> {
        self.hear(false)
    }

    fn hear(&self, wait: bool) -> sys::Result<Option<News>> {
        let mut buffer = vec![0u8; MAX_WORD];
        let mut fds = Vec::new();
        let length = match socket::receive(&self.0, &mut buffer, &mut fds, wait)? {
            None => return Ok(None),
            Some(Received::Packet(length)) => length,
            Some(Received::Closed) => return Ok(Some(News::Running)),
            Some(Received::Truncated) => {
                return Err(sys::Error::new("read from the container's first process", libc::EMSGSIZE));
            }
        };
        let word = serde_json::from_slice(&buffer[..length])
            .map_err(|_| sys::Error::new("read from the container's first process", libc::EPROTO))?;
        Ok(Some(match word {
            Word::Warning(text) => News::Warning(text),
            Word::Failed(failure) => News::Failed(failure),
            Word::Terminal => match fds.pop() {
                Some(master) => News::Terminal(master),
                None => return Err(sys::Error::new("receive the terminal", libc::EPROTO)),
            },
        }))
    }
}

impl AsFd for ShimEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for ProcessEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ProcessEnd {
    pub(super) fn warn(&self, text: impl Into<String>) {
        let _ = self.send(&Word::Warning(text.into()), &[]);
    }

    /// Hands over the master of the terminal that was opened for the process.
    pub fn terminal(&self, master: impl AsFd) -> sys::Result<()> {
        self.send(&Word::Terminal, &[master.as_fd()])
    }

    /// Nobody is left to tell when this fails too.
    pub(super) fn failed(&self, mut failure: Failure) {
        failure.message.truncate(floor_boundary(&failure.message, MAX_WORD / 4));
        let _ = self.send(&Word::Failed(failure), &[]);
    }

    /// Blocks until the shim says go; an error when it died instead.
    pub(super) fn wait_for_go(&self) -> sys::Result<()> {
        let mut buffer = [0u8; 8];
        match socket::receive(&self.0, &mut buffer, &mut Vec::new(), true)? {
            Some(Received::Packet(n)) if &buffer[..n] == GO => Ok(()),
            _ => Err(sys::Error::new("wait for the shim", libc::EPIPE)),
        }
    }

    fn send(&self, word: &Word, fds: &[BorrowedFd<'_>]) -> sys::Result<()> {
        let bytes = serde_json::to_vec(word).unwrap_or_default();
        socket::send(&self.0, &[IoSlice::new(&bytes)], fds, true).map(|_| ())
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
