//! The loop: one thread, which sleeps until the container, the host or the clock has something.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use smoltcp::wire::IpProtocol;

use super::fragment::Fragments;
use super::handle::{Command, Handle, TakeQuery};
use super::link::{LARGEST, Link};
use super::lookout::Lookout;
use super::packet::{Malformed, Packet};
use super::ping::Ping;
use super::published::Ports;
use super::slab::Token;
use super::tcp::Tcp;
use super::udp::{Datagram, Udp};
use super::{Config, Counters, Error, Result};
use crate::sys::poll::Poller;
use crate::sys::{inet, limits, tun};

/// Packets of the container's before its other business is looked after: their connections are acknowledged once.
pub(super) const BATCH: usize = 64;
/// Bytes of a packet that is part of a bulk transfer.
const BULK: usize = 4096;
/// Descriptors that are left to the rest of the process.
const RESERVE: u64 = 64;
/// How long a container's last words may take.
const PARTING: Duration = Duration::from_millis(500);
/// Smallest MTUs, RFC 791 and RFC 8200.
const LEAST_MTU: u16 = 68;
const LEAST_MTU_V6: u16 = 1280;

/// The network of one container.
pub struct Stack {
    shared: Shared,
    commands: mpsc::Receiver<Command>,
    wake: Arc<OwnedFd>,
    handle: Handle,
    fragments: Fragments,
    tcp: Tcp,
    udp: Udp,
    ping: Ping,
    ports: Ports,
    packet: Box<[u8]>,
    /// The container has sent large packets in this turn.
    bulk: bool,
}

/// What the state machines share.
struct Shared {
    link: Link,
    config: Config,
    poller: Poller,
    dns: Option<TakeQuery>,
}

impl Shared {
    fn around(&mut self, now: Instant) -> Surroundings<'_> {
        let Self { link, config, poller, dns } = self;
        Surroundings { link, config, poller, dns: dns.as_ref(), now }
    }
}

/// What surrounds the state machines, borrowed for one step.
pub(super) struct Surroundings<'a> {
    pub link: &'a mut Link,
    pub config: &'a Config,
    pub poller: &'a Poller,
    pub dns: Option<&'a TakeQuery>,
    pub now: Instant,
}

/// Why [`Stack::turn`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Done,
    /// The descriptor given to [`Stack::stop_at`] is readable.
    Stop,
}

impl Stack {
    /// A stack for the interface behind `tun`, made by [`crate::sys::tun::open`].
    ///
    /// As many flows as the process may have descriptors for, however many the configuration allows.
    pub fn new(tun: OwnedFd, config: Config) -> Result<Self> {
        let least = if config.v6.is_some() { LEAST_MTU_V6 } else { LEAST_MTU };
        if config.mtu < least {
            return Err(Error::Mtu(config.mtu, least));
        }
        let (sender, commands) = mpsc::channel();
        let wake = Arc::new(inet::event()?);
        inet::set_nonblocking(&tun)?;
        let poller = Poller::new()?;
        poller.add_readable(&tun, Token::Tun.number())?;
        poller.add_readable(&wake, Token::Wake.number())?;
        let allowed = limits::files();
        let descriptors = allowed - RESERVE.min(allowed / 2);
        let share = |wanted: usize, eighths: u64| {
            wanted.min(usize::try_from(descriptors / 8 * eighths).unwrap_or(usize::MAX))
        };
        let limits = config.limits;
        Ok(Self {
            shared: Shared { link: Link::new(tun, &config), poller, dns: None, config },
            commands,
            handle: Handle::new(sender, Arc::clone(&wake)),
            wake,
            fragments: Fragments::default(),
            tcp: Tcp::new(share(limits.tcp, 5), limits.backlog, Instant::now()),
            udp: Udp::new(share(limits.udp, 2)),
            ping: Ping::new(share(limits.ping, 1)),
            ports: Ports::new(limits.udp),
            packet: vec![0; tun::HEADER + LARGEST].into_boxed_slice(),
            bulk: false,
        })
    }

