//! The process that carries a container's packets.
//!
//! A process and not threads of the shim, for the reason given in [`super::super::files`]: the shim forks. It has
//! the TUN device, the published ports and nothing else of the shim's, and dies with it. When it dies first the shim
//! starts another: connections are lost, the container and its namespace stay.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

use super::hub::Message;
use super::member::{receive_message, send_view};
use super::{HOST_NAMES, Opened, Slirp, config};
use crate::net::dns::{self, Names, Reader, Resolvers, Upstreams, View};
use crate::net::{self, Listener, Stack};
use crate::store::container::network::{Addresses, Protocol};
use crate::sys::process::{self, Child, Fork};
use crate::sys::{self, Context, inet, socket};

/// How long it may take to send what the container has already said.
const PATIENCE: Duration = Duration::from_secs(1);
/// A process that lives shorter than this is not started once more.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The host's, in whose mount namespace, or a copy of it, this process is.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What the process works on.
#[derive(Debug)]
pub struct Given {
    pub tun: OwnedFd,
    /// The container's network namespace.
    pub namespace: OwnedFd,
    pub slirp: Slirp,
    pub addresses: Addresses,
    /// The container's own name.
    pub hostname: String,
    /// Name servers that it is to have instead of the host's.
    pub dns: Vec<IpAddr>,
    pub ports: Vec<Opened>,
}

/// The process, and what another one would need.
#[derive(Debug)]
pub struct Carrier {
    given: Given,
    process: Child,
    started: Instant,
    /// Readable once it is to end.
    stop: OwnedFd,
    /// Where it hears of views.
    views: OwnedFd,
    shown: bool,
}

