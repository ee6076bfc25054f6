//! A container's place in a user-defined network, and the shim's way to the process that carries it.
//!
//! Whoever joins holds the lock of the network's directory, so that the process that is not there is started once, and
//! one that is about to go has gone. The shim keeps its connection for as long as the container runs. A process that is
//! lost is started again by the first shim that notices: the bridge outlives it, because every shim holds its
//! namespace.

use std::ffi::CString;
use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Opened;
use super::hub::{self, Message, Segment};
use crate::shim::protocol::Failure;
use crate::shim::spawn::{OUT_OF_THE_WAY, refused, refused_by_store};
use crate::store::Layout;
use crate::store::network::Mac;
use crate::sys::process::{self, Fork};
use crate::sys::socket::{self, Received};
use crate::sys::{self, Context};

/// What a join may take, a fresh process included.
const PATIENCE: Duration = Duration::from_secs(20);
/// What leaving may take.
const PARTING: Duration = Duration::from_secs(1);
/// A process that lives shorter than this so many times in a row is of no use.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
/// Between tries to reach a process.
const PAUSE: Duration = Duration::from_millis(10);

/// One network that a container is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub network: Segment,
    /// Of the container's side, up to 15 bytes.
    pub interface: String,
    /// On the bridge's side.
    pub port: String,
    pub ipv4: std::net::Ipv4Addr,
    pub ipv6: Option<std::net::Ipv6Addr>,
    pub mac: Mac,
    /// Under which the others find it.
    pub names: Vec<String>,
    /// Those of [`Self::names`] that the user chose.
    pub aliases: Vec<String>,
    /// What the container itself calls others by, and what they are known by in its networks.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Name servers that it is to have instead of the host's.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The way out of the container leads through the network of the highest number, of those through the first.
    #[serde(default)]
    pub priority: i32,
    /// The way out of the container, of each family.
    pub default_route: bool,
    #[serde(default)]
    pub default_route6: bool,
}

/// A container in a network.
#[derive(Debug)]
pub struct Membership {
    given: Given,
    socket: OwnedFd,
    joined: Joined,
    /// The network's process was told of a view.
    shown: bool,
    since: Instant,
    short_lives: u32,
}

/// What a network's process hands out.
#[derive(Debug)]
struct Joined {
    /// The network's namespace, with the bridge.
    bridge: OwnedFd,
    /// Where the network's names are read.
    names: OwnedFd,
}

/// What a join needs, the first one and those after it.
#[derive(Debug)]
pub struct Given {
    pub layout: Layout,
    pub program: OwnedFd,
    pub member: Member,
    /// The container's.
    pub namespace: OwnedFd,
    pub ports: Vec<Opened>,
}

impl Membership {
    /// The calling process must have one thread.
    pub fn join(given: Given) -> Result<Self, Failure> {
        let (socket, joined) = given.join(None)?;
        Ok(Self { given, socket, joined, shown: false, since: Instant::now(), short_lives: 0 })
    }

    pub fn member(&self) -> &Member {
        &self.given.member
    }

    pub fn member_mut(&mut self) -> &mut Member {
        &mut self.given.member
    }

