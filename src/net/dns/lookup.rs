//! One query on its way to the host's resolvers, one after the other.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::message;
use super::resolvers::Servers;
use crate::sys::inet::{self, Kind};
use crate::sys::random;

/// How often the list of servers is gone through.
const ROUNDS: usize = 2;

/// By what way the container asked, which is that by which it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A query that waits for its answer.
#[derive(Debug)]
pub(super) struct Lookup {
    transport: Transport,
    /// As it came.
    query: Vec<u8>,
    servers: Servers,
    /// Servers that were asked so far, the present one included.
    asked: usize,
    attempt: Option<Attempt>,
    deadline: Instant,
    /// What a server said that may not be the last word.
    refusal: Option<Vec<u8>>,
}

/// A query at one server.
#[derive(Debug)]
struct Attempt {
    /// Connected: the kernel takes only what this server sends.
    socket: OwnedFd,
    id: u16,
    /// TCP: length and query, how much of it is sent, and what has come back.
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

/// How a lookup stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waits,
    /// It waits at another socket.
    Moved,
    /// The answer, under the container's own id. `None`: nobody knows.
    Ended(Option<Vec<u8>>),
}

/// What became of an attempt.
enum Outcome {
    Waits,
    Answered(Vec<u8>),
    Failed,
}

impl Lookup {
    /// `query` has a question. It begins with [`Self::next`].
    pub(super) fn new(query: Vec<u8>, transport: Transport, servers: Servers, now: Instant) -> Self {
        Self { transport, query, servers, asked: 0, attempt: None, deadline: now, refusal: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Where it waits; to be watched in both directions.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.attempt.as_ref().map(|a| &a.socket)
    }

    /// Asks the next server that can be asked at all.
    pub(super) fn next(&mut self, now: Instant) -> Progress {
        let count = self.servers.addresses.len();
        while self.asked < count * ROUNDS {
            let server = self.servers.addresses[self.asked % count];
            self.asked += 1;
            if let Some(attempt) = self.ask(server) {
                self.attempt = Some(attempt);
                self.deadline = now + self.servers.timeout;
                return Progress::Moved;
            }
        }
        self.attempt = None;
        Progress::Ended(self.refusal.take())
    }

    fn ask(&self, server: SocketAddr) -> Option<Attempt> {
        let mut bytes = [0; 2];
        random::fill(&mut bytes).ok()?;
        let id = u16::from_be_bytes(bytes);
        let kind = if self.transport == Transport::Udp { Kind::Udp } else { Kind::Tcp };
        // A fresh socket has a random port.
        let socket = inet::socket(kind, server.ip()).ok()?;
        if let Some(from) = self.servers.outbound(server.ip()) {
            inet::bind(&socket, SocketAddr::new(from, 0)).ok()?;
        }
        match inet::connect(&socket, server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return None,
        }
        let query = message::with_id(&self.query, id);
        let mut attempt = Attempt { socket, id, output: Vec::new(), sent: 0, input: Vec::new() };
        match self.transport {
            Transport::Udp => drop(inet::send(&attempt.socket, &query).ok()?),
            Transport::Tcp => attempt.output = framed(&query),
        }
        Some(attempt)
    }

    /// Something happened at the socket.
    pub(super) fn ready(&mut self, buffer: &mut [u8], now: Instant) -> Progress {
        let Some(attempt) = &mut self.attempt else { return Progress::Waits };
        let outcome = match self.transport {
            Transport::Udp => attempt.datagram(&self.query, buffer),
            Transport::Tcp => attempt.stream(&self.query, buffer),
        };
        match outcome {
            Outcome::Waits => Progress::Waits,
            Outcome::Failed => self.next(now),
            Outcome::Answered(answer) => {
                let answer = message::with_id(&answer, message::id(&self.query));
                if message::is_refusal(&answer) && self.asked < self.servers.addresses.len() {
                    self.refusal = Some(answer);
                    return self.next(now);
                }
                Progress::Ended(Some(answer))
            }
        }
    }

    /// The server did not answer in time.
    pub(super) fn expire(&mut self, now: Instant) -> Progress {
        if now < self.deadline { Progress::Waits } else { self.next(now) }
    }

    pub(super) fn query(&self) -> &[u8] {
        &self.query
    }
}

impl Attempt {
    fn datagram(&self, query: &[u8], buffer: &mut [u8]) -> Outcome {
        loop {
            match inet::receive(&self.socket, buffer) {
                Ok(length) => {
                    let answer = &buffer[..length];
                    // Anything else at this socket is a guess at the answer.
                    if message::belongs(answer, query, self.id) {
                        return Outcome::Answered(answer.to_vec());
                    }
                }
                Err(Errno::AGAIN) => return Outcome::Waits,
                // Nobody is there, or the network has gone.
                Err(_) => return Outcome::Failed,
            }
        }
    }

    fn stream(&mut self, query: &[u8], buffer: &mut [u8]) -> Outcome {
        while self.sent < self.output.len() {
            match inet::send(&self.socket, &self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN | Errno::NOTCONN) => return Outcome::Waits,
                Err(_) => return Outcome::Failed,
            }
        }
        loop {
            match inet::receive(&self.socket, buffer) {
                Ok(0) => return Outcome::Failed,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(Errno::AGAIN) => return Outcome::Waits,
                Err(_) => return Outcome::Failed,
            }
            if let Some(answer) = unframed(&self.input) {
                let fits = message::belongs(answer, query, self.id);
                return if fits { Outcome::Answered(answer.to_vec()) } else { Outcome::Failed };
            }
        }
    }
}

/// A message as it travels on TCP. Longer ones than [`message::LONGEST`] are not made.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), &message[..usize::from(length).min(message.len())]].concat()
}

/// The first message, once it is whole.
pub(super) fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?));
    bytes.get(2..2 + length)
}

/// How long a container's connection may be without a whole query.
pub(super) const IDLE: Duration = Duration::from_secs(10);
