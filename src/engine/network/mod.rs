//! Networks: the built-in ones, and those that users make.
//!
//! `none`, `host` and `slirp` are ways to set a container up and have no members. `bridge` and what users make are
//! networks that containers join.

mod change;
pub mod connect;
pub mod create;
pub mod disconnect;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;
mod subnets;

pub(in crate::engine) use subnets::{is_for_networks, refuse_routed_cidr};

use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Engine, Result};
use crate::store::container::{ContainerRecord, Status};
use crate::store::network::{BRIDGE, Lease, NetworkRecord};

/// The networks that have no members, and docker's word for the driver of each.
const MODES: [(&str, &str); 3] = [("host", "host"), ("none", "null"), ("slirp", "slirp")];

/// A network as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    pub id: String,
    pub name: String,
    pub driver: &'static str,
    pub builtin: bool,
    pub created: Timestamp,
    /// `None` of a network without members.
    pub record: Option<NetworkRecord>,
    pub labels: BTreeMap<String, String>,
}

impl Shown {
    /// Whether containers in it have IPv6, unless one was asked to have none.
    pub fn has_ipv6(&self) -> bool {
        self.record.as_ref().map_or(self.name == "slirp", |record| record.v6.is_some())
    }
}

impl From<NetworkRecord> for Shown {
    fn from(record: NetworkRecord) -> Self {
        Self {
            id: record.id.clone(),
            name: record.name.clone(),
            driver: "bridge",
            builtin: record.is_builtin(),
            created: record.created,
            labels: record.labels.clone(),
            record: Some(record),
        }
    }
}

/// Always the same id, in every store.
fn mode(name: &str, driver: &'static str) -> Shown {
    let id = Sha256::digest(format!("kelp network {name}").as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    Shown {
        id,
        name: name.into(),
        driver,
        builtin: true,
        created: Timestamp::UNIX_EPOCH,
        record: None,
        labels: BTreeMap::new(),
    }
}

/// All of them, by name. `bridge` is made by that, unless the store takes nothing: what is in it can be told all the
/// same.
fn all(engine: &Engine) -> Result<Vec<Shown>> {
    let _ = create::bridge(engine);
    let mut shown: Vec<Shown> = MODES.iter().map(|(name, driver)| mode(name, driver)).collect();
    shown.extend(engine.store.networks()?.into_iter().map(Shown::from));
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(shown)
}

/// The id of each network, by its name: makes nothing.
pub(super) fn ids(engine: &Engine) -> Result<BTreeMap<String, String>> {
    let modes = MODES.iter().map(|(name, driver)| mode(name, driver)).map(|m| (m.name, m.id));
    Ok(modes.chain(engine.store.networks()?.into_iter().map(|n| (n.name, n.id))).collect())
}

/// Names of all networks, for completion: makes nothing.
pub fn names(engine: &Engine, builtin: bool) -> Vec<String> {
    let made = engine.store.networks().unwrap_or_default();
    let mut names: Vec<String> = made.into_iter().filter(|n| !n.is_builtin()).map(|n| n.name).collect();
    if builtin {
        names.extend(MODES.iter().map(|(name, _)| (*name).to_owned()).chain([BRIDGE.to_owned()]));
    }
    names
}

/// By name, by id, by the beginning of an id that no other shares.
pub(super) fn find(engine: &Engine, word: &str) -> Result<Shown> {
    if word == BRIDGE {
        return Ok(create::bridge(engine)?.into());
    }
    let modes = || MODES.iter().map(|(name, driver)| mode(name, driver));
    if let Some(found) = modes().find(|m| m.name == word || m.id == word) {
        return Ok(found);
    }
    match engine.store.find_network(word) {
        Ok(record) => Ok(record.into()),
        Err(e) => {
            let mut begun = modes().filter(|m| word.len() >= 2 && m.id.starts_with(word));
            begun.next().ok_or_else(|| e.into())
        }
    }
}

/// Whether there is such a network.
pub fn exists(engine: &Engine, word: &str) -> Result<bool> {
    match find(engine, word) {
        Ok(_) => Ok(true),
        Err(e) if e.is_missing() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Those that run in the network, or are just being started.
fn members(engine: &Engine, network: &NetworkRecord) -> Result<Vec<(ContainerRecord, Lease)>> {
    let leases = engine.store.leases_of_network(&network.id)?;
    let rows = if leases.is_empty() { Vec::new() } else { engine.store.launched_rows()? };
    let mut members = Vec::new();
    for lease in leases {
        let Some(row) = rows.iter().find(|row| row.id == lease.container) else { continue };
        let Ok(observed) = engine.store.observe(row) else { continue };
        // One that has an address and does not run in the network has it for later.
        let present = observed.network.is_some_and(|n| n.members.iter().any(|m| m.id == network.id));
        if observed.starting
            || present && matches!(observed.status, Status::Running | Status::Paused | Status::Restarting)
        {
            members.push((row.clone(), lease));
        }
    }
    Ok(members)
}
