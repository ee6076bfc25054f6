//! What a shim and its clients say to each other.
//!
//! A `SOCK_SEQPACKET` unix socket: every message is one packet, one byte of kind and the payload, so a message
//! is sent whole or not at all and no side ever waits in the middle of one. Data travels raw; what has fields
//! is JSON. A packet carries at most [`MAX_DATA`] bytes of payload. The first client (the command that started
//! the container) is connected from birth; every other one connects to `shim.sock` and begins with a request.
//!
//! ```text
//!   client                                  shim
//!     Launch + bundle file + life lock  ->                                   first client only
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
//!     Network + request file            ->  descriptor: a change of its networks or its name (JSON)
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

mod packet;
mod transport;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::error::ExitStatus;
use crate::runtime::handshake;
use crate::store::container::network::Protocol;

pub(super) use packet::output_kind;
pub(super) use transport::{file_of, gone, read_file, receive, send};
pub use transport::{pair, receive_started, send_reply};

/// The largest payload of a packet, in bytes: a full pipe.
pub const MAX_DATA: usize = 64 * 1024;

/// A packet with its kind.
pub const MAX_PACKET: usize = MAX_DATA + 1;

/// The largest file that comes along with a request, in bytes: twice what the kernel accepts as arguments.
pub const MAX_FILE: usize = 4 << 20;

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
    /// A [`super::launch::Bundle`] comes along as a file, and the container's life lock.
    Launch,
    Attach(Attach),
    Stdin(&'a [u8]),
    StdinClosed,
    Resize {
        rows: u16,
        cols: u16,
    },
    Signal(i32),
    Wait,
    Kill(i32),
    Exec,
    Network,
}

/// From a shim.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// What the user should be told about the start: one line each.
    Started {
        pid: u32,
        warnings: Vec<String>,
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
    /// The reason is a port of the host's that somebody has: who it is, the client can find out better.
    #[serde(default)]
    pub taken: Option<TakenPort>,
}

/// A port of the host's, at the address that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenPort {
    pub address: SocketAddr,
    pub protocol: Protocol,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let status = match failure.status {
            125 => ExitStatus::Own,
            126 => ExitStatus::CannotInvoke,
            127 => ExitStatus::NotFound,
            _ => ExitStatus::Failed,
        };
        Self::Refused { status, message: failure.message, hint: failure.hint, taken: failure.taken }
    }
}

impl From<handshake::Failure> for Failure {
    fn from(failure: handshake::Failure) -> Self {
        let status = match failure.kind {
            handshake::FailureKind::Own => 125,
            handshake::FailureKind::CannotInvoke => 126,
            handshake::FailureKind::NotFound => 127,
        };
        Self { status, message: failure.message, hint: failure.hint, taken: None }
    }
}
