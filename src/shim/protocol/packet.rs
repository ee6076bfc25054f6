//! How a message is written into a packet: a byte of kind, then raw data or JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Failure, MAX_DATA, Reply, Request};
use crate::shim::error::{Error, Result};
use crate::shim::log::Stream;

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
pub(in crate::shim) fn output_kind(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => kind::STDOUT,
        Stream::Stderr => kind::STDERR,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::protocol::{Attach, MAX_PACKET};

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
            Request::Network,
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
}
