//! `network inspect`: docker's shape.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::create::IPAM_DRIVER;
use super::{Shown, find, members};
use crate::engine::{Engine, Result};
use crate::shim::network::hub::is_unguarded;
use crate::store::id::ContainerId;
use crate::store::network::NetworkRecord;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    pub name: String,
    pub id: String,
    pub created: String,
    pub scope: &'static str,
    pub driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    pub config_from: ConfigFrom,
    pub config_only: bool,
    pub containers: BTreeMap<String, Endpoint>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// What this network does not hold of what it promises, on this host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
}

/// Containers that may administrate their network can take each other's addresses.
const UNGUARDED: &str = "the kernel has no nf_tables for bridges: containers of this network that have NET_ADMIN or NET_RAW can \
                         send from each other's addresses";

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    pub driver: &'static str,
    pub options: Option<BTreeMap<String, String>>,
    pub config: Vec<Pool>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    pub subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    pub gateway: String,
    /// By the user's names for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigFrom {
    pub network: &'static str,
}

/// A running container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    pub name: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub mac_address: String,
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// There is one endpoint of a container in a network.
pub(in crate::engine) fn endpoint_id(container: &ContainerId) -> String {
    container.to_string()
}

pub fn inspect(engine: &Engine, word: &str) -> Result<Network> {
    let shown = find(engine, word)?;
    let enable_ipv6 = shown.has_ipv6();
    let Shown { id, name, driver, created, record, labels, .. } = shown;
    let mut containers = BTreeMap::new();
    if let Some(record) = &record {
        for (row, lease) in members(engine, record)? {
            let v6 = lease.ipv6.zip(record.v6).map(|(a, v6)| format!("{a}/{}", v6.prefix));
            containers.insert(
                row.id.to_string(),
                Endpoint {
                    name: row.name.to_string(),
                    endpoint_id: endpoint_id(&row.id),
                    mac_address: lease.mac.to_string(),
                    ipv4_address: format!("{}/{}", lease.ipv4, record.v4.prefix),
                    ipv6_address: v6.unwrap_or_default(),
                },
            );
        }
    }
    let warnings = if is_unguarded(engine.store.layout(), &id) { vec![UNGUARDED] } else { Vec::new() };
    Ok(Network {
        name,
        id,
        created: created.to_string(),
        scope: "local",
        driver,
        enable_ipv4: true,
        enable_ipv6,
        ipam: Ipam {
            driver: IPAM_DRIVER,
            options: None,
            config: record.as_ref().map(pools).unwrap_or_default(),
        },
        internal: record.as_ref().is_some_and(|r| r.internal),
        attachable: record.as_ref().is_some_and(|r| r.attachable),
        ingress: false,
        config_from: ConfigFrom { network: "" },
        config_only: false,
        containers,
        options: record.map(|r| r.options).unwrap_or_default(),
        labels,
        warnings,
    })
}

fn pools(record: &NetworkRecord) -> Vec<Pool> {
    let reserved = |v4: bool| {
        let these = record.reserved.iter().filter(|(_, address)| address.is_ipv4() == v4);
        these.map(|(name, address)| (name.clone(), *address)).collect()
    };
    let v4 = record.v4;
    let v4 = Pool {
        subnet: format!("{}/{}", v4.first, v4.prefix),
        ip_range: v4.range.map(|(a, bits)| format!("{a}/{bits}")),
        gateway: v4.gateway.to_string(),
        auxiliary_addresses: reserved(true),
    };
    let v6 = record.v6.map(|v6| Pool {
        subnet: format!("{}/{}", v6.first, v6.prefix),
        ip_range: v6.range.map(|(a, bits)| format!("{a}/{bits}")),
        gateway: v6.gateway.to_string(),
        auxiliary_addresses: reserved(false),
    });
    std::iter::once(v4).chain(v6).collect()
}
