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

use std::borrow::Cow;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::error::ExitStatus;
use crate::runtime::handshake;
use crate::store::container::network::Protocol;
use crate::sys::socket::{self, Received};
use crate::sys::{self, Context};

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

/// The kinds of packets. A number never changes its meaning, since a shim may be older than its client.
mod kind {
    pub(super) const ATTACH: u8 = 1;
    pub(super) const STDIN: u8 = 2;
    pub(super) const STDIN_CLOSED: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    pub(super) const SIGNAL: u8 = 5;
    pub(super) const WAIT: u8 = 6;
    pub(super) const KILL: u8 = 7;
    pub(super) const EXEC: u8 = 8;
    pub(super) const LAUNCH: u8 = 9;
    pub(super) const NETWORK: u8 = 10;

    pub(super) const STARTED: u8 = 65;
    pub(super) const FAILED: u8 = 66;
    pub(super) const ATTACHED: u8 = 67;
    pub(super) const STDIN_TAKEN: u8 = 68;
    pub(super) const STDIN_GONE: u8 = 69;
    pub(super) const STDOUT: u8 = 70;
    pub(super) const STDERR: u8 = 71;
    pub(super) const GAP: u8 = 72;
    pub(super) const EXITED: u8 = 73;
    pub(super) const DONE: u8 = 74;
    pub(super) const EXEC_STARTED: u8 = 75;
}

/// The kind byte of output, for a reader that puts it in front of its buffer and sends without copying.
pub(super) fn output_kind(stream: super::log::Stream) -> u8 {
    match stream {
        super::log::Stream::Stdout => kind::STDOUT,
        super::log::Stream::Stderr => kind::STDERR,
    }
}

#[derive(Serialize, Deserialize)]
struct Size {
    rows: u16,
    cols: u16,
}

#[derive(Serialize, Deserialize)]
struct Number {
    n: i32,
}

#[derive(Serialize, Deserialize)]
struct Start {
    pid: u32,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Process {
    pid: u32,
    #[serde(default)]
    tty: bool,
}

#[derive(Serialize, Deserialize)]
struct Tty {
    tty: bool,
}

#[derive(Serialize, Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

#[derive(Serialize, Deserialize)]
struct Code {
    code: u8,
}

fn json(value: &impl Serialize) -> Cow<'static, [u8]> {
    // Plain structs of numbers and strings: serde_json has nothing to object to, and an empty payload would be
    // refused by the other side.
    Cow::Owned(serde_json::to_vec(value).unwrap_or_default())
}

fn from_json<'a, T: Deserialize<'a>>(payload: &'a [u8], peer: &'static str) -> Result<T> {
    serde_json::from_slice(payload).map_err(|_| Error::Protocol { peer, reason: "malformed fields" })
}

fn data<'a>(payload: &'a [u8], peer: &'static str) -> Result<&'a [u8]> {
    match payload.len() {
        0 => Err(Error::Protocol { peer, reason: "data without data" }),
        1..=MAX_DATA => Ok(payload),
        _ => Err(Error::Protocol { peer, reason: "more data than a packet may hold" }),
    }
}

fn bare<T>(payload: &[u8], value: T, peer: &'static str) -> Result<T> {
    if payload.is_empty() { Ok(value) } else { Err(Error::Protocol { peer, reason: "unexpected payload" }) }
}

impl<'a> Request<'a> {
    /// Kind and payload.
    pub fn encode(&self) -> (u8, Cow<'a, [u8]>) {
        match *self {
            Self::Launch => (kind::LAUNCH, Cow::Borrowed(&[])),
            Self::Attach(attach) => (kind::ATTACH, json(&attach)),
            Self::Stdin(bytes) => (kind::STDIN, Cow::Borrowed(bytes)),
            Self::StdinClosed => (kind::STDIN_CLOSED, Cow::Borrowed(&[])),
            Self::Resize { rows, cols } => (kind::RESIZE, json(&Size { rows, cols })),
            Self::Signal(n) => (kind::SIGNAL, json(&Number { n })),
            Self::Wait => (kind::WAIT, Cow::Borrowed(&[])),
            Self::Kill(n) => (kind::KILL, json(&Number { n })),
            Self::Exec => (kind::EXEC, Cow::Borrowed(&[])),
            Self::Network => (kind::NETWORK, Cow::Borrowed(&[])),
        }
    }

