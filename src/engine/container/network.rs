//! A container's network between what was asked for and what a start makes of it.

use std::collections::BTreeMap;

use oci_spec::image::Config as ImageConfig;

use super::stored::Stored;
use super::{find, start};
use crate::engine::request::{CreateRequest, NetworkMode};
use crate::engine::spec::{self, Shared};
use crate::engine::{Engine, Error, Result, options};
use crate::shim::launch::Peer;
use crate::shim::network::{self, Publish};
use crate::store::container::ContainerRecord;
use crate::store::container::network::{Addresses, Protocol};

/// The addresses of a start at this moment, where the network is the one in user space.
pub(super) fn addresses(request: &CreateRequest) -> Option<Addresses> {
    match &request.network {
        NetworkMode::Slirp(slirp) => Some(network::choose(slirp)),
        _ => None,
    }
}

/// The container's files about its network at this moment, by path.
pub(super) fn texts(
    record: &ContainerRecord,
    request: &CreateRequest,
    addresses: Option<Addresses>,
) -> BTreeMap<String, String> {
    let place = spec::Place { addresses, ..spec::Place::new(record.id.as_str()) };
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
    let conflict = |reason: &str| Error::Conflict {
        verb: VERB,
        container: name.clone(),
        reason: reason.into(),
        hint: None,
    };
    let (other, observed) = find::settled(engine, name, VERB)?;
    if other.id == record.id {
        return Err(conflict("a container cannot join its own network"));
    }
    let Some(peer) = start::process_of(&observed) else {
        // docker's words.
        return Err(conflict(&format!("cannot join network of a non running container: {}", other.id)));
    };
    let theirs = Stored::of(&other)?.request()?;
    let place = spec::Place {
        addresses: observed.network.and_then(|n| n.addresses),
        ..spec::Place::new(other.id.as_str())
    };
    let place = match &theirs.network {
        NetworkMode::Host => return Err(conflict("it has the host's network: use --network host")),
        // Whose network it is, is the one to ask.
        NetworkMode::Container(_) => match sharing(engine, &other, &theirs)? {
            Some(Sharing { texts, .. }) => return Ok(Some(Sharing { peer, texts })),
            None => place,
        },
        NetworkMode::Slirp(_) | NetworkMode::None => place,
    };
    let hostname = spec::hostname(&theirs, &place);
    let [(_, hosts), _, (_, resolv_conf)] = spec::texts(&theirs, &place);
    Ok(Some(Sharing { peer, texts: Shared { hostname, hosts, resolv_conf } }))
}

/// Ports of an image's that are looked at: its author may write ranges of any length.
const FROM_IMAGE: usize = 1024;

/// Ports that are said to be served: the image's and the user's. What an image says that is no port is passed over.
pub(super) fn exposed(request: &CreateRequest, image: Option<&ImageConfig>) -> Vec<(u16, Protocol)> {
    let mut from_image: Vec<String> =
        image.and_then(|c| c.exposed_ports().clone()).unwrap_or_default().into_iter().collect();
    from_image.sort_unstable();
    let mut ports: Vec<(u16, Protocol)> =
        from_image.iter().filter_map(|text| options::expose(text).ok()).flatten().take(FROM_IMAGE).collect();
    ports.extend(&request.expose);
    ports.extend(request.publish.iter().map(|p| (p.container_port, p.protocol)));
    ports.sort_unstable();
    ports.dedup();
    ports
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
pub(super) fn unpublished(request: &CreateRequest) -> Option<String> {
    let asked = !request.publish.is_empty() || request.publish_all;
    match request.network {
        NetworkMode::Host if asked => {
            Some("published ports are discarded when using host network mode".into())
        }
        NetworkMode::None if asked => {
            Some("published ports are discarded: the container has no network".into())
        }
        _ => None,
    }
}
