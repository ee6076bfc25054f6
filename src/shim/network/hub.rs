//! The process of a user-defined network: one for each network that a container runs in.
//!
//! It is started by the first shim that joins ([`super::member`]) and ends with the last. Its namespace holds the
//! bridge and one TUN device as uplink; a thread in that namespace connects containers, and the process itself stays in
//! the host's, where the stack turns what comes over the uplink into sockets, as for a single container. It answers
//! for names at the gateway's address.
//!
//! A member is there for as long as its shim's connection is. What it was known by, its published ports and its port of
//! the bridge go with it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::HOST_NAMES;
use super::member::Member;
use super::process::RESOLV_CONF;
use crate::net::dns::{self, Names, Reader, Resolvers, View};
use crate::net::{self, Handle, Listener, ListenerId, Stack, TakeHostClient};
use crate::store::Layout;
use crate::store::container::network::{Protocol, PublishedPort};
use crate::store::network::Subnet;
use crate::sys::bridge::{self, End};
use crate::sys::socket::{self, Received};
use crate::sys::{self, Context, guard, inet, process, signal};

/// `argv[0]` of a network's process.
pub const ROLE: &str = "kelp-network";
/// In the network's directory.
pub(super) const SOCKET: &str = "network.sock";
/// In the network's directory while its containers could send as each other.
const UNGUARDED: &str = "unguarded";
/// How long the members of a process that was killed may take to join the next one. They do within milliseconds, unless
/// the machine is busy.
const GATHERING: Duration = Duration::from_secs(1);
/// What it inherits: the listening socket, the namespace of the one before it if there was one, and its program's
/// mount, which is held (see [`crate::shim::spawn`]).
pub(super) const LISTENER: RawFd = 3;
pub(super) const PROGRAM: RawFd = 4;
pub(super) const NAMESPACE: RawFd = 5;
/// No message is longer, in bytes.
pub(super) const LARGEST: usize = 64 << 10;

/// A network as its process has to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub id: String,
    pub name: String,
    pub ipv4: Subnet<Ipv4Addr>,
    pub ipv6: Option<Subnet<Ipv6Addr>>,
    pub internal: bool,
    pub mtu: u16,
}

/// What passes between shims and the process, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// With the container's network namespace; so many [`Message::Port`] follow.
    Join {
        member: Box<Member>,
        ports: usize,
    },
    /// With the listening socket. Of a member that has joined, it is one more.
    Port(PublishedPort),
    /// What the member alone knows: its links, and, by the files that come along, the names of its other networks.
    /// So many more messages with such files follow.
    View {
        links: Vec<(String, String)>,
        more: usize,
    },
    Tables {
        more: usize,
    },
    /// From now on the member has these names and no others.
    Rename(Vec<String>),
    Leave,
    /// With the network's namespace, and where the network's names are read.
    Joined,
    /// Of a view and of new names: they hold from now on.
    Noted,
    Left,
    Failed(String),
}

impl Segment {
    fn bridge(&self) -> bridge::Network {
        let [a, b, c, d] = self.ipv4.gateway.octets();
        bridge::Network {
            mac: [0x02, 0x42, a, b, c, d],
            mtu: self.mtu,
            ipv4: (self.ipv4.first, self.ipv4.prefix, self.ipv4.gateway),
            ipv6: self.ipv6.map(|six| (six.first, six.prefix, six.gateway)),
            open: !self.internal,
        }
    }

    fn config(&self) -> net::Config {
        let (four, six) = (self.ipv4, self.ipv6);
        net::Config {
            v4: Some(net::V4 {
                address: four.first,
                prefix: four.prefix,
                gateway: four.gateway,
                dns: four.gateway,
            }),
            v6: six.map(|six| net::V6 {
                address: six.first,
                prefix: six.prefix,
                gateway: six.gateway,
                dns: six.gateway,
            }),
            mtu: self.mtu,
            shared: true,
            closed: self.internal,
            ..net::Config::default()
        }
    }
}