    pub fn decode(packet: &'a [u8]) -> Result<Self> {
        const PEER: &str = "a client";
        let (kind, payload) =
            packet.split_first().ok_or(Error::Protocol { peer: PEER, reason: "empty packet" })?;
        Ok(match *kind {
            kind::LAUNCH => bare(payload, Self::Launch, PEER)?,
            kind::ATTACH => Self::Attach(from_json(payload, PEER)?),
            kind::STDIN => Self::Stdin(data(payload, PEER)?),
            kind::STDIN_CLOSED => bare(payload, Self::StdinClosed, PEER)?,
            kind::RESIZE => {
                let Size { rows, cols } = from_json(payload, PEER)?;
                Self::Resize { rows, cols }
            }
            kind::SIGNAL => Self::Signal(from_json::<Number>(payload, PEER)?.n),
            kind::WAIT => bare(payload, Self::Wait, PEER)?,
            kind::KILL => Self::Kill(from_json::<Number>(payload, PEER)?.n),
            kind::EXEC => bare(payload, Self::Exec, PEER)?,
            kind::NETWORK => bare(payload, Self::Network, PEER)?,
            _ => return Err(Error::Protocol { peer: PEER, reason: "unknown request" }),
        })
    }
}

impl<'a> Reply<'a> {
    /// Kind and payload.
    pub fn encode(&self) -> (u8, Cow<'a, [u8]>) {
        match self {
            Self::Started { pid, warnings } => {
                (kind::STARTED, json(&Start { pid: *pid, warnings: warnings.clone() }))
            }
            Self::Failed(failure) => (kind::FAILED, json(&failure.bounded())),
            Self::Attached { tty } => (kind::ATTACHED, json(&Tty { tty: *tty })),
            Self::StdinTaken => (kind::STDIN_TAKEN, Cow::Borrowed(&[])),
            Self::StdinGone => (kind::STDIN_GONE, Cow::Borrowed(&[])),
            Self::Stdout(bytes) => (kind::STDOUT, Cow::Borrowed(bytes)),
            Self::Stderr(bytes) => (kind::STDERR, Cow::Borrowed(bytes)),
            Self::Gap { from, to } => (kind::GAP, json(&Range { from: *from, to: *to })),
            Self::Exited { code } => (kind::EXITED, json(&Code { code: *code })),
            Self::Done => (kind::DONE, Cow::Borrowed(&[])),
            Self::ExecStarted { pid, tty } => (kind::EXEC_STARTED, json(&Process { pid: *pid, tty: *tty })),
        }
    }

    pub fn decode(packet: &'a [u8]) -> Result<Self> {
        const PEER: &str = "the shim";
        let (kind, payload) =
            packet.split_first().ok_or(Error::Protocol { peer: PEER, reason: "empty packet" })?;
        Ok(match *kind {
            kind::STARTED => {
                let Start { pid, warnings } = from_json(payload, PEER)?;
                Self::Started { pid, warnings }
            }
            kind::FAILED => Self::Failed(from_json(payload, PEER)?),
            kind::ATTACHED => Self::Attached { tty: from_json::<Tty>(payload, PEER)?.tty },
            kind::STDIN_TAKEN => bare(payload, Self::StdinTaken, PEER)?,
            kind::STDIN_GONE => bare(payload, Self::StdinGone, PEER)?,
            kind::STDOUT => Self::Stdout(data(payload, PEER)?),
            kind::STDERR => Self::Stderr(data(payload, PEER)?),
            kind::GAP => {
                let Range { from, to } = from_json(payload, PEER)?;
                if from > to {
                    return Err(Error::Protocol { peer: PEER, reason: "a gap that ends before it begins" });
                }
                Self::Gap { from, to }
            }
            kind::EXITED => Self::Exited { code: from_json::<Code>(payload, PEER)?.code },
            kind::DONE => bare(payload, Self::Done, PEER)?,
            kind::EXEC_STARTED => {
                let Process { pid, tty } = from_json(payload, PEER)?;
                Self::ExecStarted { pid, tty }
            }
            _ => return Err(Error::Protocol { peer: PEER, reason: "unknown reply" }),
        })
    }
}

