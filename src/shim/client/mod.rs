//! The other end of a shim's socket: attach, wait, kill, exec, each from a process with one thread.

mod attach;
mod exec;
mod session;
mod sink;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::error::{Error, Result};
use super::network::change::Change;
use super::protocol::{self, Attach, Reply, Request};
use super::terminal::DetachKeys;
use crate::error::ExitStatus;
use crate::sys::{self, process, socket};

pub use attach::attach_session;
pub use exec::{exec_detached, exec_session};

/// The socket's name in the container's directory.
pub(super) const SOCKET: &str = "shim.sock";

/// How long a shim may take to pass a signal on. It is at once, unless the container is still on its way to its
/// program, or somebody has stopped the shim.
const PATIENCE: Duration = Duration::from_secs(15);

/// How this process takes part in the container's stdio.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The container has a terminal: ours goes into raw mode when stdin is one and taken, sizes are passed on, detach
    /// keys are looked for.
    pub tty: bool,
    /// Signals that reach this process are sent on (without a tty).
    pub sig_proxy: bool,
    pub detach_keys: DetachKeys,
}

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process ended with this code.
    Exited(u8),
    /// The user typed the detach keys; the process runs on.
    Detached,
    /// Nobody reads our stdout any more (`| head`); the process runs on, as it does when a docker client dies of
    /// SIGPIPE. Time to go, without a word.
    OutputClosed,
}

/// A connection to the shim of the container whose directory this is. [`Error::Gone`] when no shim listens.
pub fn connect(container: &Path) -> Result<OwnedFd> {
    socket::connect(container, SOCKET).map_err(protocol::gone)
}

/// Asks a shim for the streams in `options`. The first client of a container does not ask: it has them.
pub fn request_attach(socket: &OwnedFd, options: &AttachOptions) -> Result<()> {
    let Attach { stdin, stdout, stderr } = options.into();
    send(socket, &Request::Attach(Attach { stdin, stdout, stderr }))
}

impl From<&AttachOptions> for Attach {
    fn from(options: &AttachOptions) -> Self {
        Self { stdin: options.stdin, stdout: options.stdout, stderr: options.stderr }
    }
}

/// Waits for the container's end: its exit code.
pub fn wait(socket: OwnedFd) -> Result<u8> {
    request_wait(&socket);
    receive_exit(socket)
}

/// Asks to be told of the container's end. A shim that is just ending may close without reading, and has the
/// answer sent all the same.
pub(super) fn request_wait(socket: &OwnedFd) {
    let _ = send(socket, &Request::Wait);
}

/// The answer to [`request_wait`].
pub(super) fn receive_exit(socket: OwnedFd) -> Result<u8> {
    let mut buffer = Vec::new();
    match Reply::decode(protocol::receive(socket.as_fd(), &mut buffer, &mut Vec::new())?)? {
        Reply::Exited { code } => Ok(code),
        _ => Err(UNEXPECTED),
    }
}

/// Sends a signal to the container's first process. [`Error::Gone`]: it has just ended. ETIMEDOUT from a shim that
/// somebody has stopped.
pub fn kill(socket: OwnedFd, signal: i32) -> Result<()> {
    send(&socket, &Request::Kill(signal))?;
    answer(&socket, PATIENCE)
}

/// How long a change of a container's networks may take among those who ask for it: a network's process may have to be
/// started for it.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

/// Has the container's networks changed. [`Error::Gone`]: the container has just ended.
pub fn change_network(socket: &OwnedFd, change: &Change) -> Result<()> {
    let json = serde_json::to_vec(change).unwrap_or_default();
    let file = protocol::file_of(&json)?;
    protocol::send(socket.as_fd(), Request::Network.encode(), &[file.as_fd()], true)?;
    answer(socket, CHANGE_PATIENCE)
}

/// Done, or why not.
fn answer(socket: &OwnedFd, patience: Duration) -> Result<()> {
    if !process::readable_within(socket, Some(patience))? {
        return Err(sys::Error::new("wait for the shim's answer", libc::ETIMEDOUT).into());
    }
    let mut buffer = Vec::new();
    match Reply::decode(protocol::receive(socket.as_fd(), &mut buffer, &mut Vec::new())?)? {
        Reply::Done => Ok(()),
        Reply::Failed(failure) => Err(failure.into()),
        Reply::Exited { .. } => Err(Error::Gone),
        _ => Err(UNEXPECTED),
    }
}

const UNEXPECTED: Error = Error::Protocol { peer: "the shim", reason: "an answer to another question" };

/// Sends one request, waiting for room: a shim always reads.
fn send(socket: &OwnedFd, request: &Request<'_>) -> Result<()> {
    protocol::send(socket.as_fd(), request.encode(), &[], true).map(|_| ())
}

/// What exec on a container that has just ended comes to.
fn not_running() -> Error {
    Error::Refused {
        status: ExitStatus::Failed,
        message: "the container is not running".into(),
        hint: None,
        taken: None,
    }
}
