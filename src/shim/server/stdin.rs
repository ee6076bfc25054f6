//! The way into the container's stdin: what clients sent and the container has not taken yet.
//!
//! A client has at most one packet here, because it waits for `StdinTaken` before it sends the next.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::clients::Token;

/// Clients that send and go, one after the other, could fill memory: beyond this much nobody else is let in.
const MOST: usize = 1 << 20;

/// The container's end of it.
#[derive(Debug)]
enum Way {
    Pipe(OwnedFd),
    /// The pty's master belongs to the output side too, and outlives the queue.
    Pty(OwnedFd),
    Closed,
}

#[derive(Debug)]
struct Piece {
    from: Token,
    bytes: Vec<u8>,
    written: usize,
}

/// The queue in front of stdin.
#[derive(Debug)]
pub(super) struct Stdin {
    way: Way,
    queue: VecDeque<Piece>,
    /// Close when the queue is empty.
    closing: bool,
}

/// What became of a client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    Waiting,
    /// Nobody reads any more.
    Gone,
}

impl Stdin {
    pub(super) fn pipe(fd: Option<OwnedFd>) -> Self {
        Self { way: fd.map_or(Way::Closed, Way::Pipe), queue: VecDeque::new(), closing: false }
    }

    pub(super) fn pty(master: OwnedFd) -> Self {
        Self { way: Way::Pty(master), queue: VecDeque::new(), closing: false }
    }

    /// What to poll for room, when anything waits.
    pub(super) fn wants_room(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Pipe(fd) | Way::Pty(fd) if !self.queue.is_empty() => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// Whether `from` still has a packet in the queue.
    pub(super) fn holds(&self, from: Token) -> bool {
        self.queue.iter().any(|p| p.from == from)
    }

    /// Takes one packet's bytes: into the container at once as far as they go, the rest into the queue.
    pub(super) fn push(&mut self, from: Token, bytes: &[u8]) -> Fate {
        let waiting: usize = self.queue.iter().map(|p| p.bytes.len()).sum();
        if self.closing || matches!(self.way, Way::Closed) || waiting > MOST {
            return Fate::Gone;
        }
        let mut written = 0;
        if self.queue.is_empty() {
            match self.write(bytes) {
                Some(n) => written = n,
                None => {
                    self.close_now();
                    return Fate::Gone;
                }
            }
        }
        if written == bytes.len() {
            return Fate::Taken;
        }
        self.queue.push_back(Piece { from, bytes: bytes[written..].to_vec(), written: 0 });
        Fate::Waiting
    }

    /// There may be room: writes on, and tells `done` whose packets are through or came to nothing.
    pub(super) fn drain(&mut self, mut done: impl FnMut(Token, Fate)) {
        while let Some(mut piece) = self.queue.pop_front() {
            match self.write(&piece.bytes[piece.written..]) {
                Some(n) => piece.written += n,
                None => {
                    done(piece.from, Fate::Gone);
                    for piece in self.close_now() {
                        done(piece.from, Fate::Gone);
                    }
                    return;
                }
            }
            if piece.written < piece.bytes.len() {
                self.queue.push_front(piece);
                return;
            }
            done(piece.from, Fate::Taken);
        }
        if self.closing {
            self.close_now();
        }
    }

    /// End of file for a container that reads a pipe, once it has read what is queued. A terminal has no such end.
    pub(super) fn close(&mut self) {
        if matches!(self.way, Way::Pipe(_)) {
            self.closing = true;
            if self.queue.is_empty() {
                self.close_now();
            }
        }
    }

    fn close_now(&mut self) -> VecDeque<Piece> {
        self.way = Way::Closed;
        std::mem::take(&mut self.queue)
    }

    /// How much went in, `None` when nothing ever will.
    fn write(&self, bytes: &[u8]) -> Option<usize> {
        let (Way::Pipe(fd) | Way::Pty(fd)) = &self.way else { return None };
        match rustix::io::write(fd, bytes) {
            Ok(n) => Some(n),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Some(0),
            Err(_) => None,
        }
    }
}