    /// Where the network's names are read.
    pub fn names(&self) -> BorrowedFd<'_> {
        self.joined.names.as_fd()
    }

    /// The container knows, by this network's resolver, these links and the names in these files. Its own word is
    /// waited for: then the resolver answers so.
    pub fn show(&mut self, links: &[(String, String)], tables: &[BorrowedFd<'_>]) -> sys::Result<()> {
        if links.is_empty() && tables.is_empty() && !self.shown {
            return Ok(());
        }
        send_view(&self.socket, links, tables, true)?;
        self.shown = true;
        self.noted()
    }

    /// The container is known by these names in the network, and by no others.
    pub fn rename(&mut self, names: Vec<String>) -> sys::Result<()> {
        self.given.member.names.clone_from(&names);
        send(&self.socket, &Message::Rename(names), &[])?;
        self.noted()
    }

    fn noted(&self) -> sys::Result<()> {
        let lost = || sys::Error::new("talk to the network's process", libc::EPIPE);
        if !process::readable_within(&self.socket, Some(PATIENCE))? {
            return Err(sys::Error::new("talk to the network's process", libc::ETIMEDOUT));
        }
        match receive_message(&self.socket, &mut Vec::new()).map_err(|_| lost())? {
            Message::Noted => Ok(()),
            _ => Err(lost()),
        }
    }

    /// The ports that are published by way of this network.
    pub fn ports(&self) -> &[Opened] {
        &self.given.ports
    }

    /// No longer by way of this one, which is about to be left.
    pub fn take_ports(&mut self) -> Vec<Opened> {
        std::mem::take(&mut self.given.ports)
    }

    /// From now on by way of this one.
    pub fn publish(&mut self, ports: Vec<Opened>) -> sys::Result<()> {
        for port in &ports {
            send(&self.socket, &Message::Port(port.published), &[port.socket.as_fd()])?;
        }
        self.given.ports.extend(ports);
        Ok(())
    }

    /// Readable once the network's process is lost.
    pub fn watched(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Joins anew where the process is lost. `false` when that is of no use.
    pub fn renew(&mut self) -> bool {
        if !self.is_lost() {
            return true;
        }
        self.short_lives = if self.since.elapsed() < SHORT_LIFE { self.short_lives + 1 } else { 0 };
        if self.short_lives >= TRIES {
            return false;
        }
        let Ok((socket, joined)) = self.given.join(Some(&self.joined.bridge)) else { return false };
        (self.socket, self.joined, self.since) = (socket, joined, Instant::now());
        true
    }

    /// Whether the network's process is: it says nothing that it is not asked for.
    pub fn is_lost(&self) -> bool {
        matches!(process::readable_within(&self.socket, Some(Duration::ZERO)), Ok(true))
    }

    pub fn holds_ports(&self) -> bool {
        !self.given.ports.is_empty()
    }

    /// Sees its names forgotten and its ports closed.
    pub fn end(self) {
        drop(self.given.ports);
        if send(&self.socket, &Message::Leave, &[]).is_ok() {
            let _ = process::readable_within(&self.socket, Some(PARTING));
        }
    }
}

impl Given {
    fn dir(&self) -> PathBuf {
        self.layout.network_dir(&self.member.network.id)
    }

    /// The connection, and what came by it.
    fn join(&self, bridge: Option<&OwnedFd>) -> Result<(OwnedFd, Joined), Failure> {
        let name = &self.member.network.name;
        let dir = self.dir();
        let lock = self.layout.network_lock(&self.member.network.id, FlockOperation::LockExclusive);
        let Some(_lock) = lock.map_err(|e| refused_by_store(&e))? else {
            return Err(Failure {
                status: 125,
                // docker's words.
                message: format!("network {name} not found"),
                hint: None,
                taken: None,
            });
        };
        let mut tries = 1;
        loop {
            match self.try_join(&dir, bridge) {
                // It was just being killed: its socket outlives it by a moment.
                Err(Refusal::Gone) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                other => return other.map_err(|e| cannot_join(name, &e)),
            }
        }
    }

    fn try_join(&self, dir: &Path, bridge: Option<&OwnedFd>) -> Result<(OwnedFd, Joined), Refusal> {
        let socket = match socket::connect(dir, hub::SOCKET) {
            Ok(socket) => socket,
            Err(e) if e.is(libc::ECONNREFUSED) || e.is(libc::ENOENT) => {
                // A process that was not killed takes its socket with it.
                let succeeds = bridge.is_some() || e.is(libc::ECONNREFUSED);
                self.start(dir, bridge, succeeds)?;
                socket::connect(dir, hub::SOCKET)?
            }
            Err(e) => return Err(e.into()),
        };
        self.introduce(&socket)?;
        let joined = receive_answer(&socket)?;
        Ok((socket, joined))
    }

    fn introduce(&self, socket: &OwnedFd) -> sys::Result<()> {
        let join = Message::Join { member: Box::new(self.member.clone()), ports: self.ports.len() };
        send(socket, &join, &[self.namespace.as_fd()])?;
        for port in &self.ports {
            send(socket, &Message::Port(port.published), &[port.socket.as_fd()])?;
        }
        Ok(())
    }

    /// The network's process, as nobody's child for long: it may outlive this shim. `succeeds`: one that was killed.
    fn start(&self, dir: &Path, bridge: Option<&OwnedFd>, succeeds: bool) -> sys::Result<()> {
        let listener = socket::listen(dir, hub::SOCKET)?;
        let settings = serde_json::to_string(&self.member.network).unwrap_or_default();
        let word =
            |bytes: &[u8]| CString::new(bytes).map_err(|_| sys::Error::new("name the network", libc::EINVAL));
        let mut args =
            vec![word(hub::ROLE.as_bytes())?, word(dir.as_os_str().as_bytes())?, word(settings.as_bytes())?];
        if succeeds {
            args.push(word(hub::SUCCESSOR.as_bytes())?);
        }
        match process::fork_sibling()? {
            Fork::Parent(_) => Ok(()),
            Fork::Child => {
                let _ = become_hub(&self.program, &listener, bridge, &args);
                process::exit_now(125)
            }
        }
    }
}

/// Returns only on failure.
fn become_hub(
    program: &OwnedFd,
    listener: &OwnedFd,
    bridge: Option<&OwnedFd>,
    args: &[CString],
) -> sys::Result<()> {
    process::leave_terminal()?;
    // First out of the way of the low numbers, which some of these may have themselves.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, OUT_OF_THE_WAY).op("dup");
    let (program, listener) = (high(program)?, high(listener)?);
    let bridge = bridge.map(high).transpose()?;
    process::cloexec_from(3)?;
    process::place(&listener, hub::LISTENER)?;
    match bridge {
        Some(bridge) => process::place(&bridge, hub::NAMESPACE)?,
        None => process::close_number(hub::NAMESPACE),
    }
    process::place(&program, hub::PROGRAM)?;
    Err(process::exec_fd(&program, args, &[]))
}

pub(super) fn send(socket: &OwnedFd, message: &Message, fds: &[BorrowedFd<'_>]) -> sys::Result<()> {
    let bytes = serde_json::to_vec(message).unwrap_or_default();
    socket::send(socket, &[IoSlice::new(&bytes)], fds, true).map(|_| ())
}

/// Sends a view, in as many packets as its files need. `wait`: for room, where somebody reads.
pub(super) fn send_view(
    socket: &OwnedFd,
    links: &[(String, String)],
    tables: &[BorrowedFd<'_>],
    wait: bool,
) -> sys::Result<()> {
    let (first, rest) = tables.split_at(tables.len().min(socket::MAX_FDS));
    let parts = rest.chunks(socket::MAX_FDS);
    let count = parts.len();
    let view = Message::View { links: links.to_vec(), more: count };
    let tables = parts.enumerate().map(|(at, fds)| (Message::Tables { more: count - at - 1 }, fds));
    let packets = std::iter::once((view, first)).chain(tables);
    for (message, fds) in packets {
        let bytes = serde_json::to_vec(&message).unwrap_or_default();
        socket::send(socket, &[IoSlice::new(&bytes)], fds, wait)?;
    }
    Ok(())
}

/// Why a join came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its process has ended")]
    Gone,
    /// What the network's process answered.
    #[error("{0}")]
    Said(String),
    #[error(transparent)]
    Sys(sys::Error),
}

impl From<sys::Error> for Refusal {
    fn from(error: sys::Error) -> Self {
        if error.is(libc::EPIPE) || error.is(libc::ECONNRESET) { Self::Gone } else { Self::Sys(error) }
    }
}

fn cannot_join(network: &str, why: &Refusal) -> Failure {
    let mut failure = refused(&format!("join the network {network}"), why);
    // The process has no words but the kernel's for it.
    let text = &failure.message;
    if text.contains("/proc/sys/") && text.contains("read-only") {
        failure.hint = Some(
            "a network of one's own forwards packets, which an outer container with a read-only /proc/sys does not let it \
             be told to: start that one with --security-opt systempaths=unconfined (podman: unmask=/proc/sys), or use the \
             default network here"
                .into(),
        );
    }
    failure
}

fn receive_answer(socket: &OwnedFd) -> Result<Joined, Refusal> {
    if !process::readable_within(socket, Some(PATIENCE))? {
        return Err(Refusal::Said("its process does not answer".into()));
    }
    let mut fds = Vec::new();
    match (receive_message(socket, &mut fds)?, fds.pop(), fds.pop()) {
        (Message::Joined, Some(names), Some(bridge)) => Ok(Joined { bridge, names }),
        (Message::Failed(text), ..) => Err(Refusal::Said(text)),
        _ => Err(Refusal::Said("its process answers nonsense".into())),
    }
}

/// What is there to be read, and the descriptors that came along.
pub(super) fn receive_message(socket: &OwnedFd, fds: &mut Vec<OwnedFd>) -> Result<Message, Refusal> {
    let mut buffer = vec![0; hub::LARGEST];
    match socket::receive(socket, &mut buffer, fds, false)? {
        Some(Received::Packet(length)) => serde_json::from_slice(&buffer[..length])
            .map_err(|_| Refusal::Said("its process answers nonsense".into())),
        _ => Err(Refusal::Gone),
    }
}
