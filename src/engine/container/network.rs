//! A container's network between what was asked for and what a start makes of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use oci_spec::image::Config as ImageConfig;

use super::create::about_to_go;
use super::stored::Stored;
use super::{find, start};
use crate::engine::network::{create, refuse_routed_cidr};
use crate::engine::options::HOST_GATEWAY;
use crate::engine::request::{CreateRequest, Join, NetworkMode};
use crate::engine::spec::{self, Shared};
use crate::engine::{Engine, Error, Result, options};
use crate::shim::launch::{Member, Peer};
pub(in crate::engine) use crate::shim::network::change::member_state as state_of;
use crate::shim::network::hub::Segment;
use crate::shim::network::{self, Publish};
use crate::store;
use crate::store::container::network::{Addresses, Link, Member as MemberState, Protocol};
use crate::store::container::{ContainerRecord, Status};
use crate::store::id::ContainerId;
use crate::store::network::{BRIDGE, Idle, Lease, NetworkRecord, Wanted};

/// The addresses of a start at this moment, where the network is the one in user space.
pub(super) fn addresses(request: &CreateRequest) -> Option<Addresses> {
    request.slirp().map(network::choose)
}

/// The container's place in each user-defined network that it is to be in: addresses are leased, or what was leased
/// before still stands.
pub(super) fn members(
    engine: &Engine,
    id: &ContainerId,
    name: &str,
    request: &CreateRequest,
) -> Result<Vec<Member>> {
    let own = usize::from(request.slirp().is_some());
    let mut members: Vec<Member> = Vec::with_capacity(request.joins().len());
    for join in request.joins() {
        let network = record(engine, &join.network)?;
        if members.iter().any(|m| m.network.id == network.id) {
            let reason = "it is named more than once".into();
            return Err(Error::Invalid { what: "network", value: join.network.clone(), reason });
        }
        let interface = format!("eth{}", own + members.len());
        members.push(Member { interface, ..member(engine, id, name, request, join, network)? });
    }
    let six = request.slirp().map(|slirp| slirp.ipv6);
    choose_ways_out(&mut members, six);
    Ok(members)
}

/// The network that a join names.
pub(in crate::engine) fn record(engine: &Engine, word: &str) -> Result<NetworkRecord> {
    match word {
        BRIDGE => create::bridge(engine),
        word => Ok(engine.store.find_network(word)?),
    }
}

/// The container's place in one network, its address leased. Which interface it is remains to be said.
pub(in crate::engine) fn member(
    engine: &Engine,
    id: &ContainerId,
    name: &str,
    request: &CreateRequest,
    join: &Join,
    network: NetworkRecord,
) -> Result<Member> {
    let wanted = Wanted { ipv4: join.ipv4, ipv6: join.ipv6, mac: join.mac, aliases: join.aliases.clone() };
    let lease = lease(engine, &network, id, &wanted)?;
    Ok(Member {
        interface: String::new(),
        port: format!("ve{}", id.short()),
        ipv4: lease.ipv4,
        ipv6: lease.ipv6,
        mac: lease.mac,
        names: names(id, name, request.hostname.as_deref(), &join.aliases, &network.name),
        aliases: join.aliases.clone(),
        links: join.links.clone(),
        dns: request.name_servers(),
        priority: join.priority,
        default_route: false,
        default_route6: false,
        network: Segment {
            mtu: create::mtu(&network),
            id: network.id,
            name: network.name,
            ipv4: network.v4,
            ipv6: network.v6,
            internal: network.internal,
        },
    })
}

/// How long a container may take to have ended, or started, whose address is wanted.
const PATIENCE: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(2);

