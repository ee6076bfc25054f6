//! Puts packets together that came in parts, RFC 791 and RFC 8200.
//!
//! Bounded in number, bytes and time. Parts that overlap are an attack on whoever puts them together (RFC 5722):
//! the whole packet is thrown away.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use smoltcp::wire::IpProtocol;

use super::link::LARGEST;
use super::packet::{Fragment, Packet};

/// How long the parts of a packet may take. The RFCs say 60 seconds; every kernel says this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packets that may be in parts at one time.
const PACKETS: usize = 64;
/// Their bytes, headers not counted.
const BYTES: usize = 2 << 20;
/// Parts of one packet: as many as the smallest MTU makes of the largest packet, and some.
const PARTS: usize = 1500;

/// What the parts of one packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    ident: u32,
}

#[derive(Debug)]
struct Partial {
    key: Key,
    since: Instant,
    /// The headers of the first part, once it is there.
    header: Option<Vec<u8>>,
    hop_limit: u8,
    payload: Vec<u8>,
    /// What is there: first byte and behind the last, sorted.
    ranges: Vec<(usize, usize)>,
    /// Length of the whole payload, once the last part is there.
    length: Option<usize>,
    /// A part contradicted another: those that still come are thrown away with it.
    spoiled: bool,
}

/// A packet that was put together.
#[derive(Debug)]
pub(super) struct Whole {
    key: Key,
    hop_limit: u8,
    header: usize,
    bytes: Vec<u8>,
}

/// All packets in parts.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    partial: Vec<Partial>,
    bytes: usize,
}

impl Whole {
    pub(super) fn packet(&self) -> Packet<'_> {
        Packet {
            source: self.key.source,
            destination: self.key.destination,
            protocol: self.key.protocol,
            hop_limit: self.hop_limit,
            dont_fragment: false,
            fragment: None,
            payload: &self.bytes[self.header..],
            whole: &self.bytes,
        }
    }
}

impl Fragments {
    /// Takes a part. The packet, once it is whole; and how many parts were thrown away for it.
    pub(super) fn take(&mut self, packet: &Packet<'_>, part: Fragment, now: Instant) -> (Option<Whole>, u64) {
        let mut dropped = self.expire(now);
        while self.bytes + packet.payload.len() > BYTES && !self.partial.is_empty() {
            dropped += self.remove(0);
        }
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            ident: part.ident,
        };
        let at = match self.partial.iter().position(|p| p.key == key) {
            Some(at) => at,
            None => {
                if self.partial.len() >= PACKETS {
                    dropped += self.remove(0);
                }
                self.partial.push(Partial::new(key, now));
                self.partial.len() - 1
            }
        };
        let partial = &mut self.partial[at];
        let before = partial.payload.len();
        if partial.add(packet, part) {
            self.bytes += partial.payload.len() - before;
        } else {
            self.bytes -= before;
            partial.spoil();
            return (None, dropped + 1);
        }
        if !partial.is_whole() {
            return (None, dropped);
        }
        let partial = self.partial.remove(at);
        self.bytes -= partial.payload.len();
        (partial.finish(), dropped)
    }

    fn remove(&mut self, at: usize) -> u64 {
        let gone = self.partial.remove(at);
        self.bytes -= gone.payload.len();
        gone.ranges.len() as u64
    }

    /// Throws away what waited too long. There is no need to do so earlier than the next part comes: what waits is
    /// bounded.
    fn expire(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while self.partial.first().is_some_and(|p| now.saturating_duration_since(p.since) > PATIENCE) {
            dropped += self.remove(0);
        }
        dropped
    }
}

impl Partial {
    fn new(key: Key, since: Instant) -> Self {
        Self {
            key,
            since,
            header: None,
            hop_limit: 0,
            payload: Vec::new(),
            ranges: Vec::new(),
            length: None,
            spoiled: false,
        }
    }

    fn spoil(&mut self) {
        self.spoiled = true;
        self.payload = Vec::new();
        self.ranges = Vec::new();
    }