/// Runs the role, until the last container has left. Returns the exit status.
pub fn main(mut args: impl Iterator<Item = std::ffi::OsString>) -> u8 {
    let given = || {
        let dir = PathBuf::from(args.next()?);
        let segment: Segment = serde_json::from_str(args.next()?.to_str()?).ok()?;
        let listener = process::inherited(LISTENER)?;
        Some((dir, segment, listener, process::inherited(PROGRAM)))
    };
    let given = { given }();
    let namespace = process::inherited(NAMESPACE);
    match given {
        Some((dir, segment, listener, _program)) => match run(dir, segment, listener, namespace) {
            Ok(()) => 0,
            Err(_) => 1,
        },
        None => 1,
    }
}

/// What the stack is made of, from the thread in the network's namespace.
struct Uplink(OwnedFd);
/// What that thread needs, once there is a stack.
struct Ways(Handle, Names);

fn run(dir: PathBuf, segment: Segment, listener: OwnedFd, namespace: Option<OwnedFd>) -> net::Result<()> {
    let _ = process::retitle(c"kelp-network");
    signal::ignore_sigpipe();
    process::undumpable()?;
    if let Ok((_, hard)) = sys::limits::get(libc::RLIMIT_NOFILE) {
        let _ = sys::limits::set(libc::RLIMIT_NOFILE, hard, hard);
    }
    let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).op("eventfd")?;
    let raise = stop.try_clone().op("dup")?;
    let (up, made) = mpsc::channel();
    let (ways, told) = mpsc::channel();
    let theirs = segment.clone();
    let replaces = namespace.is_some();
    let work = move || {
        let made = enter(&theirs, namespace);
        let (ready, inside) = match made {
            Ok((tun, inside)) => (Ok(Uplink(tun)), Ok(inside)),
            Err(e) => (Err(e.to_string()), Err(e.to_string())),
        };
        let _ = up.send(ready);
        let hub = match (inside, told.recv()) {
            (Ok(inside), Ok(Ways(handle, names))) => Hub::new(dir, theirs, inside, handle, names),
            (Err(text), _) => return refuse_all(&dir, &listener, &text),
            _ => return refuse_all(&dir, &listener, "its stack did not start"),
        };
        hub.serve(&listener);
        inet::raise(&raise);
    };
    let thread = std::thread::Builder::new().name("kelp-network".into()).spawn(work).op("start a thread")?;
    if let Ok(Ok(Uplink(tun))) = made.recv() {
        let mut stack = Stack::new(tun, segment.config())?;
        let names = Names::default();
        for host in HOST_NAMES {
            names.set(host, vec![segment.ipv4.gateway.into()]);
        }
        if replaces {
            names.gather(Instant::now() + GATHERING);
        }
        let resolvers = if segment.internal { Resolvers::nobody() } else { Resolvers::new(RESOLV_CONF) };
        stack.serve_dns(dns::serve(stack.handle(), names.clone(), resolvers));
        let _ = ways.send(Ways(stack.handle(), names));
        stack.run(stop.as_fd())?;
    }
    drop(ways);
    let _ = thread.join();
    Ok(())
}

/// The network's namespace.
struct Inside {
    namespace: OwnedFd,
    /// Its ports send as nobody but themselves.
    guarded: bool,
}

/// Whether the containers of a network that is there could send as each other: on a kernel that cannot prevent it.
pub fn is_unguarded(layout: &Layout, id: &str) -> bool {
    let dir = layout.network_dir(id);
    dir.join(UNGUARDED).exists() && dir.join(SOCKET).exists()
}

/// The calling thread enters the network's namespace, or makes it, and furnishes it.
fn enter(segment: &Segment, namespace: Option<OwnedFd>) -> sys::Result<(OwnedFd, Inside)> {
    match namespace {
        Some(namespace) => process::enter(namespace, libc::CLONE_NEWNET)?,
        None => process::unshare(libc::CLONE_NEWNET)?,
    }
    let tun = bridge::furnish(&segment.bridge())?;
    let guarded = guard::close()?;
    Ok((tun, Inside { namespace: process::thread_namespace("net")?, guarded }))
}

