//! What a start makes of a network of the container's own: the namespace, its device, the ports, the memberships.

use std::os::fd::OwnedFd;

use super::start::Settings;
use super::{Result, Shim, explain_namespace};
use crate::runtime::plan::{Namespace, Plan};
use crate::shim::launch::{Launch, Start};
use crate::shim::network::ahead::{self, Made};
use crate::shim::network::change::member_state;
use crate::shim::network::process::Given;
use crate::shim::network::{self, member};
use crate::shim::protocol::Failure;
use crate::shim::spawn::refused;
use crate::store::container::Network;
use crate::sys::{self, tun};

/// What a start has of a network of the container's own.
pub(super) struct Networked {
    /// For the first process to join.
    pub made: Option<OwnedFd>,
    /// The same namespace, for networks to come.
    pub kept: Option<OwnedFd>,
    /// What its own process needs in order to carry its packets.
    pub carried: Option<Given>,
    pub joining: Vec<member::Given>,
}

impl Shim {
    /// The network namespace, and what is needed to carry its packets.
    pub(super) fn network(
        &mut self,
        plan: &Plan,
        launch: &Launch,
        start: &Start,
        user: Option<&OwnedFd>,
    ) -> Result<Networked> {
        let guessed = self.ready.network.take();
        if plan.namespaces.network != Namespace::New {
            ahead::forget(guessed);
            return Ok(Networked { made: None, kept: None, carried: None, joining: Vec::new() });
        }
        let slirp = launch.network.as_ref().filter(|_| !start.without_own);
        let addresses = slirp.map(|slirp| start.addresses.unwrap_or_else(|| network::choose(slirp)));
        let open = slirp.is_some() || start.members.iter().any(|m| !m.network.internal);
        let mut ports = if open { network::open(&launch.publish)? } else { Vec::new() };
        let wanted = slirp.zip(addresses.as_ref());
        let Made { namespace, tun } =
            ahead::settle(guessed, wanted, user).map_err(|e| explain_network(&e))?;
        let keep = |fd: &OwnedFd| fd.try_clone().map_err(|e| refused("keep the network namespace", &e));
        let kept = keep(&namespace)?;
        let mut joining = Vec::with_capacity(start.members.len());
        for member in &start.members {
            // They are the first network's that leads out, where the container has none of its own.
            let others = slirp.is_some() || member.network.internal;
            joining.push(member::Given {
                layout: self.layout.clone(),
                program: keep(&self.program)?,
                namespace: keep(&kept)?,
                ports: if others { Vec::new() } else { std::mem::take(&mut ports) },
                member: member.clone(),
            });
        }
        let carried = match tun.zip(slirp.zip(addresses)) {
            Some((tun, (slirp, addresses))) => Some(Given {
                tun,
                namespace: keep(&kept)?,
                slirp: slirp.clone(),
                addresses,
                hostname: plan.hostname.clone().unwrap_or_default(),
                dns: start.dns.clone(),
                ports,
            }),
            None => None,
        };
        Ok(Networked { made: Some(namespace), kept: Some(kept), carried, joining })
    }
}

/// What is written of it. `None`: the container has no network of its own.
pub(super) fn network_state(settings: &Settings, network: &Networked) -> Option<Network> {
    let Settings { start, launch, plan, .. } = settings;
    let Networked { carried, joining, .. } = network;
    let own = plan.namespaces.network == Namespace::New;
    let ports = carried.iter().flat_map(|c| &c.ports).chain(joining.iter().flat_map(|g| &g.ports));
    let addresses = carried.as_ref().map(|c| c.addresses);
    own.then(|| Network {
        addresses: addresses.or(start.addresses.filter(|_| !joining.is_empty())),
        ports: ports.map(|p| p.published).collect(),
        members: joining.iter().map(|g| member_state(&g.member)).collect(),
        exposed: launch.expose.clone(),
    })
}

/// Without TUN devices there is no network in user space.
fn explain_network(error: &sys::Error) -> Failure {
    if error.op() != tun::OPEN {
        return explain_namespace(error);
    }
    Failure {
        hint: Some(format!(
            "the default network needs {}, readable and writable by you (as root: modprobe tun); --network none \
             starts the container without a network, --network host with yours",
            tun::DEVICE
        )),
        ..refused("make the container's network", error)
    }
}
