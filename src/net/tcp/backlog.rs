//! Bytes that the container sent and the host's socket had no room for. They were acknowledged, so they are kept.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::sys::inet::{self, Outcome};

/// Bytes waiting for room.
#[derive(Debug, Default)]
pub(in crate::net) struct Backlog {
    bytes: Vec<u8>,
    /// How many of them were sent.
    start: usize,
}

impl Backlog {
    pub(in crate::net) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::net) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(in crate::net) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Sends what there is room for. How much that was, and whether that is all the room there was.
    pub(in crate::net) fn drain(&mut self, socket: &OwnedFd) -> (usize, Outcome<()>) {
        let mut sent = 0;
        while self.start < self.bytes.len() {
            match inet::send(socket, &self.bytes[self.start..]) {
                Ok(n) => {
                    self.start += n;
                    sent += n;
                }
                Err(e) => {
                    self.compact();
                    return (sent, Err(e));
                }
            }
        }
        self.compact();
        (sent, Ok(()))
    }

    /// Moves what is left to the front once as much was sent, so that a backlog that never empties stays small.
    fn compact(&mut self) {
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(0);
            self.start = 0;
        } else if self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Throws everything away. How much that was.
    pub(in crate::net) fn forget(&mut self) -> usize {
        let held = self.len();
        *self = Self::default();
        held
    }
}

/// Sends `bytes`, or as much of them as there is room for.
pub(in crate::net) fn send(socket: &OwnedFd, bytes: &[u8]) -> (usize, Outcome<()>) {
    let mut sent = 0;
    while sent < bytes.len() {
        match inet::send(socket, &bytes[sent..]) {
            Ok(n) => sent += n,
            Err(Errno::INTR) => {}
            Err(e) => return (sent, Err(e)),
        }
    }
    (sent, Ok(()))
}
