//! The other end of a shim's socket: attach, wait, kill, exec, each from a process with one thread.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::Result;
use super::terminal::DetachKeys;

/// How this process takes part in the container's stdio.
#[derive(Debug, Clone)]
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
}

/// A connection to the shim of the container whose directory this is. [`super::Error::Gone`] when no shim listens.
pub fn connect(_container: &Path) -> Result<OwnedFd> {
    todo!()
}

/// Asks a shim for the streams in `options`. The first client of a container does not ask: it has them.
pub fn request_attach(_socket: &OwnedFd, _options: &AttachOptions) -> Result<()> {
    todo!()
}

/// Joins this process's stdio to the container's until it ends or the user detaches. For a socket of
/// [`request_attach`], or the first client's after `receive_started`. Ends with [`super::Error::Gone`] when the shim
/// dies; a closed stdout (`| head`) ends nothing, what would go there is dropped.
pub fn attach_session(_socket: OwnedFd, _options: &AttachOptions) -> Result<Ending> {
    todo!()
}

/// Waits for the container's end: its exit code.
pub fn wait(_socket: OwnedFd) -> Result<u8> {
    todo!()
}

/// Sends a signal to the container's first process.
pub fn kill(_socket: OwnedFd, _signal: i32) -> Result<()> {
    todo!()
}

/// Starts a process by `request` (JSON for the shim's `Handler::exec`) and joins this process's stdio to it until
/// it ends. Streams that `options` does not take are `/dev/null`. A start that fails is
/// [`super::Error::Refused`] with docker's status. stdio is pipes unless `options.tty`.
pub fn exec_session(_socket: OwnedFd, _request: &[u8], _options: &AttachOptions) -> Result<Ending> {
    todo!()
}

/// As [`exec_session`], detached: returns as soon as the process runs.
pub fn exec_detached(_socket: OwnedFd, _request: &[u8], _tty: bool) -> Result<()> {
    todo!()
}