    /// Whether the part fits the others.
    fn add(&mut self, packet: &Packet<'_>, part: Fragment) -> bool {
        let bytes = packet.payload;
        let (start, end) = (part.offset, part.offset + bytes.len());
        let ragged = part.more && !bytes.len().is_multiple_of(8);
        if self.spoiled || bytes.is_empty() || ragged || end > LARGEST - 20 || self.ranges.len() >= PARTS {
            return false;
        }
        if self.length.is_some_and(|length| end > length || (!part.more && end != length)) {
            return false;
        }
        if !part.more {
            if self.payload.len() > end {
                return false;
            }
            self.length = Some(end);
        }
        let at = self.ranges.partition_point(|(from, _)| *from < start);
        let clear_before = at == 0 || self.ranges[at - 1].1 <= start;
        let clear_after = self.ranges.get(at).is_none_or(|(from, _)| *from >= end);
        if !clear_before || !clear_after {
            return false;
        }
        self.ranges.insert(at, (start, end));
        if self.payload.len() < end {
            self.payload.resize(end, 0);
        }
        self.payload[start..end].copy_from_slice(bytes);
        if start == 0 {
            self.header = Some(packet.whole[..packet.whole.len() - bytes.len()].to_vec());
            self.hop_limit = packet.hop_limit;
        }
        true
    }

    fn is_whole(&self) -> bool {
        let mut reached = 0;
        for (from, to) in &self.ranges {
            if *from != reached {
                return false;
            }
            reached = *to;
        }
        self.length == Some(reached) && self.header.is_some()
    }

    fn finish(self) -> Option<Whole> {
        let mut bytes = self.header?;
        let header = bytes.len();
        bytes.extend_from_slice(&self.payload);
        Some(Whole { key: self.key, hop_limit: self.hop_limit, header, bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use smoltcp::wire::IpProtocol;

    use super::{Fragments, PACKETS};
    use crate::net::packet::{Fragment, Packet};

    fn part(whole: &[u8], ident: u32, offset: usize, more: bool) -> (Packet<'_>, Fragment) {
        let fragment = Fragment { ident, offset, more };
        let packet = Packet {
            source: "10.0.2.100".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            protocol: IpProtocol::Udp,
            hop_limit: 64,
            dont_fragment: false,
            fragment: Some(fragment),
            payload: &whole[20..],
            whole,
        };
        (packet, fragment)
    }

    fn bytes(fill: u8, length: usize) -> Vec<u8> {
        let mut whole = vec![0xee; 20];
        whole.resize(20 + length, fill);
        whole
    }

    #[test]
    fn any_order_makes_the_packet() {
        let now = Instant::now();
        let (a, b, c) = (bytes(1, 16), bytes(2, 8), bytes(3, 5));
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut fragments = Fragments::default();
            let parts = [part(&a, 7, 0, true), part(&b, 7, 16, true), part(&c, 7, 24, false)];
            let mut whole = None;
            for at in order {
                let (packet, fragment) = parts[at];
                assert!(whole.is_none());
                whole = fragments.take(&packet, fragment, now).0;
            }
            let whole = whole.unwrap();
            let expected: Vec<u8> = [&[1u8; 16][..], &[2; 8], &[3; 5]].concat();
            assert_eq!(whole.packet().payload, expected);
            assert_eq!(fragments.bytes, 0);
        }
    }

    /// T-frag, first-fragment tricks included.
    #[test]
    fn overlap_spoils_the_packet() {
        let now = Instant::now();
        let mut fragments = Fragments::default();
        let (a, b, c) = (bytes(1, 16), bytes(2, 16), bytes(3, 8));
        for (whole, offset, more) in [(&a, 0, true), (&b, 8, true), (&c, 24, false)] {
            let (packet, fragment) = part(whole, 9, offset, more);
            assert!(fragments.take(&packet, fragment, now).0.is_none());
        }
        assert_eq!(fragments.bytes, 0);
    }

    /// T-frag.
    #[test]
    fn what_never_ends_is_bounded() {
        let mut now = Instant::now();
        let mut fragments = Fragments::default();
        let large = bytes(1, 60_000);
        for ident in 0..10_000 {
            let (packet, fragment) = part(&large, ident, 0, true);
            assert!(fragments.take(&packet, fragment, now).0.is_none());
            assert!(fragments.partial.len() <= PACKETS && fragments.bytes <= super::BYTES);
        }
        now += Duration::from_secs(31);
        let (packet, fragment) = part(&large, 77_777, 0, true);
        fragments.take(&packet, fragment, now);
        assert_eq!(fragments.partial.len(), 1);
    }

    /// T-frag.
    #[test]
    fn beyond_the_largest_packet_is_nothing() {
        let mut fragments = Fragments::default();
        let whole = bytes(1, 64);
        let (packet, fragment) = part(&whole, 1, 65_528, false);
        assert!(fragments.take(&packet, fragment, Instant::now()).0.is_none());
        assert_eq!(fragments.bytes, 0);
    }
}
