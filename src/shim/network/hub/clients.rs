//! The shims' connections: what each says, one message after the other, and when the process may go.
//!
//! A connection that says what it may not is dropped, and what it had goes with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::membership::addresses;
use super::{Inside, LARGEST, Message, SOCKET, Segment, UNGUARDED, Ways};
use crate::net::dns::{Names, Reader, Upstreams, View};
use crate::net::{Handle, ListenerId};
use crate::shim::network::member::{self, Member};
use crate::store::Layout;
use crate::store::container::network::PublishedPort;
use crate::sys::process;
use crate::sys::socket::{self, Received};

/// A shim's connection, and what it has said so far.
pub(super) struct Client {
    pub socket: OwnedFd,
    pub joining: Option<Joining>,
    pub present: Option<Present>,
    /// A view of which more is to come.
    pub viewing: Option<View>,
}

pub(super) struct Joining {
    pub member: Member,
    pub namespace: OwnedFd,
    pub awaited: usize,
    pub ports: Vec<(PublishedPort, OwnedFd)>,
}

pub(super) struct Present {
    pub member: Member,
    pub namespace: OwnedFd,
    pub ports: Vec<ListenerId>,
}

pub(super) struct Hub {
    pub dir: PathBuf,
    pub segment: Segment,
    pub inside: Inside,
    pub handle: Handle,
    pub table: Names,
    /// Whom its members have asked for what the table does not know.
    pub upstreams: Upstreams,
    /// Who is known by a name: several may share an alias.
    pub names: BTreeMap<String, Vec<Vec<IpAddr>>>,
    pub clients: Vec<Client>,
}

impl Hub {
    pub(super) fn new(dir: PathBuf, segment: Segment, inside: Inside, ways: Ways) -> Self {
        let Ways(handle, table, upstreams) = ways;
        let note = dir.join(UNGUARDED);
        // A note for whoever asks; the network is there with it or without.
        let _ = if inside.guarded {
            rustix::fs::unlink(&note)
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::open(&note, flags, Mode::RUSR | Mode::WUSR).map(drop)
        };
        Self { dir, segment, inside, handle, table, upstreams, names: BTreeMap::new(), clients: Vec::new() }
    }

    /// Until the last one has left.
    pub(super) fn serve(mut self, listener: &OwnedFd) {
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
                let somebody = matches!(process::readable_within(listener, Some(Duration::ZERO)), Ok(true));
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
                return member::send(&client.socket, &Message::Noted, &[]).is_ok();
            }
            Ok(Message::Leave) => {
                self.leave(client.present.take());
                let _ = member::send(&client.socket, &Message::Left, &[]);
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

    /// A view that is whole holds.
    fn show(&self, client: &mut Client) -> bool {
        let (Some(view), Some(present)) = (client.viewing.take(), &client.present) else { return false };
        let view = Arc::new(view);
        for address in addresses(&present.member) {
            self.table.show(address, &view);
        }
        member::send(&client.socket, &Message::Noted, &[]).is_ok()
    }
}

fn readers(files: Vec<OwnedFd>) -> Vec<Reader> {
    files.into_iter().map(Reader::new).collect()
}
