//! A bad link: what two ends say to each other comes late, twice, in another order or not at all, by a seed.
//!
//! The ends are TUN devices or sockets that look like one. Large packets are cut up first, as an interface would
//! before a wire: what is lost is one packet, not forty.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kelp::sys::{inet, tun};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How bad it is; all but the delay in thousandths of the packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub lost: u32,
    pub twice: u32,
    /// Come up to [`LATE`] later than those behind them.
    pub late: u32,
}

/// How long every packet takes from one end to the other.
const ONE_WAY: Duration = Duration::from_millis(2);
const LATE: Duration = Duration::from_millis(8);

/// Dropped, the link is gone.
pub struct Relay {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn between(a: OwnedFd, b: OwnedFd, weather: Weather, seed: u64) -> Self {
        let stop = Arc::new(inet::event().unwrap());
        let until = Arc::clone(&stop);
        let carry = move || {
            let mut there = Way::new(weather, seed);
            let mut back = Way::new(weather, seed ^ 0x9e37_79b9_7f4a_7c15);
            loop {
                let pause = [&there, &back].iter().filter_map(|w| w.due()).min();
                let pause = pause.map(|at| at.saturating_duration_since(Instant::now()));
                let pause = pause.map(|p| Timespec::try_from(p).unwrap());
                let mut fds = [a.as_fd(), b.as_fd(), until.as_fd()]
                    .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
                poll(&mut fds, pause.as_ref()).unwrap();
                if !fds[2].revents().is_empty() {
                    return;
                }
                there.carry(&a, &b);
                back.carry(&b, &a);
            }
        };
        Self { stop, thread: Some(std::thread::spawn(carry)) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        inet::raise(&*self.stop);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|e| e.is_ok()), "the link broke");
    }
}

/// One direction.
struct Way {
    weather: Weather,
    random: u64,
    /// By when they are due, and which came first.
    waiting: BTreeMap<(Instant, u64), Vec<u8>>,
    count: u64,
    buffer: Vec<u8>,
}

impl Way {
    fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, random: seed | 1, waiting: BTreeMap::new(), count: 0, buffer: vec![0; 70_000] }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from(self.random >> 33).unwrap() % limit
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn carry(&mut self, from: &OwnedFd, to: &OwnedFd) {
        let now = Instant::now();
        // One that has gone away has nothing more to say.
        while let Ok(length @ 1..) = rustix::io::read(from, &mut self.buffer[..]) {
            for frame in cut(&self.buffer[..length]) {
                if self.below(1000) < self.weather.lost {
                    continue;
                }
                let copies = 1 + u32::from(self.below(1000) < self.weather.twice);
                for _ in 0..copies {
                    let late = self.below(1000) < self.weather.late;
                    let extra = if late { LATE * self.below(100) / 100 } else { Duration::ZERO };
                    self.count += 1;
                    self.waiting.insert((now + ONE_WAY + extra, self.count), frame.clone());
                }
            }
        }
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            // A full queue at the other end is one more loss.
            let _ = rustix::io::write(to, &first.remove());
        }
    }
}

/// A packet with its header as several without need of segmentation. Their checksums are whole, so that both ends look.
fn cut(frame: &[u8]) -> Vec<Vec<u8>> {
    let (header, packet) = frame.split_at(tun::HEADER);
    // gso_type and gso_size of the virtio-net header.
    let (kind, size) = (header[1] & 0x7f, usize::from(u16::from_ne_bytes([header[4], header[5]])));
    if kind == 0 {
        return vec![frame.to_vec()];
    }
    let ip = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let head = ip + usize::from(packet[ip + 12] >> 4) * 4;
    let seq = u32::from_be_bytes(packet[ip + 4..ip + 8].try_into().unwrap());
    let count = packet[head..].len().div_ceil(size);
    let piece = |(at, payload): (usize, &[u8])| {
        let mut bytes = [&[0; tun::HEADER], &packet[..head], payload].concat();
        let segment = &mut bytes[tun::HEADER..];
        let seq = seq.wrapping_add(u32::try_from(at * size).unwrap());
        segment[ip + 4..ip + 8].copy_from_slice(&seq.to_be_bytes());
        if at + 1 < count {
            // FIN and PSH belong to the last one.
            segment[ip + 13] &= !0x09;
        }
        let length = u16::try_from(segment.len()).unwrap();
        if segment[0] >> 4 == 4 {
            segment[2..4].copy_from_slice(&length.to_be_bytes());
            segment[10..12].fill(0);
            let sum = !fold(sum(&segment[..ip]));
            segment[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            segment[4..6].copy_from_slice(&(length - 40).to_be_bytes());
        }
        let addresses = if segment[0] >> 4 == 4 { 12..20 } else { 8..40 };
        segment[ip + 16..ip + 18].fill(0);
        let pseudo = sum(&segment[addresses]) + 6 + u64::try_from(segment.len() - ip).unwrap();
        let sum = !fold(pseudo + sum(&segment[ip..]));
        segment[ip + 16..ip + 18].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    packet[head..].chunks(size).enumerate().map(piece).collect()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | w.get(1).map_or(0, |low| u64::from(*low))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
