//! The bytes from the host that the container has not acknowledged.
//!
//! They stay in the host's socket and are copied out of it as often as they are sent: the kernel keeps the only
//! copy. Where a kernel cannot copy from the middle of a queue (TCP before 6.9), or a socket not throw away
//! (unix), they wait in a ring, taken from a pool when there are some and given back when there are none.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::sys::inet::{self, Outcome};

/// Size of a ring in bytes. Smaller ones were measured to be slower, larger ones not to be faster.
const RING: usize = 256 << 10;
/// Rings that are kept for the next flow.
const SPARE: usize = 8;

/// Rings that nobody uses.
#[derive(Debug, Default)]
pub(in crate::net) struct Pool(Vec<Box<[u8]>>);

/// Where a flow's bytes wait.
#[derive(Debug)]
pub(in crate::net) enum Source {
    /// In the socket; `at` is its peek offset.
    Peek {
        at: usize,
    },
    Ring(Ring),
}

/// A ring of bytes.
#[derive(Debug, Default)]
pub(in crate::net) struct Ring {
    bytes: Option<Box<[u8]>>,
    /// Where the first byte is, and how many there are.
    start: usize,
    length: usize,
    /// The host sends no more.
    ended: bool,
}

impl Source {
    /// The better one that `socket`, a TCP socket, can do.
    pub(in crate::net) fn of(socket: &OwnedFd) -> Self {
        match inet::set_peek_offset(socket, 0) {
            Ok(()) => Self::Peek { at: 0 },
            Err(_) => Self::Ring(Ring::default()),
        }
    }

    /// Whether the bytes stay in the socket, and a copy that comes out short has all of them.
    pub(in crate::net) fn keeps_in_socket(&self) -> bool {
        matches!(self, Self::Peek { .. })
    }

    /// Copies bytes from `offset` on. `Ok(0)`: there are none and will be none. `AGAIN`: none yet.
    pub(in crate::net) fn copy(
        &mut self,
        socket: &OwnedFd,
        offset: usize,
        to: &mut [u8],
        pool: &mut Pool,
    ) -> Outcome<usize> {
        match self {
            Self::Peek { at } => {
                if *at != offset {
                    inet::set_peek_offset(socket, offset)?;
                    *at = offset;
                }
                let n = inet::peek(socket, to)?;
                *at += n;
                Ok(n)
            }
            Self::Ring(ring) => ring.copy(socket, offset, to, pool),
        }
    }

    /// Throws away the first `count` bytes, which were copied before.
    pub(in crate::net) fn discard(&mut self, socket: &OwnedFd, count: usize, pool: &mut Pool) -> Outcome<()> {
        match self {
            Self::Peek { at } => {
                let mut left = count;
                while left > 0 {
                    match inet::discard(socket, left)? {
                        0 => break,
                        n => left -= n.min(left),
                    }
                }
                // The kernel moves its offset back by as much.
                *at = at.saturating_sub(count);
                Ok(())
            }
            Self::Ring(ring) => {
                ring.discard(count, pool);
                Ok(())
            }
        }
    }

    /// Gives back what was taken from the pool.
    pub(in crate::net) fn release(&mut self, pool: &mut Pool) {
        if let Self::Ring(ring) = self {
            ring.length = 0;
            ring.give_back(pool);
        }
    }
}

impl Ring {
    fn copy(&mut self, socket: &OwnedFd, offset: usize, to: &mut [u8], pool: &mut Pool) -> Outcome<usize> {
        let filled = if offset >= self.length { self.fill(socket, pool) } else { Ok(()) };
        let available = self.length.saturating_sub(offset).min(to.len());
        if available == 0 {
            return match filled {
                Err(e) => Err(e),
                Ok(()) if self.ended => Ok(0),
                Ok(()) => Err(Errno::AGAIN),
            };
        }
        let Some(bytes) = &self.bytes else { return Err(Errno::AGAIN) };
        let from = (self.start + offset) % RING;
        let first = available.min(RING - from);
        to[..first].copy_from_slice(&bytes[from..from + first]);
        to[first..available].copy_from_slice(&bytes[..available - first]);
        Ok(available)
    }

    /// Takes as much from the socket as there is room for.
    fn fill(&mut self, socket: &OwnedFd, pool: &mut Pool) -> Outcome<()> {
        while !self.ended && self.length < RING {
            let mut bytes = match self.bytes.take() {
                Some(bytes) => bytes,
                None => pool.0.pop().unwrap_or_else(|| vec![0; RING].into_boxed_slice()),
            };
            let from = (self.start + self.length) % RING;
            let room = (RING - self.length).min(RING - from);
            let got = inet::receive(socket, &mut bytes[from..from + room]);
            self.bytes = Some(bytes);
            match got {
                Ok(0) => self.ended = true,
                Ok(n) => self.length += n,
                Err(e) => {
                    self.give_back(pool);
                    return if e == Errno::AGAIN { Ok(()) } else { Err(e) };
                }
            }
        }
        self.give_back(pool);
        Ok(())
    }

    fn discard(&mut self, count: usize, pool: &mut Pool) {
        let count = count.min(self.length);
        self.start = (self.start + count) % RING;
        self.length -= count;
        self.give_back(pool);
    }

    fn give_back(&mut self, pool: &mut Pool) {
        if self.length == 0
            && let Some(bytes) = self.bytes.take()
        {
            self.start = 0;
            if pool.0.len() < SPARE {
                pool.0.push(bytes);
            }
        }
    }
}