impl Failure {
    /// As much of the text as surely fits into a packet, whatever JSON makes of it.
    fn bounded(&self) -> Self {
        let cut = |s: &str| -> String { s.chars().take(2048).collect() };
        Self {
            status: self.status,
            message: cut(&self.message),
            hint: self.hint.as_deref().map(cut),
            taken: self.taken,
        }
    }
}

/// A connected pair, close-on-exec on both ends: the first client's way to its shim.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socket::seqpacket_pair()?)
}

/// Sends one packet. `Ok(false)`: there is no room, and `wait` is not set. [`Error::Gone`]: nobody is there.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    (kind, payload): (u8, Cow<'_, [u8]>),
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> Result<bool> {
    let sent = socket::send(socket, &[IoSlice::new(&[kind]), IoSlice::new(&payload)], fds, wait);
    sent.map_err(gone)
}

/// A closed socket is not a failed call: it says that the other side is gone.
pub(super) fn gone(error: crate::sys::Error) -> Error {
    const CLOSED: [i32; 5] =
        [libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN, libc::ECONNREFUSED, libc::ENOENT];
    if CLOSED.contains(&error.errno()) { Error::Gone } else { Error::Sys(error) }
}

/// Waits for one packet: its bytes in `buffer`, its descriptors in `fds`. The buffer grows with what comes: most
/// packets are a few bytes, and a large buffer is pages to touch.
pub(super) fn receive<'b>(
    socket: BorrowedFd<'_>,
    buffer: &'b mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> Result<&'b [u8]> {
    let length = socket::next_length(socket).map_err(gone)?.clamp(1, MAX_PACKET);
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    match socket::receive(socket, buffer, fds, true).map_err(gone)? {
        Some(Received::Packet(length)) => Ok(&buffer[..length]),
        Some(Received::Truncated) => Err(Error::Protocol { peer: "the shim", reason: "packet too large" }),
        Some(Received::Closed) | None => Err(Error::Gone),
    }
}

/// Sends one reply to a client that reads (the first one, before there is a server), waiting for room.
pub fn send_reply(socket: BorrowedFd<'_>, reply: &Reply<'_>) -> Result<()> {
    send(socket, reply.encode(), &[], true).map(|_| ())
}

/// What does not fit into a packet, as a file in memory.
pub(super) fn file_of(bytes: &[u8]) -> Result<OwnedFd> {
    use std::io::Write;
    let file =
        rustix::fs::memfd_create("kelp request", rustix::fs::MemfdFlags::CLOEXEC).op("memfd_create")?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).op("write a request")?;
    Ok(file.into())
}

/// A file of [`file_of`], bounded. Reading does not wait.
pub(super) fn read_file(file: &OwnedFd) -> sys::Result<Vec<u8>> {
    let size = rustix::fs::fstat(file).op("stat a request")?.st_size;
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_FILE).contains(size));
    let size = size.ok_or_else(|| sys::Error::new("read a request", libc::EFBIG))?;
    let mut bytes = vec![0; size];
    let mut have = 0;
    while have < size {
        match rustix::io::pread(file, &mut bytes[have..], have as u64) {
            Ok(0) => return Err(sys::Error::new("read a request", libc::EIO)),
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).op("read a request"),
        }
    }
    Ok(bytes)
}

