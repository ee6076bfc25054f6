//! The process of a user-defined network: one for each network that a container runs in.
//!
//! It is started by the first shim that joins ([`super::member`]) and ends with the last. Its namespace holds the
//! bridge and one TUN device as uplink; a thread in that namespace connects containers, and the process itself stays in
//! the host's, where the stack turns what comes over the uplink into sockets, as for a single container. It answers
//! for names at the gateway's address.
//!
//! A member is there for as long as its shim's connection is. What it was known by, its published ports and its port of
//! the bridge go with it.

mod clients;
mod membership;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use serde::{Deserialize, Serialize};

use super::HOST_NAMES;
use super::member::{self, Member};
use super::process::RESOLV_CONF;
use crate::net::dns::{self, Names, Resolvers, Upstreams};
use crate::net::{self, Handle, Stack};
use crate::store::Layout;
use crate::store::container::network::PublishedPort;
use crate::store::network::Subnet;
use crate::sys::{self, Context, bridge, guard, inet, process, signal, socket};
use clients::Hub;

/// `argv[0]` of a network's process.
pub const ROLE: &str = "kelp-network";
/// Its last argument where one before it was killed, whose members are about to come.
pub(super) const SUCCESSOR: &str = "successor";
/// In the network's directory.
pub(super) const SOCKET: &str = "network.sock";
/// In the network's directory while its containers could send as each other.
const UNGUARDED: &str = "unguarded";
/// How long the members of a process that was killed may take to join the next one, after the one before them and all
/// together. They do within milliseconds, unless they are many or the machine is busy.
const GATHERING: Duration = Duration::from_secs(1);
const LONGEST_GATHERING: Duration = Duration::from_secs(5);
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
        let succeeds = args.next().is_some_and(|word| word == SUCCESSOR);
        let listener = process::inherited(LISTENER)?;
        Some((dir, segment, succeeds, listener, process::inherited(PROGRAM)))
    };
    let given = { given }();
    let namespace = process::inherited(NAMESPACE);
    match given {
        Some((dir, segment, succeeds, listener, _program)) => {
            u8::from(run(dir, segment, succeeds, listener, namespace).is_err())
        }
        None => 1,
    }
}

/// What the stack is made of, from the thread in the network's namespace.
struct Uplink(OwnedFd);
/// What that thread needs, once there is a stack.
struct Ways(Handle, Names, Upstreams);

fn run(
    dir: PathBuf,
    segment: Segment,
    succeeds: bool,
    listener: OwnedFd,
    namespace: Option<OwnedFd>,
) -> net::Result<()> {
    let _ = process::retitle(c"kelp-network");
    signal::ignore_sigpipe();
    process::undumpable()?;
    sys::limits::many_files();
    let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).op("eventfd")?;
    let raise = stop.try_clone().op("dup")?;
    let (up, made) = mpsc::channel();
    let (ways, told) = mpsc::channel();
    let theirs = segment.clone();
    let work = move || {
        let made = enter(&theirs, namespace);
        let (ready, inside) = match made {
            Ok((tun, inside)) => (Ok(Uplink(tun)), Ok(inside)),
            Err(e) => (Err(e.to_string()), Err(e.to_string())),
        };
        let _ = up.send(ready);
        let hub = match (inside, told.recv()) {
            (Ok(inside), Ok(ways)) => Hub::new(dir, theirs, inside, ways),
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
        if succeeds {
            names.gather(Instant::now(), GATHERING, LONGEST_GATHERING);
        }
        let resolvers = if segment.internal { Resolvers::nobody() } else { Resolvers::new(RESOLV_CONF) };
        let upstreams = Upstreams::default();
        let resolvers = resolvers.apart_from(upstreams.clone());
        stack.serve_dns(dns::serve(stack.handle(), names.clone(), resolvers));
        let _ = ways.send(Ways(stack.handle(), names, upstreams));
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
    while let Ok(true) = process::readable_within(listener, Some(Duration::from_millis(500))) {
        if let Ok(Some(client)) = socket::accept(listener) {
            let _ = member::send(&client, &Message::Failed(text.to_owned()), &[]);
        }
    }
}
