//! What other threads may ask of a running stack: published ports, and answers to the container's DNS queries.
//!
//! Nothing here blocks. The callbacks run on the stack's thread and must not block either; what they take in they
//! must bound themselves.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};

use crate::sys::inet;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A client on this host that came to a published TCP port.
#[derive(Debug)]
pub struct HostClient {
    /// The accepted connection, non-blocking, close-on-exec.
    pub socket: OwnedFd,
    pub client: SocketAddr,
    /// Where in the container it wants to.
    pub target: SocketAddr,
}

/// Takes the clients that are on this host.
pub type TakeHostClient = Arc<dyn Fn(HostClient) + Send + Sync>;

/// A published port. The stack accepts from it and opens flows towards the container, with the client's own
/// address as their source; a client on this host has the gateway's.
pub struct Listener {
    /// A listening TCP or a bound UDP socket of the host.
    pub socket: OwnedFd,
    pub protocol: Protocol,
    /// The container's address and port.
    pub target: SocketAddr,
    /// Given TCP clients that are on this host. Without it they go through the stack like all others.
    pub host_clients: Option<TakeHostClient>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("socket", &self.socket)
            .field("protocol", &self.protocol)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Names a published port of one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(super) u64);

/// Something that the container sent to the DNS address.
#[derive(Debug)]
pub enum Query {
    /// One UDP datagram; [`Handle::answer`] takes the answer.
    Datagram { from: ReplyTo, bytes: Vec<u8> },
    /// A TCP connection: a connected, non-blocking unix stream socket, close-on-exec.
    Stream { client: SocketAddr, socket: OwnedFd },
}

/// Whom a datagram's answer goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo {
    /// The container's address and port.
    pub client: SocketAddr,
    /// The DNS address and port that it asked.
    pub server: SocketAddr,
}

/// Takes the container's queries.
pub type TakeQuery = Arc<dyn Fn(Query) + Send + Sync>;

/// What a stack is told by other threads.
pub(super) enum Command {
    Publish(ListenerId, Listener),
    Unpublish(ListenerId),
    Answer(ReplyTo, Vec<u8>),
}

/// A way to a running stack. Clones are the same way; they stay harmless when the stack is gone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, wake: Arc<OwnedFd>) -> Self {
        Self { commands, wake, next: Arc::default() }
    }

    /// Publishes a port, from now on until [`Handle::unpublish`] or the stack's end, which close the socket.
    pub fn publish(&self, listener: Listener) -> ListenerId {
        let id = ListenerId(self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.send(Command::Publish(id, listener));
        id
    }

    /// Accepts no more clients at that port. Connections that were accepted go on.
    pub fn unpublish(&self, id: ListenerId) {
        self.send(Command::Unpublish(id));
    }

    /// Answers a DNS datagram.
    pub fn answer(&self, to: ReplyTo, bytes: Vec<u8>) {
        self.send(Command::Answer(to, bytes));
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            inet::raise(&self.wake);
        }
    }
}
