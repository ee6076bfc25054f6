//! Changes of a running container's networks: one more, one less, another name.
//!
//! The shim makes them, one after the other, and then says in its state file what holds. What was done of a change that
//! fails is undone, so that it is as if it had not been asked for. The container's own files about its network follow:
//! lines are taken out and put in, so what the container itself wrote there stays.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::member::{self, Member};
use super::way::Way;
use super::{Publish, lines, open};
use crate::shim::protocol::Failure;
use crate::shim::spawn::{refused, refused_by_store};
use crate::store::Layout;
use crate::store::container::ShimState;
use crate::store::container::network::{Addresses, Link, Member as MemberState, Network};
use crate::store::id::ContainerId;
use crate::sys::process::{self, Fork};
use crate::sys::{self, Context};

/// How long the container's files may take to be changed: a disk of its own may hold it up.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be changed. JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    Join {
        member: Box<Member>,
        edits: Vec<Edit>,
    },
    /// The id of the network, or [`OWN`].
    Leave {
        network: String,
        edits: Vec<Edit>,
    },
    /// The names in each network, by its id.
    Rename(BTreeMap<String, Vec<String>>),
    /// The container whose network this one shares has changed: no more than the files follow.
    Files(Vec<Edit>),
}

/// In the place of an id: the network in user space.
pub const OWN: &str = "slirp";

/// What becomes of the lines of one of the container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// In the container, absolute.
    pub path: String,
    pub remove: Vec<String>,
    pub add: Vec<String>,
}

/// What the shim needs for changes.
#[derive(Debug)]
pub(in crate::shim) struct Changes<'a> {
    pub layout: &'a Layout,
    pub id: &'a ContainerId,
    pub program: &'a OwnedFd,
    /// The container's mount namespace.
    pub mounts: Option<&'a OwnedFd>,
    pub state: &'a mut ShimState,
    /// What was asked to be published.
    pub publish: &'a [Publish],
}

impl Changes<'_> {
    pub(in crate::shim) fn apply(&mut self, request: &[u8], way: &mut Way) -> Result<(), Failure> {
        let change = serde_json::from_slice(request).map_err(|e| refused("read the change", &e))?;
        match change {
            Change::Join { member, edits } => {
                self.join(*member, way)?;
                self.edit(&edits);
            }
            Change::Leave { network, edits } => {
                let left = match network.as_str() {
                    OWN => Ok(way.leave_own()),
                    id => way.leave(id),
                };
                let left = left.map_err(|e| refused("leave the network", &e))?;
                if left {
                    way.settle().map_err(|e| refused("set the container's routes", &e))?;
                }
                self.edit(&edits);
            }
            Change::Rename(names) => {
                let renamed = way.rename(|network| names.get(network).cloned());
                renamed.map_err(|e| refused("rename the container in its networks", &e))?;
            }
            Change::Files(edits) => {
                self.edit(&edits);
                return Ok(());
            }
        }
        self.tell(way)
    }

    fn join(&mut self, member: Member, way: &mut Way) -> Result<(), Failure> {
        let network = member.network.id.clone();
        if way.members().any(|m| m.network.id == network) {
            return Ok(());
        }
        let Some(namespace) = way.namespace() else {
            return Err(Failure {
                status: 125,
                message: "the container has no network of its own".into(),
                hint: None,
                taken: None,
            });
        };
        let keep = |fd: &OwnedFd| fd.try_clone().map_err(|e| refused("keep a descriptor", &e));
        let unpublished = way.own().is_none() && !way.holds_ports() && !member.network.internal;
        let ports = if unpublished { open(self.publish)? } else { Vec::new() };
        way.join(member::Given {
            layout: self.layout.clone(),
            program: keep(self.program)?,
            namespace: keep(namespace)?,
            ports,
            member,
        })?;
        way.settle().map_err(|e| {
            let _ = way.leave(&network);
            refused("set the container's routes", &e)
        })
    }

    /// What holds now, for all who ask.
    fn tell(&mut self, way: &Way) -> Result<(), Failure> {
        let before = self.state.network.take().unwrap_or_default();
        let members: Vec<MemberState> = way.members().map(member_state).collect();
        let first = way.members().position(|m| m.default_route).unwrap_or(0);
        let addresses = way.own().map(super::process::Carrier::addresses);
        self.state.network = Some(Network {
            addresses: addresses.or(members.get(first).map(|m| m.addresses)),
            ports: way.ports(),
            members,
            ..before
        });
        self.layout.write_state(self.id, self.state).map_err(|e| refused_by_store(&e))
    }

    /// The files say what the network is, for those who do not ask for names. That they cannot be changed (the
    /// container has put something else there) undoes nothing.
    fn edit(&self, edits: &[Edit]) {
        let (Some(mounts), false) = (self.mounts, edits.is_empty()) else { return };
        match process::fork(0) {
            Ok(Fork::Parent(child)) => {
                if !matches!(process::readable_within(&child.pidfd, Some(PATIENCE)), Ok(true)) {
                    let _ = process::signal(&child.pidfd, libc::SIGKILL);
                }
                let _ = process::wait_pid(child.pid);
            }
            Ok(Fork::Child) => {
                let _ = process::die_with_parent();
                process::exit_now(u8::from(edit_inside(mounts, edits).is_err()))
            }
            Err(_) => {}
        }
    }
}

/// In a process of its own.
fn edit_inside(mounts: &OwnedFd, edits: &[Edit]) -> sys::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).op("open /proc/self/fd")?;
    sys::userns::enter_owner_of(mounts)?;
    process::enter(mounts, libc::CLONE_NEWNS)?;
    // One that is not as it was keeps none of the others.
    let done: Vec<_> = edits.iter().map(|edit| lines::edit(edit, &descriptors)).collect();
    done.into_iter().collect()
}

/// A member as the state file has it.
pub fn member_state(member: &Member) -> MemberState {
    let (v4, v6) = (member.network.ipv4, member.network.ipv6);
    MemberState {
        network: member.network.name.clone(),
        id: member.network.id.clone(),
        mac: member.mac,
        aliases: member.aliases.clone(),
        names: member.names.clone(),
        addresses: Addresses {
            ipv4: Link { address: member.ipv4, prefix: v4.prefix, gateway: v4.gateway, dns: v4.gateway },
            ipv6: member.ipv6.zip(v6).map(|(address, v6)| Link {
                address,
                prefix: v6.prefix,
                gateway: v6.gateway,
                dns: v6.gateway,
            }),
        },
        interface: member.interface.clone(),
        priority: member.priority,
        internal: member.network.internal,
        links: member.links.clone(),
    }
}