    /// A way to this stack for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Has `take` given what the container sends to the DNS address, port 53. Without it the port is closed.
    pub fn serve_dns(&mut self, take: TakeQuery) {
        self.shared.dns = Some(take);
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.link.counters
    }

    /// How many TCP connections and UDP sockets there are.
    #[must_use]
    pub fn flows(&self) -> (usize, usize) {
        (self.tcp.len(), self.udp.len())
    }

    /// How many times the TCP flows are to be looked at, those that are of no use any more included.
    #[cfg(test)]
    pub(super) fn appointments(&self) -> usize {
        self.tcp.appointments()
    }

    /// Works until `stop` is readable or the interface is gone. What the container has sent by then still goes out,
    /// as far as the peers take it within [`PARTING`]; connections that are open after that are reset.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<()> {
        self.stop_at(stop)?;
        let mut now = Instant::now();
        let mut lookout = Lookout::default();
        loop {
            let passed = self.shared.link.counters.packets_in + self.shared.link.counters.packets_out;
            let found = match lookout.look(passed, std::mem::take(&mut self.bulk), Instant::now()) {
                Some(end) => self.shared.poller.look(end)?,
                None => false,
            };
            if !found {
                self.wait(self.deadline().map(|at| at.saturating_duration_since(now)))?;
            }
            now = Instant::now();
            lookout.came(now);
            if self.turn(now)? == Turn::Stop {
                self.shared.poller.remove(stop);
                return self.part(now + PARTING);
            }
        }
    }

    /// Works on until everybody has got what the container had sent, or `end`.
    fn part(&mut self, end: Instant) -> Result<()> {
        let mut now = Instant::now();
        // Once in any case, for what is in the interface's queue.
        self.wait(Some(Duration::ZERO))?;
        self.turn(now)?;
        while !self.tcp.is_drained() && now < end {
            let next = self.deadline().map_or(end, |at| at.min(end));
            self.wait(Some(next.saturating_duration_since(now)))?;
            now = Instant::now();
            self.turn(now)?;
        }
        Ok(())
    }

    /// Has [`Stack::turn`] tell when `stop` is readable.
    pub fn stop_at(&mut self, stop: BorrowedFd<'_>) -> Result<()> {
        Ok(self.shared.poller.add_readable(stop, Token::Stop.number())?)
    }

    /// Sleeps until there is something to do, but no longer than `timeout`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        Ok(self.shared.poller.wait(timeout)?)
    }

    /// When a timer runs out.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let all = [self.tcp.deadline(), self.udp.deadline(), self.ping.deadline(), self.ports.deadline()];
        all.into_iter().flatten().min()
    }

    /// Does what the last [`Stack::wait`] found and what is due at `now`.
    pub fn turn(&mut self, now: Instant) -> Result<Turn> {
        let mut turn = Turn::Done;
        let mut at = 0;
        let mut packets = false;
        while let Some((number, ready)) = self.shared.poller.event(at) {
            at += 1;
            let mut around = self.shared.around(now);
            match Token::of(number) {
                Some(Token::Tun) => packets = true,
                Some(Token::Wake) => self.obey(now),
                Some(Token::Stop) => turn = Turn::Stop,
                Some(Token::Tcp(slot)) => self.tcp.ready(slot, ready, &mut around),
                Some(Token::Udp(slot)) => self.udp.ready(slot, ready.failed, &mut around),
                Some(Token::Ping(slot)) => self.ping.ready(slot, ready.failed, &mut around),
                Some(Token::Listener(slot)) => self.ports.ready(slot, &mut self.tcp, &mut around),
                None => {}
            }
        }
        let more = packets && self.take_packets(now)?;
        let mut around = self.shared.around(now);
        self.tcp.expire(&mut around);
        self.tcp.settle(more, &mut around);
        self.udp.expire(now);
        self.ping.expire(now);
        self.ports.expire(now);
        Ok(turn)
    }

    /// Does what other threads asked for.
    fn obey(&mut self, now: Instant) {
        inet::lower(&self.wake);
        while let Ok(command) = self.commands.try_recv() {
            let mut around = self.shared.around(now);
            match command {
                Command::Publish(id, listener) => self.ports.publish(id, listener, &mut around),
                Command::Unpublish(id) => self.ports.unpublish(id, &mut around),
                Command::Answer(to, bytes) => {
                    if let Some(payload) = self.shared.link.payload().get_mut(..bytes.len()) {
                        payload.copy_from_slice(&bytes);
                        self.shared.link.send_udp(to.server, to.client, bytes.len());
                    }
                }
            }
        }
    }

    /// Takes a batch of the container's packets. Whether there may be more.
    fn take_packets(&mut self, now: Instant) -> Result<bool> {
        let mut buffer = std::mem::take(&mut self.packet);
        let mut outcome = Ok(true);
        for _ in 0..BATCH {
            match self.shared.link.take(&mut buffer) {
                Ok(None) => {
                    outcome = Ok(false);
                    break;
                }
                Ok(Some(taken)) => {
                    self.bulk |= taken.length > BULK;
                    let bytes = &buffer[tun::HEADER..tun::HEADER + taken.length];
                    self.packet(bytes, taken.checksum_trusted, now);
                }
                // The container has taken its interface down: it may come back.
                Err(e) if e.is(rustix::io::Errno::IO.raw_os_error()) => {
                    outcome = Ok(false);
                    break;
                }
                Err(e) if e.is(rustix::io::Errno::BADFD.raw_os_error()) => {
                    outcome = Err(Error::Gone);
                    break;
                }
                Err(e) => {
                    outcome = Err(e.into());
                    break;
                }
            }
        }
        self.packet = buffer;
        let mut around = self.shared.around(now);
        self.udp.flush(&mut around);
        outcome
    }

    /// Takes one IP packet of the container's.
    fn packet(&mut self, bytes: &[u8], checksum_trusted: bool, now: Instant) {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(Malformed::Length | Malformed::Checksum | Malformed::Header) => {
                self.shared.link.counters.malformed += 1;
                return;
            }
        };
        if !self.shared.config.is_container(packet.source) {
            self.shared.link.counters.foreign_source += 1;
            return;
        }
        match packet.fragment {
            None => self.whole_packet(&packet, checksum_trusted, now),
            Some(part) => {
                let (whole, dropped) = self.fragments.take(&packet, part, now);
                self.shared.link.counters.fragments_dropped += dropped;
                if let Some(whole) = whole {
                    self.whole_packet(&whole.packet(), false, now);
                }
            }
        }
    }

    fn whole_packet(&mut self, packet: &Packet<'_>, checksum_trusted: bool, now: Instant) {
        let v4 = packet.source.is_ipv4();
        let (icmp, pseudo) = match packet.protocol {
            IpProtocol::Icmp if v4 => (true, false),
            IpProtocol::Icmpv6 if !v4 => (true, true),
            IpProtocol::Tcp | IpProtocol::Udp => (false, true),
            _ => {
                self.shared.link.counters.unknown_protocol += 1;
                return;
            }
        };
        if !checksum_trusted && !packet.checksum_is_right(pseudo) {
            self.shared.link.counters.malformed += 1;
            return;
        }
        let mut around = self.shared.around(now);
        if icmp {
            return self.ping.packet(packet, &mut around);
        }
        if packet.protocol == IpProtocol::Tcp {
            return self.tcp.packet(packet, &mut around);
        }
        match Datagram::parse(packet) {
            Some(datagram) if self.ports.answer(&datagram, now) => {}
            Some(datagram) => self.udp.packet(packet, &datagram, &mut around),
            None => self.shared.link.counters.malformed += 1,
        }
    }
}

impl AsFd for Stack {
    /// The interface.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.link.as_fd()
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("config", &self.shared.config)
            .field("counters", &self.shared.link.counters)
            .field("flows", &self.flows())
            .finish_non_exhaustive()
    }
}
