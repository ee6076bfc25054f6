//! Clients on the host: one thread, inside the container's network namespace, for all of them.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::direction::{Direction, Moved, Pipes};
use crate::net::handle::{HostClient, TakeHostClient};
use crate::net::lookout::Lookout;
use crate::net::{Config, Error, Result};
use crate::sys::poll::{Poller, Ready};
use crate::sys::{self, inet, process, transparent};

/// Clients that may wait for the thread, and those that it serves. One more is turned away.
const WAITING: usize = 1024;
const CONNECTIONS: usize = 8192;
/// What the thread needs, in bytes.
const STACK: usize = 128 << 10;
/// More bytes than this in one turn of a connection are not a message, and more are to be expected.
const BULK: u64 = 16 << 10;
/// The wake-up's number. Connection n has 2n on the host's side, and 2n+1 inside.
const WAKE: u64 = 0;

/// Takes clients on the host to the container whose network namespace this is. The namespace gets what
/// [`transparent::prepare`] says.
pub fn host_clients(namespace: OwnedFd, config: Config) -> Result<TakeHostClient> {
    let (sender, clients) = mpsc::sync_channel::<HostClient>(WAITING);
    let wake = Arc::new(inet::event()?);
    let woken = Arc::clone(&wake);
    let (ready, prepared) = mpsc::channel();
    let work = move || {
        let entered = enter(&namespace, &config).and_then(|()| Relay::new(clients, woken, config));
        match entered {
            Ok(mut relay) => {
                let _ = ready.send(Ok(()));
                drop(ready);
                relay.run();
            }
            Err(e) => drop(ready.send(Err(e))),
        }
    };
    let thread = std::thread::Builder::new().name("kelp-ports".into()).stack_size(STACK);
    thread
        .spawn(work)
        .map_err(|e| sys::Error::new("start a thread", e.raw_os_error().unwrap_or(libc::EAGAIN)))?;
    prepared.recv().map_err(|_| Error::Gone)??;
    let way = Way { sender: Some(sender), wake };
    Ok(Arc::new(move |client| way.take(client)))
}

/// The way to the thread, which ends with it.
struct Way {
    sender: Option<mpsc::SyncSender<HostClient>>,
    wake: Arc<OwnedFd>,
}

impl Way {
    fn take(&self, client: HostClient) {
        let Some(sender) = &self.sender else { return };
        match sender.try_send(client) {
            Ok(()) => inet::raise(&self.wake),
            Err(mpsc::TrySendError::Full(client) | mpsc::TrySendError::Disconnected(client)) => {
                inet::reset_on_close(&client.socket);
            }
        }
    }
}

impl Drop for Way {
    /// The thread is in the container's namespace, which would live as long as it.
    fn drop(&mut self) {
        self.sender = None;
        inet::raise(&self.wake);
    }
}

fn enter(namespace: &OwnedFd, config: &Config) -> sys::Result<()> {
    process::enter(namespace, libc::CLONE_NEWNET)?;
    let v4 = config.v4.map(|v4| v4.gateway.into());
    let v6 = config.v6.map(|v6| v6.gateway.into());
    transparent::prepare(&[v4, v6].into_iter().flatten().collect::<Vec<_>>())
}

/// A client and its connection inside.
#[derive(Debug)]
struct Connection {
    host: OwnedFd,
    inside: OwnedFd,
    /// The connection inside is there.
    open: bool,
    /// Where else to try when nobody listens there.
    otherwise: Option<SocketAddr>,
    up: Direction,
    down: Direction,
}

/// Where something happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Host,
    Inside,
    Both,
}

struct Relay {
    clients: mpsc::Receiver<HostClient>,
    wake: Arc<OwnedFd>,
    config: Config,
    poller: Poller,
    connections: HashMap<u64, Connection>,
    pipes: Pipes,
    /// Those that could go on.
    paused: VecDeque<u64>,
    /// Events so far, and whether one of the last turn's moved more than [`BULK`].
    events: u64,
    bulk: bool,
    /// Numbers are not used twice, so an event of something that is gone means nothing.
    next: u64,
}

impl Relay {
    fn new(clients: mpsc::Receiver<HostClient>, wake: Arc<OwnedFd>, config: Config) -> sys::Result<Self> {
        let poller = Poller::new()?;
        poller.add_readable(&wake, WAKE)?;
        Ok(Self {
            clients,
            wake,
            config,
            poller,
            connections: HashMap::new(),
            pipes: Pipes::default(),
            paused: VecDeque::new(),
            events: 0,
            bulk: false,
            next: 1,
        })
    }

    /// Until there can be no more clients, or the kernel refuses to wait.
    fn run(&mut self) {
        let mut lookout = Lookout::default();
        loop {
            if self.wait(&mut lookout).is_err() {
                return;
            }
            for number in std::mem::take(&mut self.paused) {
                self.pump(number, Side::Both);
            }
            let mut at = 0;
            while let Some((number, ready)) = self.poller.event(at) {
                at += 1;
                self.events += 1;
                if number == WAKE {
                    if !self.take() {
                        return;
                    }
                } else {
                    self.ready(number / 2, number % 2 == 1, ready);
                }
            }
        }
    }

