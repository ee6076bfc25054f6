//! What a shim and its clients say to each other.
//!
//! A `SOCK_SEQPACKET` unix socket: every message is one packet, one byte of kind and the payload, so a message
//! is sent whole or not at all and no side ever waits in the middle of one. Data travels raw; what has fields
//! is JSON. A packet carries at most [`MAX_DATA`] bytes of payload. The first client (the command that started
//! the container) is connected from birth; every other one connects to `shim.sock` and begins with a request.
//!
//! ```text
//!   client                                  shim
//!                                       <-  Started{pid} | Failed{status,message,hint}   first client only
//!
//!     Attach{stdin,stdout,stderr}       ->                                   not from a first client
//!                                       <-  Attached{tty}                    to those who sent Attach
//!     Stdin(bytes)                      ->  one at a time: the next one follows StdinTaken
//!                                       <-  StdinTaken | StdinGone           StdinGone: nobody reads any more
//!     StdinClosed                       ->
//!     Resize{rows,cols} | Signal(n)     ->                                   no answer
//!                                       <-  Stdout(bytes) | Stderr(bytes)
//!                                       <-  Gap{from,to} + log file          what did not fit: read it there
//!                                       <-  Exited{code}                     and the socket closes
//!
//!     Wait                              ->
//!                                       <-  Exited{code}
//!
//!     Kill(n)                           ->
//!                                       <-  Done | Failed{…}
//!
//!     Exec + request file + stdio       ->  descriptors: request (JSON), then stdin, stdout, stderr
//!                                           without a tty, or none with one
//!                                       <-  ExecStarted{pid,tty} (+ pty master) | Failed{…}
//!     Signal(n)                         ->  to the exec'd process
//!                                       <-  Exited{code}
//! ```
//!
//! A client that closes its end has detached; nothing is killed by it.

use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::error::ExitStatus;
use crate::sys::socket;

/// The largest payload of a packet, in bytes: a full pipe.
pub const MAX_DATA: usize = 64 * 1024;

/// A packet with its kind.
pub const MAX_PACKET: usize = MAX_DATA + 1;

/// The largest exec request that a shim reads, in bytes: twice what the kernel accepts as arguments.
pub const MAX_EXEC_REQUEST: usize = 4 << 20;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// From a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Attach(Attach),
    Stdin(&'a [u8]),
    StdinClosed,
    Resize { rows: u16, cols: u16 },
    Signal(i32),
    Wait,
    Kill(i32),
    Exec,
}

/// From a shim.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Started {
        pid: u32,
    },
    Failed(Failure),
    Attached {
        tty: bool,
    },
    StdinTaken,
    StdinGone,
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    /// The output between these offsets of the log file, which comes along as a descriptor.
    Gap {
        from: u64,
        to: u64,
    },
    Exited {
        code: u8,
    },
    Done,
    ExecStarted {
        pid: u32,
        tty: bool,
    },
}

/// What could not be done, as the user will read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// 1, 125, 126 or 127.
    pub status: u8,
    pub message: String,
    pub hint: Option<String>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let status = match failure.status {
            125 => ExitStatus::Own,
            126 => ExitStatus::CannotInvoke,
            127 => ExitStatus::NotFound,
            _ => ExitStatus::Failed,
        };
        Self::Refused { status, message: failure.message, hint: failure.hint }
    }
}

/// A connected pair, close-on-exec on both ends: the first client's way to its shim.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socket::seqpacket_pair()?)
}

/// Sends one reply to a client that reads (the first one, before there is a server), waiting for room.
pub fn send_reply(_socket: BorrowedFd<'_>, _reply: &Reply<'_>) -> Result<()> {
    let _ = IoSlice::new(&[]);
    todo!()
}

/// The first client's reading of how the start went: the pid, or the failure as [`Error::Refused`]. A socket
/// that closes without a word is [`Error::Gone`].
pub fn receive_started(_socket: BorrowedFd<'_>) -> Result<u32> {
    todo!()
}
