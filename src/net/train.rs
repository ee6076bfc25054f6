//! Datagrams that go together: of one size, on one way, one after another.
//!
//! That is what bulk transfers over UDP look like, and most of what a datagram costs the kernel is paid once for all of
//! them. Nothing waits for company: a train is what was there already.

use std::net::SocketAddr;

use super::link::Link;

/// Bytes and datagrams of a train, as the kernel takes them, and how large one may be.
const BYTES: usize = 60_000;
const DATAGRAMS: usize = 40;
pub(super) const LONGEST: usize = 1472;

/// What a train has so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Train {
    /// Of all datagrams together.
    pub bytes: usize,
    /// Of each but the last one, which may be shorter.
    pub size: usize,
    full: bool,
}

impl Train {
    /// Begins with a datagram.
    pub(super) fn of(length: usize) -> Self {
        Self { bytes: length, size: length, full: length == 0 || length > LONGEST }
    }

    /// Whether a datagram may follow the others.
    pub(super) fn takes(&self, length: usize) -> bool {
        let room = self.bytes + length <= BYTES && self.bytes < self.size * DATAGRAMS;
        !self.full && length > 0 && length <= self.size && room
    }

    /// After a shorter one no more can follow.
    pub(super) fn add(&mut self, length: usize) {
        self.full = length < self.size;
        self.bytes += length;
    }
}

/// A train towards the container, which gathers at the beginning of [`Link::payload`].
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// From where, as the container sees it, and to where.
    way: Option<(SocketAddr, SocketAddr)>,
    train: Train,
}

impl Arrivals {
    /// Where the next datagram is to be put into [`Link::payload`].
    pub(super) fn end(&self) -> usize {
        self.train.bytes
    }

    /// Takes the `length` bytes that were put there.
    pub(super) fn add(&mut self, way: (SocketAddr, SocketAddr), length: usize, link: &mut Link) {
        if self.way == Some(way) && self.train.takes(length) {
            return self.train.add(length);
        }
        let at = self.end();
        self.flush(link);
        link.payload().copy_within(at..at + length, 0);
        (self.way, self.train) = (Some(way), Train::of(length));
    }

    /// Sends what has gathered.
    pub(super) fn flush(&mut self, link: &mut Link) {
        let Train { bytes, size, .. } = std::mem::take(&mut self.train);
        if let Some((from, to)) = self.way.take() {
            link.send_udp_train(from, to, bytes, size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_and_a_shorter_last_one() {
        let mut train = Train::of(1000);
        train.add(1000);
        assert!(train.takes(1000) && train.takes(1) && !train.takes(1001) && !train.takes(0));
        train.add(999);
        assert!(!train.takes(999) && train.bytes == 2999);
    }

    #[test]
    fn neither_too_many_nor_too_much() {
        let count = |length: usize| {
            let mut train = Train::of(length);
            let mut count = 1;
            while train.takes(length) {
                train.add(length);
                count += 1;
            }
            count
        };
        assert_eq!((count(1), count(LONGEST), count(LONGEST + 1), count(0)), (DATAGRAMS, 40, 1, 1));
    }
}