    fn wait(&mut self, lookout: &mut Lookout) -> sys::Result<()> {
        if !self.paused.is_empty() {
            return self.poller.wait(Some(Duration::ZERO));
        }
        let end = lookout.look(self.events, std::mem::take(&mut self.bulk), Instant::now());
        if !end.is_some_and(|end| self.poller.look(end).unwrap_or(false)) {
            self.poller.wait(None)?;
        }
        lookout.came(Instant::now());
        Ok(())
    }

    /// Clients that have come. `false`: there will be no more.
    fn take(&mut self) -> bool {
        inet::lower(&self.wake);
        loop {
            match self.clients.try_recv() {
                Ok(client) => self.begin(client),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn begin(&mut self, HostClient { socket, target, .. }: HostClient) {
        if self.connections.len() >= CONNECTIONS {
            return inet::reset_on_close(&socket);
        }
        // A server may listen for one family only; which one the client's name led to is chance.
        let otherwise = match target.ip() {
            IpAddr::V4(_) => self.config.v6.map(|v6| v6.address.into()),
            IpAddr::V6(_) => self.config.v4.map(|v4| v4.address.into()),
        };
        let mut otherwise = otherwise.map(|ip: IpAddr| SocketAddr::new(ip, target.port()));
        let inside = match self.connect(target) {
            // Inside one machine the answer may be there at once.
            Err(Errno::CONNREFUSED) => {
                otherwise.take().map_or(Err(Errno::CONNREFUSED), |target| self.connect(target))
            }
            other => other,
        };
        let Ok(inside) = inside else { return inet::reset_on_close(&socket) };
        let _ = inet::prepare_tcp(&socket);
        let number = self.next;
        self.next += 1;
        let watched = self.poller.add_edge(&socket, 2 * number);
        let watched = watched.and_then(|()| self.poller.add_edge(&inside, 2 * number + 1));
        if watched.is_err() {
            return inet::reset_on_close(&socket);
        }
        let (up, down) = Default::default();
        self.connections
            .insert(number, Connection { host: socket, inside, open: false, otherwise, up, down });
    }

    fn connect(&self, target: SocketAddr) -> inet::Outcome<OwnedFd> {
        let from = self.config.gateway(target.ip()).ok_or(Errno::ADDRNOTAVAIL)?;
        let socket = transparent::connect(from, target)?;
        let _ = inet::prepare_tcp(&socket);
        Ok(socket)
    }

    fn ready(&mut self, number: u64, inside: bool, ready: Ready) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let mut changed = if inside { Side::Inside } else { Side::Host };
        if ready.failed {
            changed = Side::Both;
        }
        if !connection.open && inside && (ready.writable || ready.failed) {
            match inet::take_error(&connection.inside) {
                None if ready.writable && !ready.failed => {
                    connection.open = true;
                    // What the client sent meanwhile was told already.
                    changed = Side::Both;
                }
                None => return,
                Some(Errno::CONNREFUSED) => return self.try_otherwise(number),
                Some(_) => return self.reset(number),
            }
        }
        self.pump(number, changed);
    }

    /// Nobody listens there.
    fn try_otherwise(&mut self, number: u64) {
        let otherwise = self.connections.get_mut(&number).and_then(|c| c.otherwise.take());
        let Some(Ok(inside)) = otherwise.map(|target| self.connect(target)) else {
            return self.reset(number);
        };
        let watched = self.poller.add_edge(&inside, 2 * number + 1);
        match (watched, self.connections.get_mut(&number)) {
            (Ok(()), Some(connection)) => connection.inside = inside,
            _ => self.reset(number),
        }
    }

    /// `changed` is where bytes have come or there is room for more. The direction towards it has nothing to do with it
    /// unless it waited for that room.
    fn pump(&mut self, number: u64, changed: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let Connection { host, inside, open, up, down, .. } = connection;
        if !*open {
            return;
        }
        let before = up.given() + down.given();
        let there = if changed == Side::Inside && !up.is_held_up() {
            Ok(up.rests())
        } else {
            up.pump(host, inside, &mut self.pipes)
        };
        let back = if changed == Side::Host && !down.is_held_up() {
            Ok(down.rests())
        } else {
            down.pump(inside, host, &mut self.pipes)
        };
        self.bulk |= up.given() + down.given() - before > BULK;
        match (there, back) {
            (Err(_), _) | (_, Err(_)) => self.reset(number),
            (Ok(Moved::Done), Ok(Moved::Done)) => drop(self.connections.remove(&number)),
            (Ok(a), Ok(b)) if a == Moved::Paused || b == Moved::Paused => self.paused.push_back(number),
            _ => {}
        }
    }

    /// What one side does not get, the other one is told.
    fn reset(&mut self, number: u64) {
        if let Some(connection) = self.connections.remove(&number) {
            inet::reset_on_close(&connection.host);
            inet::reset_on_close(&connection.inside);
        }
    }
}
