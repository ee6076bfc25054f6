//! `rename`: another name, also for those who ask for it in the networks that the container is in.

use std::collections::BTreeMap;

use super::create::refuse_taken;
use super::stored::Stored;
use super::{find, network};
use crate::engine::{Engine, Error, Result};
use crate::shim::network::change::Change;
use crate::shim::{self, client};
use crate::store::container::{ContainerRecord, Observed};
use crate::store::id::Name;

/// Gives the container another name. In its networks it is known by both for a moment, so that nobody who looks for
/// either finds nothing while it changes; a command that is killed then leaves the old one with the new one, until the
/// container's end or its next name.
pub fn rename(engine: &Engine, container: &str, name: &str) -> Result<()> {
    if container.is_empty() || name.is_empty() {
        // docker's words.
        return Err(Error::Usage("neither old nor new names may be empty"));
    }
    let (record, _) = find::find(engine, container)?;
    let _lock = engine.store.operation_lock(&record.id)?;
    let (record, observed) = find::settled(engine, record.id.as_str(), "rename")?;
    let name: Name = name.strip_prefix('/').unwrap_or(name).parse().map_err(crate::store::Error::from)?;
    if name == record.name {
        return Err(Error::Usage("renaming a container with the same name as its current name"));
    }
    // Before anybody hears of it.
    refuse_taken(engine, &name)?;
    let known =
        |also: Option<&Name>, name: &Name| -> Result<()> { tell(engine, &record, &observed, name, also) };
    known(Some(&record.name), &name)?;
    if let Err(e) = engine.store.rename_container(&record.id, &name) {
        let _ = known(None, &record.name);
        return Err(e.into());
    }
    known(None, &name)
}

/// The container's networks know it by `name`, and by `also`.
fn tell(
    engine: &Engine,
    record: &ContainerRecord,
    observed: &Observed,
    name: &Name,
    also: Option<&Name>,
) -> Result<()> {
    let members = observed.network.as_ref().map(|n| n.members.as_slice()).unwrap_or_default();
    if members.is_empty() {
        return Ok(());
    }
    let hostname = Stored::of(record)?.request()?.hostname;
    let names: BTreeMap<String, Vec<String>> = members
        .iter()
        .map(|member| {
            let of = |name: &Name| {
                let hostname = hostname.as_deref();
                network::names(&record.id, name.as_str(), hostname, &member.aliases, &member.network)
            };
            let mut names = of(name);
            names.extend(also.map(of).unwrap_or_default());
            names.sort_unstable();
            names.dedup();
            (member.id.clone(), names)
        })
        .collect();
    let dir = engine.store.container_dir(&record.id);
    match client::connect(&dir).and_then(|socket| client::change_network(&socket, &Change::Rename(names))) {
        Ok(()) | Err(shim::Error::Gone) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
