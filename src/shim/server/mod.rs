//! The shim's loop: output to log and clients, input from clients, signals, exec, and the end.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::Result;
use super::log::Writer;
use super::protocol::{Attach, Failure};

/// The container's stdio, as its shim holds it.
#[derive(Debug)]
pub enum Stdio {
    /// `-t`. `stdin`: `-i`, what clients type is passed on.
    Pty { master: OwnedFd, stdin: bool },
    /// The read ends of stdout and stderr, and the write end of stdin with `-i`.
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

/// The command that started the container, once it has been sent `Started`.
#[derive(Debug)]
pub struct FirstClient {
    pub socket: OwnedFd,
    pub attach: Attach,
}

/// A process that `exec` added. It must be a child of this process: the server reaps it through the pidfd.
#[derive(Debug)]
pub struct ExecStarted {
    pub pid: u32,
    pub pidfd: OwnedFd,
    /// With a tty: goes to the client and is not kept.
    pub pty_master: Option<OwnedFd>,
}

/// What the server needs to have done by those who know containers.
pub trait Handler {
    /// A signal to the container's first process.
    fn signal(&mut self, signal: i32) -> std::result::Result<(), Failure>;

    /// Starts one more process. `request` is the JSON that `client::exec_session` was given; `stdio` holds
    /// stdin, stdout and stderr, or nothing when the request wants a tty. Close what is not the process's own.
    fn exec(&mut self, request: &[u8], stdio: Vec<OwnedFd>) -> std::result::Result<ExecStarted, Failure>;
}

/// Everything the loop works on.
pub struct Running<'a> {
    /// Of the container's first process, a child of this process, not yet reaped.
    pub pidfd: OwnedFd,
    pub stdio: Stdio,
    /// From [`listen`].
    pub listener: OwnedFd,
    pub first: Option<FirstClient>,
    pub log: Writer,
    pub handler: &'a mut dyn Handler,
    /// The container's stdin ends with that of the first client that has one (pipes only).
    pub stdin_once: bool,
}

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitStatus {
    Exited(i32),
    Signaled(i32),
}

/// The first process has ended and all output is in the log; the clients do not know yet.
#[derive(Debug)]
pub struct Ended {
    pub status: WaitStatus,
}

impl WaitStatus {
    /// The exit code as a shell shows it: 128+n for death by signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code & 0xff).unwrap_or(255),
            Self::Signaled(signal) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(255),
        }
    }
}

/// Makes `dir/shim.sock`, mode 0600, listening, close-on-exec. One that a dead shim left is replaced: call it with
/// the life lock held.
pub fn listen(_dir: &Path) -> Result<OwnedFd> {
    todo!()
}

/// Serves until the first process has ended, is reaped, and its output is read to the end (or, if somebody else
/// keeps the pipes open, for a moment longer). Never waits for a client.
pub fn serve(_running: Running<'_>) -> Result<Ended> {
    todo!()
}

impl Ended {
    /// Tells every client that is attached or waits, and closes their sockets. Does not wait for them.
    pub fn tell(self, _code: u8) {
        todo!()
    }
}
