//! Waiting for many descriptors at once, epoll(7), edge by edge.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::{Context, Error, Result};

/// What is asked for and what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// The socket has an error, or both its directions are closed.
    pub failed: bool,
    /// The other end has sent all that it will send, and nothing else happened.
    pub ended: bool,
    /// There is something else than bytes in their order: an error, or an urgent byte.
    pub special: bool,
}

/// Descriptors and the numbers they are known by. A descriptor leaves by being closed.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<(u64, Ready)>,
}

/// The most events of one wake-up.
const BATCH: usize = 128;

impl Poller {
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).op("epoll_create1")?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    /// Wakes on every change of the descriptor from unready to ready.
    pub fn add_edge(&self, fd: impl AsFd, number: u64) -> Result<()> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::PRI
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number), flags).op("epoll_ctl")
    }

    /// Wakes as long as the descriptor is readable.
    pub fn add_readable(&self, fd: impl AsFd, number: u64) -> Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN).op("epoll_ctl")
    }

    /// Forgets a descriptor that stays open.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Looks for events again and again until `end`, without sleeping. Whether there are some. Whoever else could run
    /// on this processor, as one that was just woken by a packet, goes first.
    pub fn look(&mut self, end: Instant) -> Result<bool> {
        loop {
            self.wait(Some(Duration::ZERO))?;
            if !self.events.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            rustix::thread::sched_yield();
        }
    }

    /// Waits, without a limit if `timeout` is `None`. A signal ends the waiting without events.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        use rustix::io::Errno;
        self.events.clear();
        // Rounded up to what epoll counts in: waking before the time would turn in circles until it is there.
        let timeout = timeout.map(|t| t.as_nanos().div_ceil(1_000_000)).map(|ms| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            rustix::event::Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) * 1_000_000 }
        });
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); BATCH];
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => {
                self.events.extend(events.iter().map(|event| read(*event)));
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(e) => Err(Error::new("epoll_wait", e.raw_os_error())),
        }
    }

    /// One of the events of the last [`Poller::wait`], numbered from 0.
    #[must_use]
    pub fn event(&self, at: usize) -> Option<(u64, Ready)> {
        self.events.get(at).copied()
    }
}

fn read(event: epoll::Event) -> (u64, Ready) {
    // Packed: copied out before use.
    let (flags, data) = (event.flags, event.data);
    let ready = Ready {
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        failed: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP),
        ended: flags.contains(epoll::EventFlags::RDHUP) && !flags.contains(epoll::EventFlags::ERR),
        special: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::PRI),
    };
    (data.u64(), ready)
}