impl Carrier {
    /// The calling process must have one thread.
    pub fn start(given: Given) -> sys::Result<Self> {
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).op("eventfd")?;
        let (process, views) = fork(&given, &stop)?;
        Ok(Self { given, process, started: Instant::now(), stop, views, shown: false })
    }

    pub fn addresses(&self) -> Addresses {
        self.given.addresses
    }

    pub fn ports(&self) -> &[Opened] {
        &self.given.ports
    }

    /// Its resolver knows these links too, and the names of the networks that these files tell.
    pub fn show(&mut self, links: &[(String, String)], tables: &[BorrowedFd<'_>]) {
        if links.is_empty() && tables.is_empty() && !self.shown {
            return;
        }
        self.shown = true;
        // It reads once somebody asks for a name. What finds no room until then is told with the next change.
        let _ = send_view(&self.views, links, tables, false);
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    pub fn pidfd(&self) -> &OwnedFd {
        &self.process.pidfd
    }

    /// It has ended and was not asked to: another one takes its place. `false` when that is of no use.
    pub fn renew(&mut self) -> bool {
        let _ = process::wait_pid(self.process.pid);
        if self.started.elapsed() < SHORT_LIFE {
            return false;
        }
        match fork(&self.given, &self.stop) {
            Ok((process, views)) => {
                (self.process, self.views, self.started) = (process, views, Instant::now());
                true
            }
            Err(_) => false,
        }
    }

    /// Whether something of the host's is taken as long as it lives.
    pub fn holds_ports(&self) -> bool {
        !self.given.ports.is_empty()
    }

    /// Asks it to end once it has sent what the container has said.
    pub fn stop(&self) {
        inet::raise(&self.stop);
    }

    /// Sees it ended, and with it its ports closed.
    pub fn end(self) {
        self.stop();
        let Self { given, process, .. } = self;
        drop(given);
        if !matches!(process::readable_within(&process.pidfd, Some(PATIENCE)), Ok(true)) {
            let _ = process::signal(&process.pidfd, libc::SIGKILL);
        }
        // Perhaps reaped already, along with the container's stragglers.
        let _ = process::wait_pid(process.pid);
    }
}

/// The process, and where it hears of views.
fn fork(given: &Given, stop: &OwnedFd) -> sys::Result<(Child, OwnedFd)> {
    let shim = std::process::id();
    let (ours, views) = socket::seqpacket_pair()?;
    match process::fork(0)? {
        Fork::Parent(child) => Ok((child, ours)),
        Fork::Child => {
            process::die_with(shim);
            let mut kept: Vec<BorrowedFd<'_>> =
                vec![given.tun.as_fd(), given.namespace.as_fd(), stop.as_fd(), views.as_fd()];
            kept.extend(given.ports.iter().map(|p| p.socket.as_fd()));
            let _ = process::close_all_but(&kept);
            // Closed already, by number.
            std::mem::forget(ours);
            process::exit_now(u8::from(carry(given, stop, views).is_err()))
        }
    }
}

/// The process's whole life.
fn carry(given: &Given, stop: &OwnedFd, views: OwnedFd) -> net::Result<()> {
    let _ = process::retitle(c"kelp-net");
    sys::limits::many_files();
    let mut stack =
        Stack::new(process::duplicate(given.tun.as_fd())?, config(&given.slirp, &given.addresses))?;
    publish(given, &stack)?;
    let names = names(given);
    hear_views(&names, given, views);
    stack.serve_dns(dns::serve(stack.handle(), names, resolvers(given)));
    // Most containers that wait say nothing for long; what it takes to begin is not needed again.
    sys::memory::release_program();
    stack.run(stop.as_fd())
}

fn resolvers(given: &Given) -> Resolvers {
    let upstreams = Upstreams::default();
    let config = config(&given.slirp, &given.addresses);
    for asker in askers(given) {
        upstreams.set(asker, &given.dns, &config);
    }
    Resolvers::new(RESOLV_CONF).apart_from(upstreams)
}

/// The addresses that the container asks from.
fn askers(given: &Given) -> impl Iterator<Item = IpAddr> + use<> {
    let addresses = given.addresses;
    let four = Some(addresses.ipv4.address.into());
    [four, addresses.ipv6.map(|v6| v6.address.into())].into_iter().flatten()
}

/// What the container's /etc/hosts says too, for programs that do not read it.
fn names(given: &Given) -> Names {
    let names = Names::default();
    for host in HOST_NAMES {
        names.set(host, vec![given.addresses.ipv4.gateway.into()]);
    }
    names.set(&given.hostname, askers(given).collect());
    names
}

/// What the container's other networks know is asked for where it asks: here.
fn hear_views(names: &Names, given: &Given, views: OwnedFd) {
    let askers: Vec<IpAddr> = askers(given).collect();
    let coming = std::sync::Mutex::new(None::<View>);
    names.hear(move |names| {
        let Ok(mut coming) = coming.lock() else { return };
        while let Some((message, files)) = take_message(&views) {
            let tables = files.into_iter().map(Reader::new);
            let awaited = match message {
                Message::View { links, more } => {
                    *coming = Some(View { links, tables: tables.collect() });
                    more
                }
                Message::Tables { more } => {
                    if let Some(view) = coming.as_mut() {
                        view.tables.extend(tables);
                    }
                    more
                }
                _ => continue,
            };
            if awaited == 0
                && let Some(view) = coming.take().map(Arc::new)
            {
                askers.iter().for_each(|asker| names.show(*asker, &view));
            }
        }
    });
}

fn take_message(socket: &OwnedFd) -> Option<(Message, Vec<OwnedFd>)> {
    let mut fds = Vec::new();
    Some((receive_message(socket, &mut fds).ok()?, fds))
}

fn publish(given: &Given, stack: &Stack) -> net::Result<()> {
    let handle = stack.handle();
    let tcp = given.ports.iter().any(|p| p.published.protocol == Protocol::Tcp);
    // A kernel without policy routing has no short way: then clients on the host go through the stack too.
    let namespace = process::duplicate(given.namespace.as_fd())?;
    let config = config(&given.slirp, &given.addresses);
    let host_clients = if tcp { net::publish::host_clients(namespace, config).ok() } else { None };
    for Opened { published, socket } in &given.ports {
        let address = match (published.host_ip, given.addresses.ipv6) {
            (IpAddr::V6(_), Some(link)) => link.address.into(),
            _ => given.addresses.ipv4.address.into(),
        };
        handle.publish(Listener {
            socket: process::duplicate(socket.as_fd())?,
            protocol: match published.protocol {
                Protocol::Tcp => net::Protocol::Tcp,
                Protocol::Udp => net::Protocol::Udp,
            },
            target: SocketAddr::new(address, published.container_port),
            host_clients: host_clients.clone(),
        });
    }
    Ok(())
}