/// Leases what is wanted. Where nothing is left, first a `--rm` container that has ended is removed, which is otherwise
/// done for several at a time; then one that does not run gives its addresses up.
fn lease(engine: &Engine, network: &NetworkRecord, id: &ContainerId, wanted: &Wanted) -> Result<Lease> {
    use store::Error::{AddressTaken, AddressesExhausted, MacTaken};
    match engine.store.lease_address(network, id, wanted, Idle::Keep) {
        Err(AddressTaken | MacTaken { .. } | AddressesExhausted { .. }) => {}
        other => return Ok(other?),
    }
    let in_the_way = || -> Result<Vec<Lease>> {
        let anything = wanted.ipv4.is_none() && wanted.ipv6.is_none() && wanted.mac.is_none();
        let mut leases = engine.store.leases_of_network(&network.id)?;
        leases.retain(|held| {
            let four = wanted.ipv4 == Some(held.ipv4);
            let six = wanted.ipv6.is_some() && wanted.ipv6 == held.ipv6;
            held.container != *id && (anything || four || six || wanted.mac == Some(held.mac))
        });
        Ok(leases)
    };
    for held in in_the_way()? {
        about_to_go(engine, &held.container)?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Asked before: whoever was undecided then may have decided too late.
        let undecided = in_the_way()?.iter().any(|held| is_undecided(engine, held));
        let refused = match engine.store.lease_address(network, id, wanted, Idle::GiveUp) {
            Err(e @ (AddressTaken | MacTaken { .. } | AddressesExhausted { .. })) => e,
            other => return Ok(other?),
        };
        if Instant::now() > deadline || !undecided {
            return Err(refused.into());
        }
        std::thread::sleep(GLANCE);
    }
}

/// Whether a container is just ending or being started: in a moment it is clear whether it keeps its lease.
fn is_undecided(engine: &Engine, held: &Lease) -> bool {
    let Ok(record) = engine.store.find_container(held.container.as_str()) else { return false };
    let Ok(observed) = engine.store.observe(&record) else { return false };
    let rests = matches!(observed.status, Status::Created | Status::Exited) && !observed.starting;
    rests && !held.asked && engine.store.life_lock_held(&held.container).unwrap_or(false)
}

/// Addresses that the user chose, where the host has others.
pub(super) fn refuse_routed(request: &CreateRequest) -> Result<()> {
    request.slirp().and_then(|slirp| slirp.cidr).map_or(Ok(()), refuse_routed_cidr)
}

/// An outbound address that the host does not have would be found out by every connection, one by one.
pub(super) fn refuse_strange_outbound(request: &CreateRequest) -> Result<()> {
    let Some(slirp) = request.slirp() else { return Ok(()) };
    let wanted = [slirp.outbound_v4.map(IpAddr::V4), slirp.outbound_v6.map(IpAddr::V6)];
    match wanted.into_iter().flatten().find(|address| UdpSocket::bind((*address, 0)).is_err()) {
        None => Ok(()),
        Some(address) => {
            let reason = "it is no address of this host: `ip addr` lists those".into();
            Err(Error::Invalid { what: "outbound-addr", value: address.to_string(), reason })
        }
    }
}

/// All that a container is known by in a network.
pub(in crate::engine) fn names(
    id: &ContainerId,
    name: &str,
    hostname: Option<&str>,
    aliases: &[String],
    network: &str,
) -> Vec<String> {
    let mut names = vec![name.to_owned(), id.short().to_owned(), id.to_string()];
    names.extend(hostname.map(str::to_owned));
    names.extend(aliases.iter().cloned());
    names.extend(names.clone().iter().map(|n| format!("{n}.{network}")));
    names.sort_unstable();
    names.dedup();
    names
}

/// The same choice as that of [`network::way::Way::settle`]. `own`: whether there is the network in user space, and
/// with IPv6.
fn choose_ways_out(members: &mut [Member], own: Option<bool>) {
    let outward = |six: bool, own: bool, members: &[Member]| {
        let mut best: Option<(i32, Option<usize>)> = own.then_some((0, None));
        for (at, member) in members.iter().enumerate() {
            let leads = !member.network.internal && (!six || member.ipv6.is_some());
            if leads && best.is_none_or(|(highest, _)| member.priority > highest) {
                best = Some((member.priority, Some(at)));
            }
        }
        best.and_then(|(_, at)| at)
    };
    let four = outward(false, own.is_some(), members);
    let six = outward(true, own == Some(true), members);
    for (at, member) in members.iter_mut().enumerate() {
        member.default_route = four == Some(at);
        member.default_route6 = six == Some(at);
    }
}

/// The network that is the way out; where none is, the first.
pub(super) fn way_out(members: &[Member]) -> Option<&Member> {
    members.iter().find(|m| m.default_route).or(members.first())
}