/// Whoever waits is told why there is no network.
fn refuse_all(dir: &std::path::Path, listener: &OwnedFd, text: &str) {
    let _ = rustix::fs::unlink(dir.join(SOCKET));
    while let Ok(true) = process::readable_within(listener, Some(std::time::Duration::from_millis(500))) {
        if let Ok(Some(client)) = socket::accept(listener) {
            let _ = super::member::send(&client, &Message::Failed(text.to_owned()), &[]);
        }
    }
}

/// A shim's connection, and what it has said so far.
struct Client {
    socket: OwnedFd,
    joining: Option<Joining>,
    present: Option<Present>,
    /// A view of which more is to come.
    viewing: Option<View>,
}

struct Joining {
    member: Member,
    namespace: OwnedFd,
    awaited: usize,
    ports: Vec<(PublishedPort, OwnedFd)>,
}

struct Present {
    member: Member,
    namespace: OwnedFd,
    ports: Vec<ListenerId>,
}

struct Hub {
    dir: PathBuf,
    segment: Segment,
    inside: Inside,
    handle: Handle,
    table: Names,
    /// Who is known by a name: several may share an alias.
    names: BTreeMap<String, Vec<Vec<IpAddr>>>,
    clients: Vec<Client>,
}

impl Hub {
    fn new(dir: PathBuf, segment: Segment, inside: Inside, handle: Handle, table: Names) -> Self {
        let note = dir.join(UNGUARDED);
        // A note for whoever asks; the network is there with it or without.
        let _ = if inside.guarded {
            rustix::fs::unlink(&note)
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::open(&note, flags, Mode::RUSR | Mode::WUSR).map(drop)
        };
        Self { dir, segment, inside, handle, table, names: BTreeMap::new(), clients: Vec::new() }
    }

