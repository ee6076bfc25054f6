//! How a container's packets travel: by a process of its own, by those of the networks that it is in, or by both.
//!
//! Networks come and go while the container runs. After each change [`Way::settle`] sees to what depends on all of
//! them together: the way out, the names that are known, and by which network the published ports are reached.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::member::{Given, Member, Membership};
use super::process::Carrier;
use super::{INTERFACE, Opened};
use crate::shim::protocol::Failure;
use crate::store::container::network::PublishedPort;
use crate::sys::{self, bridge};

#[derive(Debug, Default)]
pub struct Way {
    own: Option<Carrier>,
    networks: Vec<Membership>,
    /// The container's, where it is its own.
    namespace: Option<OwnedFd>,
    /// The interface and the gateway of the way out, of each family.
    out: [Option<(String, IpAddr)>; 2],
}

impl Way {
    /// The members were joined as their `default_route` says.
    pub fn new(own: Option<Carrier>, networks: Vec<Membership>, namespace: Option<OwnedFd>) -> Self {
        let mut way = Self { own, networks, namespace, out: [None, None] };
        way.out = way.ways_out();
        way.acquaint();
        way
    }

    /// Each is readable once a process is lost.
    pub fn watched(&self) -> Vec<BorrowedFd<'_>> {
        let own = self.own.iter().map(|carrier| carrier.pidfd().as_fd());
        own.chain(self.networks.iter().map(Membership::watched)).collect()
    }

    /// One is lost: another one takes its place. `false` when that is of no use.
    pub fn renew(&mut self) -> bool {
        let ended = |carrier: &Carrier| {
            let at_once = Some(std::time::Duration::ZERO);
            matches!(sys::process::readable_within(carrier.pidfd(), at_once), Ok(true))
        };
        let own = self.own.as_mut().is_none_or(|carrier| !ended(carrier) || carrier.renew());
        let all = own && self.networks.iter_mut().all(Membership::renew);
        if all {
            self.acquaint();
        }
        all
    }

    /// Its own process, which is this one's child.
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(Carrier::pid)
    }

    /// Whether something of the host's is taken as long as it lives.
    pub fn holds_ports(&self) -> bool {
        self.own.as_ref().is_some_and(Carrier::holds_ports)
            || self.networks.iter().any(Membership::holds_ports)
    }

    /// Sees it ended, and with it its ports closed.
    pub fn end(self) {
        self.own.into_iter().for_each(Carrier::end);
        self.networks.into_iter().for_each(Membership::end);
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.networks.iter().map(Membership::member)
    }

    /// The process of its own, where it has one.
    pub fn own(&self) -> Option<&Carrier> {
        self.own.as_ref()
    }

    pub fn namespace(&self) -> Option<&OwnedFd> {
        self.namespace.as_ref()
    }

    /// What is published at this moment.
    pub fn ports(&self) -> Vec<PublishedPort> {
        let own = self.own.iter().flat_map(Carrier::ports);
        own.chain(self.networks.iter().flat_map(Membership::ports)).map(|port| port.published).collect()
    }

    /// The container comes into one more network. The calling process must have one thread.
    pub fn join(&mut self, given: Given) -> Result<(), Failure> {
        self.networks.push(Membership::join(given)?);
        Ok(())
    }

    /// The container leaves the network of this id. What was published by way of it finds another way, or ends:
    /// `false` where it was not in it.
    pub fn leave(&mut self, network: &str) -> sys::Result<bool> {
        let Some(at) = self.networks.iter().position(|m| m.member().network.id == network) else {
            return Ok(false);
        };
        let mut left = self.networks.remove(at);
        let ports = left.take_ports();
        left.end();
        self.publish(ports).map(|()| true)
    }

    /// The container leaves the network of its own, whose interface goes with the process. `false`: it had none.
    pub fn leave_own(&mut self) -> bool {
        self.own.take().map(Carrier::end).is_some()
    }

    /// Publishes by way of the first network that leads out; without one the sockets are closed.
    pub fn publish(&mut self, ports: Vec<Opened>) -> sys::Result<()> {
        let outward = self.networks.iter_mut().find(|m| !m.member().network.internal);
        outward.map_or(Ok(()), |membership| membership.publish(ports))
    }

    /// The container has these names, by the id of each network.
    pub fn rename(&mut self, names: impl Fn(&str) -> Option<Vec<String>>) -> sys::Result<()> {
        self.networks.iter_mut().try_for_each(|membership| {
            let new = names(&membership.member().network.id);
            new.map_or(Ok(()), |new| membership.rename(new))
        })
    }

    /// After a change of the networks.
    pub fn settle(&mut self) -> sys::Result<()> {
        let out = self.ways_out();
        for (new, old) in out.iter().zip(&self.out) {
            // Without any, what was there went with its interface.
            if let (Some(namespace), Some((interface, gateway)), true) = (&self.namespace, new, new != old) {
                bridge::lead_out(namespace, interface, *gateway)?;
            }
        }
        self.out = out;
        let [four, six] = &self.out;
        let is = |way: &Option<(String, IpAddr)>, name: &str| way.as_ref().is_some_and(|(i, _)| i == name);
        for membership in &mut self.networks {
            let member = membership.member_mut();
            member.default_route = is(four, &member.interface);
            member.default_route6 = is(six, &member.interface);
        }
        self.acquaint();
        Ok(())
    }

    /// Of each family, that of the network with the highest priority; of several, the first. The container's own comes
    /// before all others of priority zero.
    fn ways_out(&self) -> [Option<(String, IpAddr)>; 2] {
        let own = self.own.iter().map(|carrier| {
            let addresses = carrier.addresses();
            let six = addresses.ipv6.map(|v6| v6.gateway.into());
            (0, INTERFACE, [Some(addresses.ipv4.gateway.into()), six])
        });
        let members = self.members().filter(|m| !m.network.internal).map(|m| {
            let six = m.ipv6.and(m.network.ipv6).map(|v6| v6.gateway.into());
            (m.priority, m.interface.as_str(), [Some(m.network.ipv4.gateway.into()), six])
        });
        let all: Vec<(i32, &str, [Option<IpAddr>; 2])> = own.chain(members).collect();
        [0, 1].map(|family| {
            let mut best: Option<(i32, &str, IpAddr)> = None;
            for (priority, interface, gateways) in &all {
                if let Some(gateway) = gateways[family]
                    && best.is_none_or(|(highest, ..)| *priority > highest)
                {
                    best = Some((*priority, interface, gateway));
                }
            }
            best.map(|(_, interface, gateway)| (interface.to_owned(), gateway))
        })
    }

    /// Whichever resolver the container asks, it knows the names of all its networks.
    fn acquaint(&mut self) {
        let links: Vec<(String, String)> = self.members().flat_map(|m| m.links.clone()).collect();
        // A process that is just being lost is told once more, by whoever renews it.
        for at in 0..self.networks.len() {
            let (before, rest) = self.networks.split_at_mut(at);
            let Some((membership, after)) = rest.split_first_mut() else { continue };
            let others: Vec<_> = before.iter().chain(after.iter()).map(Membership::names).collect();
            let _ = membership.show(&links, &others);
        }
        if let Some(carrier) = &mut self.own {
            let all: Vec<_> = self.networks.iter().map(Membership::names).collect();
            carrier.show(&links, &all);
        }
    }
}