/// The addresses in the network that is the way out of these; where none is, in the first.
pub(in crate::engine) fn first_of(members: &[MemberState]) -> Option<Addresses> {
    let mut best: Option<&MemberState> = None;
    for member in members.iter().filter(|m| !m.internal) {
        if best.is_none_or(|b| member.priority > b.priority) {
            best = Some(member);
        }
    }
    best.or(members.first()).map(|m| m.addresses)
}

/// Those of every network but the one that has these.
pub(super) fn others(first: Option<Addresses>, members: &[Member]) -> Vec<Addresses> {
    members.iter().map(addresses_of).filter(|a| Some(*a) != first).collect()
}

pub(super) fn addresses_of(member: &Member) -> Addresses {
    let (v4, v6) = (member.network.ipv4, member.network.ipv6);
    let ipv4 = Link { address: member.ipv4, prefix: v4.prefix, gateway: v4.gateway, dns: v4.gateway };
    let ipv6 = member.ipv6.zip(v6).map(|(address, v6)| Link {
        address,
        prefix: v6.prefix,
        gateway: v6.gateway,
        dns: v6.gateway,
    });
    Addresses { ipv4, ipv6 }
}

/// The container's files about its network at this moment, by path.
pub(super) fn texts(
    record: &ContainerRecord,
    request: &CreateRequest,
    addresses: Option<Addresses>,
    members: &[Member],
) -> BTreeMap<String, String> {
    let others = others(addresses, members);
    let place = spec::Place { addresses, others, ..spec::Place::new(record.id.as_str()) };
    spec::texts(request, &place).into_iter().map(|(path, text)| (path.to_owned(), text)).collect()
}

/// Another container whose network is shared.
pub(super) struct Sharing {
    pub peer: Peer,
    pub texts: Shared,
}

/// The container that `--network container:X` names, which must run and have a network namespace of its own.
pub(super) fn sharing(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CreateRequest,
) -> Result<Option<Sharing>> {
    const VERB: &str = "join the network of";
    let NetworkMode::Container(name) = &request.network else { return Ok(None) };
    let (other, observed) = find::settled(engine, name, VERB)?;
    let conflict = |reason: &str| Error::Conflict {
        verb: VERB,
        container: other.name.to_string(),
        reason: reason.into(),
        hint: None,
    };
    if other.id == record.id {
        return Err(conflict("a container cannot join its own network"));
    }
    let Some(peer) = start::process_of(&observed) else {
        // docker's words.
        return Err(conflict(&format!("cannot join network of a non running container: {}", other.id)));
    };
    let theirs = Stored::of(&other)?.request()?;
    let theirs_now = observed.network.unwrap_or_default();
    let others = theirs_now.members.iter().map(|m| m.addresses);
    let place = spec::Place {
        addresses: theirs_now.addresses,
        others: others.filter(|a| Some(*a) != theirs_now.addresses).collect(),
        ..spec::Place::new(other.id.as_str())
    };
    let place = match &theirs.network {
        NetworkMode::Host => return Err(conflict("it has the host's network: use --network host")),
        // Whose network it is, is the one to ask.
        NetworkMode::Container(_) => match sharing(engine, &other, &theirs)? {
            Some(Sharing { texts, .. }) => return Ok(Some(Sharing { peer, texts })),
            None => place,
        },
        NetworkMode::Slirp(_) | NetworkMode::None | NetworkMode::Networks(_) => place,
    };
    let hostname = spec::hostname(&theirs, &place);
    let [(_, hosts), _, (_, resolv_conf)] = spec::texts(&theirs, &place);
    Ok(Some(Sharing { peer, texts: Shared { hostname, hosts, resolv_conf } }))
}