    /// Until the last one has left.
    fn serve(mut self, listener: &OwnedFd) {
        let mut met = false;
        loop {
            if met && self.clients.is_empty() && self.may_go(listener) {
                return;
            }
            let mut fds: Vec<_> = std::iter::once(listener)
                .chain(self.clients.iter().map(|c| &c.socket))
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .collect();
            // A shim that is about to come holds the lock: it is looked for again.
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let waits = met && self.clients.is_empty();
            if rustix::event::poll(&mut fds, waits.then_some(&pause)).is_err() {
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            for at in (1..ready.len()).rev().filter(|at| ready[*at]) {
                let mut client = self.clients.swap_remove(at - 1);
                if self.listen_to(&mut client) {
                    self.clients.push(client);
                } else {
                    self.leave(client.present.take());
                }
            }
            if ready[0]
                && let Ok(Some(socket)) = socket::accept(listener)
            {
                met = true;
                self.clients.push(Client { socket, joining: None, present: None, viewing: None });
            }
        }
    }

    /// Under the lock that everybody who comes holds, so nobody is on the way.
    fn may_go(&self, listener: &OwnedFd) -> bool {
        let Some(store) = self.dir.parent().and_then(|p| p.parent()) else { return true };
        match Layout::new(store).network_lock(&self.segment.id, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(lock)) => {
                let somebody =
                    matches!(process::readable_within(listener, Some(std::time::Duration::ZERO)), Ok(true));
                if !somebody {
                    let _ = rustix::fs::unlink(self.dir.join(SOCKET));
                }
                drop(lock);
                !somebody
            }
            // The network was removed.
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Takes one message. `false`: the client has gone, or is to go.
    fn listen_to(&mut self, client: &mut Client) -> bool {
        let mut buffer = vec![0; LARGEST];
        let mut fds = Vec::new();
        let message = match socket::receive(&client.socket, &mut buffer, &mut fds, false) {
            Ok(None) => return true,
            Ok(Some(Received::Packet(length))) => serde_json::from_slice(&buffer[..length]),
            _ => return false,
        };
        match message {
            Ok(Message::Join { member, ports }) => {
                let Some(namespace) = fds.pop() else { return false };
                client.joining =
                    Some(Joining { member: *member, namespace, awaited: ports, ports: Vec::new() });
            }
            Ok(Message::Port(port)) => match (&mut client.joining, &mut client.present, fds.pop()) {
                (Some(joining), _, Some(socket)) => joining.ports.push((port, socket)),
                (None, Some(present), Some(socket)) => {
                    let short = self.short_way(&present.member, &present.namespace, &port);
                    let listener = self.publish(&present.member, &port, socket, short);
                    present.ports.push(listener);
                }
                _ => return false,
            },
            Ok(Message::View { links, more }) => {
                client.viewing = Some(View { links, tables: readers(fds) });
                return more > 0 || self.show(client);
            }
            Ok(Message::Tables { more }) => {
                let Some(view) = &mut client.viewing else { return false };
                view.tables.extend(readers(fds));
                return more > 0 || self.show(client);
            }
            Ok(Message::Rename(names)) => {
                let Some(present) = &mut client.present else { return false };
                let before = std::mem::replace(&mut present.member.names, names);
                let (member, after) = (addresses(&present.member), present.member.names.clone());
                self.rename(&member, &before, &after);
                return super::member::send(&client.socket, &Message::Noted, &[]).is_ok();
            }
            Ok(Message::Leave) => {
                self.leave(client.present.take());
                let _ = super::member::send(&client.socket, &Message::Left, &[]);
                return false;
            }
            _ => return false,
        }
        match client.joining.take() {
            Some(joining) if joining.ports.len() >= joining.awaited => self.admit(client, joining),
            joining => {
                client.joining = joining;
                true
            }
        }
    }

    fn admit(&mut self, client: &mut Client, joining: Joining) -> bool {
        let Joining { member, namespace, ports, .. } = joining;
        if let Err(e) = self.connect(&member, &namespace) {
            let _ = super::member::send(&client.socket, &Message::Failed(e.to_string()), &[]);
            return false;
        }
        if let Err(e) = self.acquaint(&member, &namespace) {
            let _ = super::member::send(&client.socket, &Message::Failed(e.to_string()), &[]);
            self.unplug(&member);
            return false;
        }
        let Ok(told) = self.table.tell() else { return false };
        self.rename(&addresses(&member), &[], &member.names);
        let short = ports.iter().find_map(|(port, _)| self.short_way(&member, &namespace, port));
        let publish = |(port, socket)| self.publish(&member, &port, socket, short.clone());
        let ports = ports.into_iter().map(publish).collect();
        client.present = Some(Present { member, namespace, ports });
        let bytes = serde_json::to_vec(&Message::Joined).unwrap_or_default();
        let fds = [self.inside.namespace.as_fd(), told.as_fd()];
        socket::send(&client.socket, &[IoSlice::new(&bytes)], &fds, true).is_ok()
    }

    /// A view that is whole holds.
    fn show(&self, client: &mut Client) -> bool {
        let (Some(view), Some(present)) = (client.viewing.take(), &client.present) else { return false };
        let view = Arc::new(view);
        for address in addresses(&present.member) {
            self.table.show(address, &view);
        }
        super::member::send(&client.socket, &Message::Noted, &[]).is_ok()
    }

    /// A port that the bridge still has is that of a container whose shim has come back.
    fn connect(&self, member: &Member, namespace: &OwnedFd) -> sys::Result<()> {
        let end = end(member);
        if !bridge::has_port(&member.port)? {
            bridge::plug(&self.segment.bridge(), &member.port, namespace, &end)?;
        }
        if self.inside.guarded { bridge::let_send(&member.port, &end) } else { Ok(()) }
    }

    /// All know each other's Ethernet addresses beforehand, so that nobody has to ask, and to believe an answer.
    fn acquaint(&self, member: &Member, namespace: &OwnedFd) -> sys::Result<()> {
        let others: Vec<_> = self.clients.iter().filter_map(|c| c.present.as_ref()).collect();
        if others.is_empty() {
            return Ok(());
        }
        let peers = others.iter().map(|other| peer(&other.member)).collect();
        bridge::acquaint(namespace, &member.interface, peers)?;
        for other in others {
            // One that is just ending has nobody to be deceived.
            let _ = bridge::acquaint(&other.namespace, &other.member.interface, vec![peer(member)]);
        }
        Ok(())
    }

    /// How clients on the host reach the container's published TCP ports without a packet, where the kernel can do
    /// that.
    fn short_way(
        &self,
        member: &Member,
        namespace: &OwnedFd,
        port: &PublishedPort,
    ) -> Option<TakeHostClient> {
        if port.protocol != Protocol::Tcp {
            return None;
        }
        let mut config = self.segment.config();
        config.v4 = config.v4.map(|v4| net::V4 { address: member.ipv4, ..v4 });
        config.v6 = config.v6.zip(member.ipv6).map(|(v6, address)| net::V6 { address, ..v6 });
        net::publish::host_clients(process::duplicate(namespace.as_fd()).ok()?, config).ok()
    }

    fn publish(
        &self,
        member: &Member,
        port: &PublishedPort,
        socket: OwnedFd,
        host_clients: Option<TakeHostClient>,
    ) -> ListenerId {
        let address = match (port.host_ip, member.ipv6) {
            (IpAddr::V6(_), Some(six)) => six.into(),
            _ => member.ipv4.into(),
        };
        self.handle.publish(Listener {
            socket,
            protocol: match port.protocol {
                Protocol::Tcp => net::Protocol::Tcp,
                Protocol::Udp => net::Protocol::Udp,
            },
            target: SocketAddr::new(address, port.container_port),
            host_clients,
        })
    }

    fn leave(&mut self, present: Option<Present>) {
        let Some(Present { member, ports, namespace }) = present else { return };
        drop(namespace);
        let others: Vec<_> = self.clients.iter().filter_map(|c| c.present.as_ref()).collect();
        // An address that has been leased again since is known as its new holder's.
        let mut gone = addresses(&member);
        gone.retain(|address| !others.iter().any(|other| addresses(&other.member).contains(address)));
        for other in others {
            // One whose interface is gone has forgotten it already.
            let peer = bridge::Peer { mac: member.mac.0, addresses: gone.clone() };
            let _ = bridge::forget(&other.namespace, &other.member.interface, peer);
        }
        for port in ports {
            self.handle.unpublish(port);
        }
        self.rename(&addresses(&member), &member.names, &[]);
        for address in gone {
            self.table.hide(address);
        }
        self.unplug(&member);
    }

    fn unplug(&self, member: &Member) {
        if self.inside.guarded {
            let _ = bridge::silence(&member.port, &end(member));
        }
        let _ = bridge::unplug(&member.port);
    }

    /// A member that had these names has those: for whoever asks at one moment. Names that it has before and after
    /// are known all the time.
    fn rename(&mut self, member: &[IpAddr], before: &[String], after: &[String]) {
        for name in after {
            self.names.entry(name.to_ascii_lowercase()).or_default().push(member.to_vec());
        }
        for name in before {
            let key = name.to_ascii_lowercase();
            if let Some(known) = self.names.get_mut(&key) {
                if let Some(at) = known.iter().position(|addresses| *addresses == member) {
                    known.remove(at);
                }
                if known.is_empty() {
                    self.names.remove(&key);
                }
            }
        }
        let known = |name: &String| {
            let all = self.names.get(&name.to_ascii_lowercase());
            (name.clone(), all.map(|all| all.concat()).unwrap_or_default())
        };
        self.table.change(before.iter().chain(after).map(known));
    }
}

fn readers(files: Vec<OwnedFd>) -> Vec<Reader> {
    files.into_iter().map(Reader::new).collect()
}

fn end(member: &Member) -> End {
    End {
        name: member.interface.clone(),
        mac: member.mac.0,
        ipv4: member.ipv4,
        ipv6: member.ipv6,
        default_route: member.default_route,
        default_route6: member.default_route6,
    }
}

fn peer(member: &Member) -> bridge::Peer {
    bridge::Peer { mac: member.mac.0, addresses: addresses(member) }
}

fn addresses(member: &Member) -> Vec<IpAddr> {
    std::iter::once(member.ipv4.into()).chain(member.ipv6.map(IpAddr::from)).collect()
}
