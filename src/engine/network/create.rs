//! `network create`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::MODES;
use super::subnets::{self, Asked};
use crate::engine::{Engine, Error, Result};
use crate::store::id::ContainerId;
use crate::store::network::{BRIDGE, NetworkRecord};

/// docker's for its default network.
const BRIDGE_SUBNET: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 17, 0, 0), 16);
/// Under either name the largest packet, in bytes.
pub(in crate::engine) const MTU_OPTIONS: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];
const LEAST_MTU: u16 = 68;
const LEAST_MTU6: u16 = 1280;
pub(in crate::engine) const DEFAULT_MTU: u16 = 1500;

/// What the user chose.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    pub name: String,
    pub driver: Option<String>,
    pub subnets: Vec<String>,
    pub gateways: Vec<String>,
    pub ranges: Vec<String>,
    /// Addresses that no container is given: `NAME=ADDRESS`.
    pub reserved: Vec<String>,
    pub ipam_driver: Option<String>,
    pub internal: bool,
    pub attachable: bool,
    pub ipv6: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// docker's word for its own way of giving addresses.
pub(super) const IPAM_DRIVER: &str = "default";

/// What `--network` knows under other names: no container could ask for a network that is called so.
const OTHER_MODES: [&str; 5] = ["default", "private", "slirp4netns", "pasta", "ns"];

/// Makes the network and gives its id.
pub fn create(engine: &Engine, asked: &CreateNetwork) -> Result<String> {
    check_name(&asked.name)?;
    check_driver(asked.driver.as_deref())?;
    check_ipam_driver(asked.ipam_driver.as_deref())?;
    check_options(&asked.options, asked.ipv6)?;
    let known = [BRIDGE].into_iter().chain(OTHER_MODES).chain(MODES.iter().map(|(name, _)| *name));
    if known.into_iter().any(|name| name == asked.name) {
        return Err(Error::Network(format!(
            "operation is not permitted on predefined {} network",
            asked.name
        )));
    }
    make(engine, asked, None).map(|made| made.id)
}

/// The built-in network.
pub(in crate::engine) fn bridge(engine: &Engine) -> Result<NetworkRecord> {
    let there = || -> Result<Option<NetworkRecord>> {
        Ok(engine.store.networks()?.into_iter().find(NetworkRecord::is_builtin))
    };
    if let Some(bridge) = there()? {
        return Ok(bridge);
    }
    let asked = CreateNetwork { name: BRIDGE.into(), ..CreateNetwork::default() };
    match (make(engine, &asked, Some(BRIDGE_SUBNET)), there()?) {
        // Somebody else was faster.
        (Err(Error::Network(_)), Some(bridge)) => Ok(bridge),
        (made, _) => made,
    }
}

fn make(engine: &Engine, asked: &CreateNetwork, preferred: Option<(Ipv4Addr, u8)>) -> Result<NetworkRecord> {
    engine.store.create_network(|others| {
        if others.iter().any(|n| n.name == asked.name) {
            return Err(Error::Network(format!("network with name {} already exists", asked.name)));
        }
        let wanted = Asked {
            subnets: &asked.subnets,
            gateways: &asked.gateways,
            ranges: &asked.ranges,
            ipv6: asked.ipv6,
        };
        let parts = subnets::choose(&wanted, preferred, others)?;
        let reserved = subnets::reserved(&asked.reserved, &asked.subnets, &parts)?;
        let (v4, v6) = parts;
        let id = ContainerId::random()
            .ok_or_else(|| Error::Network("the kernel gives no random numbers".into()))?;
        Ok(NetworkRecord {
            id: id.as_str().into(),
            name: asked.name.clone(),
            created: Timestamp::now(),
            v4,
            v6,
            reserved,
            internal: asked.internal,
            attachable: asked.attachable,
            labels: asked.labels.clone(),
            options: asked.options.clone(),
        })
    })?
}

/// The rule for names of containers, but one character will do.
fn check_name(name: &str) -> Result<()> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.len() <= 255 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(sound) {
        return Ok(());
    }
    let reason = "only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed";
    Err(Error::Invalid { what: "network name", value: name.into(), reason: reason.into() })
}

fn check_driver(driver: Option<&str>) -> Result<()> {
    let reason = match driver.unwrap_or(BRIDGE) {
        BRIDGE => return Ok(()),
        "macvlan" | "ipvlan" => {
            "it would put containers on the host's own link, which only root may: use bridge, and publish ports (-p), \
             which show clients' own addresses"
        }
        "overlay" => {
            "it joins the daemons of several machines, and kelp has none: use bridge, and publish ports (-p)"
        }
        "host" | "none" | "null" => {
            "there is one such network, and it is built in: run --network host, or none"
        }
        _ => "the only driver is bridge",
    };
    Err(Error::Invalid { what: "driver", value: driver.unwrap_or_default().into(), reason: reason.into() })
}

fn check_ipam_driver(driver: Option<&str>) -> Result<()> {
    let reason = match driver.unwrap_or(IPAM_DRIVER) {
        IPAM_DRIVER => return Ok(()),
        "null" | "none" => "containers in a network have addresses: run --network none has none",
        "host-local" => "addresses are leased from kelp's database: it is called `default`, as docker's is",
        "dhcp" => {
            "nothing in the network would answer: addresses are leased from kelp's database, by `default`"
        }
        _ => "there are no plugins, and the only one is `default`",
    };
    Err(Error::Invalid {
        what: "IPAM driver",
        value: driver.unwrap_or_default().into(),
        reason: reason.into(),
    })
}

fn check_options(options: &BTreeMap<String, String>, ipv6: bool) -> Result<()> {
    for (key, value) in options {
        let fail = |reason: String| {
            Err(Error::Invalid { what: "network option", value: format!("{key}={value}"), reason })
        };
        if !MTU_OPTIONS.contains(&key.as_str()) {
            return fail(format!("the only one is {}", MTU_OPTIONS[0]));
        }
        let least = if ipv6 { LEAST_MTU6 } else { LEAST_MTU };
        if !value.parse().is_ok_and(|mtu: u16| mtu >= least) {
            return fail(format!("a number of bytes from {least} to 65535 is expected"));
        }
    }
    Ok(())
}

/// The largest packet, in bytes.
pub(in crate::engine) fn mtu(network: &NetworkRecord) -> u16 {
    let asked = MTU_OPTIONS.iter().find_map(|key| network.options.get(*key)?.parse().ok());
    asked.unwrap_or(DEFAULT_MTU)
}