/// Ports that are said to be served: the image's and the user's. What an image says that is no port is passed over.
pub(super) fn exposed(request: &CreateRequest, image: Option<&ImageConfig>) -> Vec<(u16, Protocol)> {
    let from_image = image.and_then(|c| c.exposed_ports().clone()).unwrap_or_default();
    let ranges = from_image.iter().filter_map(|text| options::exposed_range(text).ok()).collect();
    let mut ports = merged(ranges);
    ports.extend(&request.expose);
    ports.extend(request.publish.iter().map(|p| (p.container_port, p.protocol)));
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Each port once. An image's author may write any number of ranges over each other, which are never written out: there
/// are no more ports than there are.
fn merged(mut ranges: Vec<(u16, u16, Protocol)>) -> Vec<(u16, Protocol)> {
    ranges.sort_unstable_by_key(|(first, last, protocol)| (*protocol, *first, *last));
    let mut ports = Vec::new();
    let mut written: Option<(Protocol, u16)> = None;
    for (first, last, protocol) in ranges {
        let next = match written {
            Some((known, end)) if known == protocol => u32::from(first).max(u32::from(end) + 1),
            _ => u32::from(first),
        };
        let new = (next..=u32::from(last)).filter_map(|port| u16::try_from(port).ok());
        ports.extend(new.map(|port| (port, protocol)));
        if written.is_none_or(|(known, end)| known != protocol || end < last) {
            written = Some((protocol, last));
        }
    }
    ports
}

/// docker's default network asks more of links than others do: the other container must be there. What its links give
/// besides names is told.
pub(super) fn linked(engine: &Engine, name: &str, request: &CreateRequest) -> Result<Option<String>> {
    let Some(first) = request.joins().first().filter(|j| j.network == BRIDGE && !j.links.is_empty()) else {
        return Ok(None);
    };
    for (alias, target) in &first.links {
        let (other, observed) = find::settled(engine, target, "link to").map_err(|e| match e {
            // docker's words, here and below.
            Error::NoSuchContainer(_) => {
                Error::Network(format!("could not get container for {target}: no such container: {target}"))
            }
            other => other,
        })?;
        let Some(network) = observed.network.filter(|_| observed.pid.is_some()) else {
            return Err(Error::Network(format!(
                "cannot link to a non running container: /{} AS /{name}/{alias}",
                other.name
            )));
        };
        if !network.members.iter().any(|m| m.network == BRIDGE) {
            return Err(Error::Network(format!(
                "cannot link to /{}, as it does not belong to the default network",
                other.name
            )));
        }
    }
    Ok(Some("the variables that docker sets for links (NAME_PORT_…) are not set: use the name".into()))
}

/// What is published: `-p`, and with `-P` every other exposed port.
pub(super) fn publish(request: &CreateRequest, image: Option<&ImageConfig>) -> Result<Vec<Publish>> {
    let mut all = request.publish.clone();
    if request.publish_all {
        for (container_port, protocol) in exposed(request, image) {
            let known = |p: &Publish| (p.container_port, p.protocol) == (container_port, protocol);
            if !all.iter().any(known) {
                all.push(Publish { protocol, host_ip: None, host_ports: None, container_port });
            }
        }
    }
    Ok(all)
}

/// docker takes such ports, and says so only with the host's network.
pub(super) fn unpublished(request: &CreateRequest, members: &[Member]) -> Option<String> {
    let asked = !request.publish.is_empty() || request.publish_all;
    match request.network {
        NetworkMode::Host if asked => {
            Some("published ports are discarded when using host network mode".into())
        }
        NetworkMode::Networks(_) if asked && members.iter().all(|m| m.network.internal) => {
            Some("published ports are discarded: nothing gets into an internal network".into())
        }
        NetworkMode::None if asked => {
            Some("published ports are discarded: the container has no network".into())
        }
        _ => None,
    }
}

/// What becomes of `--add-host NAME:host-gateway` where no gateway is: a network that leads out would have one.
pub(super) fn hostless(request: &CreateRequest, has_gateway: bool) -> Option<String> {
    let nowhere = !has_gateway && !matches!(request.network, NetworkMode::Host | NetworkMode::Container(_));
    let asked = request.add_hosts.iter().find(|(_, address)| address == HOST_GATEWAY);
    let (name, _) = asked.filter(|_| nowhere)?;
    Some(format!(
        "--add-host {name}:{HOST_GATEWAY} is left out: no network of the container leads to the host"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_ranges_are_merged() {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let ports = merged(vec![(5, 7, tcp), (1, 6, tcp), (6, 6, udp), (2, 3, tcp), (9, 9, tcp)]);
        let expected =
            [(1, tcp), (2, tcp), (3, tcp), (4, tcp), (5, tcp), (6, tcp), (7, tcp), (9, tcp), (6, udp)];
        assert_eq!(ports, expected);
        let whole = merged(vec![(0, u16::MAX, tcp); 1000]);
        assert_eq!(whole.len(), 65536);
    }
}
