//! `NetworkSettings`, and what of `HostConfig` and `Config` is about ports, as docker prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::unset;
use crate::engine::container::ps;
use crate::engine::network::inspect::endpoint_id;
use crate::engine::request::{CreateRequest, Join, NetworkMode};
use crate::shim::network::Publish;
use crate::store::container::network::{Addresses, Member, Network as State, Protocol};
use crate::store::id::ContainerId;

/// By `PORT/PROTOCOL`; `None` is exposed and not published.
pub(super) type Ports = BTreeMap<String, Option<Vec<HostPort>>>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPort {
    pub host_ip: String,
    pub host_port: String,
}

/// Empty in a container that does not run, as docker has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    pub ports: Ports,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// docker repeats those of its default network.
    #[serde(flatten)]
    pub addresses: AddressFields,
    pub networks: BTreeMap<String, Network>,
    #[serde(flatten)]
    pub unset: unset::NetworkSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// What the user called it there.
    pub aliases: Option<Vec<String>>,
    /// As `network inspect` tells it.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// See `--gw-priority`.
    pub gw_priority: i32,
    /// `NAME:ALIAS`.
    pub links: Option<Vec<String>>,
    /// What the network resolves.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
    #[serde(flatten)]
    pub addresses: AddressFields,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressFields {
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    /// A TUN device has none: there are no Ethernet frames.
    pub mac_address: String,
}

impl From<Addresses> for AddressFields {
    fn from(addresses: Addresses) -> Self {
        let v4 = addresses.ipv4;
        let v6 = addresses.ipv6;
        Self {
            gateway: v4.gateway.to_string(),
            ip_address: v4.address.to_string(),
            ip_prefix_len: v4.prefix,
            ipv6_gateway: v6.map(|v6| v6.gateway.to_string()).unwrap_or_default(),
            global_ipv6_address: v6.map(|v6| v6.address.to_string()).unwrap_or_default(),
            global_ipv6_prefix_len: v6.map_or(0, |v6| v6.prefix),
            mac_address: String::new(),
        }
    }
}

/// `state` is that of a running container.
pub(super) fn settings(id: &ContainerId, request: &CreateRequest, state: Option<&State>) -> NetworkSettings {
    let addresses: AddressFields = state.and_then(|s| s.addresses).map(Into::into).unwrap_or_default();
    let first = state.and_then(|s| s.addresses);
    let of_member = state.and_then(|s| s.members.iter().find(|m| Some(m.addresses) == first));
    NetworkSettings {
        ports: state.map(ports).unwrap_or_default(),
        endpoint_id: of_member.map(|_| endpoint_id(id)).unwrap_or_default(),
        addresses: addresses.clone(),
        networks: networks(id, request, state, &addresses),
        unset: unset::NetworkSettings::default(),
    }
}

fn networks(
    id: &ContainerId,
    request: &CreateRequest,
    state: Option<&State>,
    addresses: &AddressFields,
) -> BTreeMap<String, Network> {
    let plain = |addresses| Network {
        aliases: None,
        gw_priority: 0,
        links: None,
        endpoint_id: String::new(),
        network_id: String::new(),
        dns_names: None,
        addresses,
    };
    if matches!(request.network, NetworkMode::Container(_)) {
        return BTreeMap::new();
    }
    let shown = |m: &Member| Network {
        aliases: Some(m.aliases.clone()).filter(|a| !a.is_empty()),
        endpoint_id: endpoint_id(id),
        network_id: m.id.clone(),
        dns_names: Some(m.names.clone()),
        gw_priority: m.priority,
        links: links(&m.links),
        ..plain(AddressFields { mac_address: m.mac.to_string(), ..m.addresses.into() })
    };
    let mut networks: BTreeMap<String, Network> = match state {
        Some(state) => state.members.iter().map(|m| (m.network.clone(), shown(m))).collect(),
        None => {
            let asked = |join: &Join| Network {
                aliases: Some(join.aliases.clone()).filter(|a| !a.is_empty()),
                gw_priority: join.priority,
                links: links(&join.links),
                ..plain(AddressFields::default())
            };
            request.joins().iter().map(|join| (join.network.clone(), asked(join))).collect()
        }
    };
    let own = match &request.network {
        NetworkMode::Slirp(_) => request.slirp().is_some(),
        NetworkMode::None => request.joined.is_none(),
        NetworkMode::Host => true,
        NetworkMode::Container(_) | NetworkMode::Networks(_) => false,
    };
    if own {
        networks.insert(ps::network(&request.network), plain(addresses.clone()));
    }
    networks
}

/// docker's spelling.
fn links(links: &[(String, String)]) -> Option<Vec<String>> {
    let all: Vec<String> = links.iter().map(|(alias, target)| format!("{target}:{alias}")).collect();
    Some(all).filter(|all| !all.is_empty())
}

fn ports(state: &State) -> Ports {
    let mut ports: Ports =
        state.exposed.iter().map(|(port, protocol)| (name(*port, *protocol), None)).collect();
    for port in &state.ports {
        let at = HostPort { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        ports.entry(name(port.container_port, port.protocol)).or_default().get_or_insert_default().push(at);
    }
    ports
}

/// What `-p` asked for.
pub(super) fn bindings(request: &CreateRequest) -> BTreeMap<String, Vec<HostPort>> {
    let mut bindings: BTreeMap<String, Vec<HostPort>> = BTreeMap::new();
    for Publish { protocol, host_ip, host_ports, container_port } in &request.publish {
        let host_port = match host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let host_ip = host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        bindings.entry(name(*container_port, *protocol)).or_default().push(HostPort { host_ip, host_port });
    }
    bindings
}

fn name(port: u16, protocol: Protocol) -> String {
    format!("{port}/{}", protocol.name())
}

/// docker's empty object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// `Config.ExposedPorts`, which is left out where there are none.
pub(super) fn exposed_ports(exposed: &[(u16, Protocol)]) -> BTreeMap<String, Empty> {
    exposed.iter().map(|(port, protocol)| (name(*port, *protocol), Empty {})).collect()
}