/// The first client's reading of how the start went: the pid and warnings, or the failure as [`Error::Refused`]. A
/// socket that closes without a word is [`Error::Gone`].
pub fn receive_started(socket: BorrowedFd<'_>) -> Result<(u32, Vec<String>)> {
    let mut buffer = Vec::new();
    match Reply::decode(receive(socket, &mut buffer, &mut Vec::new())?)? {
        Reply::Started { pid, warnings } => Ok((pid, warnings)),
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(Error::Protocol { peer: "the shim", reason: "a start was to be reported" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn packet((kind, payload): (u8, Cow<'_, [u8]>)) -> Vec<u8> {
        [&[kind][..], &payload].concat()
    }

    fn requests() -> Vec<Request<'static>> {
        vec![
            Request::Launch,
            Request::Attach(Attach { stdin: true, stdout: false, stderr: true }),
            Request::Stdin(b"ls\n"),
            Request::StdinClosed,
            Request::Resize { rows: 24, cols: 65535 },
            Request::Signal(15),
            Request::Wait,
            Request::Kill(64),
            Request::Exec,
        ]
    }

    fn replies() -> Vec<Reply<'static>> {
        let hint = Some("try \"\u{1}\"".to_owned());
        vec![
            Reply::Started { pid: 4_000_000, warnings: vec!["one".into()] },
            Reply::Failed(Failure { status: 127, message: "no \n such".into(), hint, taken: None }),
            Reply::Attached { tty: true },
            Reply::StdinTaken,
            Reply::StdinGone,
            Reply::Stdout(&[0, 255, 10]),
            Reply::Stderr(b"x"),
            Reply::Gap { from: 1, to: u64::MAX },
            Reply::Exited { code: 137 },
            Reply::Done,
            Reply::ExecStarted { pid: 7, tty: false },
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for request in requests() {
            assert_eq!(Request::decode(&packet(request.encode())).unwrap(), request);
        }
        for reply in replies() {
            assert_eq!(Reply::decode(&packet(reply.encode())).unwrap(), reply);
        }
    }

    #[test]
    fn truncated_lengthened_and_random_packets_are_refused_or_understood_but_never_fatal() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let whole: Vec<Vec<u8>> = requests()
            .iter()
            .map(|r| packet(r.encode()))
            .chain(replies().iter().map(|r| packet(r.encode())))
            .collect();
        for _ in 0..20_000 {
            let mut bytes = whole[usize::try_from(random()).unwrap() % whole.len()].clone();
            match random() % 3 {
                0 => bytes.truncate(usize::try_from(random()).unwrap() % (bytes.len() + 1)),
                1 => bytes.extend(random().to_le_bytes()),
                _ => {
                    let at = usize::try_from(random()).unwrap() % bytes.len();
                    bytes[at] = u8::try_from(random() & 0xff).unwrap();
                }
            }
            // What is understood must be sendable again: nothing half-valid gets through.
            if let Ok(request) = Request::decode(&bytes) {
                assert_eq!(Request::decode(&packet(request.encode())).unwrap(), request);
            }
            if let Ok(reply) = Reply::decode(&bytes) {
                assert_eq!(Reply::decode(&packet(reply.encode())).unwrap(), reply);
            }
        }
    }

    #[test]
    fn limits_hold() {
        assert!(Request::decode(&[]).is_err());
        assert!(Request::decode(&[kind::STDIN]).is_err());
        assert!(Request::decode(&[kind::WAIT, 0]).is_err());
        assert!(Reply::decode(&[200]).is_err());
        assert!(Reply::decode(b"\x48{\"from\":2,\"to\":1}").is_err());
        let mut large = vec![b'x'; MAX_PACKET];
        large[0] = kind::STDIN;
        assert!(Request::decode(&large).is_ok());
        large.push(b'x');
        assert!(Request::decode(&large).is_err());
        let long = Failure {
            status: 125,
            message: "\u{1}".repeat(1 << 20),
            hint: Some("\"".repeat(1 << 20)),
            taken: None,
        };
        assert!(packet(Reply::Failed(long).encode()).len() <= MAX_PACKET);
    }

    #[test]
    fn the_start_is_reported_over_a_pair() {
        let (ours, theirs) = pair().unwrap();
        send_reply(theirs.as_fd(), &Reply::Started { pid: 42, warnings: Vec::new() }).unwrap();
        assert_eq!(receive_started(ours.as_fd()).unwrap(), (42, Vec::new()));
        let failure = Failure { status: 126, message: "permission denied".into(), hint: None, taken: None };
        send_reply(theirs.as_fd(), &Reply::Failed(failure)).unwrap();
        let error = receive_started(ours.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Refused { status: ExitStatus::CannotInvoke, .. }), "{error}");
        drop(theirs);
        assert!(matches!(receive_started(ours.as_fd()), Err(Error::Gone)));
    }
}
