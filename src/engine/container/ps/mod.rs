//! `ps`: which containers there are, and what they do at this moment.
//!
//! A thousand containers cost one query. Files are touched only for those that were launched (is the shim alive?),
//! and the create request is read only when its fields were asked for, or filtered by.

mod filter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::filter::Filters;
use crate::engine::request::{CreateRequest, MountRequest, NetworkMode};
use crate::engine::{Engine, Result};
use crate::store;
pub use crate::store::container::Status;
use crate::store::container::network::{Protocol, PublishedPort};
use crate::store::container::{ContainerRecord, Network, Phase};
use crate::store::id::{ContainerId, Name};

/// What `ps` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Those that do not run, too.
    pub all: bool,
    /// Only the newest so many of what matches, whatever their state.
    pub last: Option<usize>,
    /// `KEY=VALUE` pairs of `--filter`. Of one key any value may match, except labels; all keys must.
    pub filters: Vec<(String, String)>,
    /// Fill [`Summary::mounts`] and [`Summary::network`].
    pub details: bool,
    /// Fill [`Summary::size`], which walks each writable layer.
    pub size: bool,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub id: ContainerId,
    pub name: Name,
    /// As the user named it.
    pub image: String,
    /// `sha256:…`, `None` for `--rootfs`.
    pub image_id: Option<String>,
    pub command: Vec<String>,
    pub created: Timestamp,
    pub status: Status,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Of the last end.
    pub exit_code: Option<i32>,
    pub labels: BTreeMap<String, String>,
    /// Sources of bind mounts.
    pub mounts: Vec<String>,
    pub network: String,
    /// Published and exposed, of a container that runs.
    pub ports: Vec<PublishedPort>,
    pub exposed: Vec<(u16, Protocol)>,
    pub size: Option<Size>,
}

/// How much a container holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its writable layer.
    pub writable: u64,
    /// That and its image.
    pub total: u64,
}

/// Newest first.
pub fn list(engine: &Engine, query: &Query) -> Result<Vec<Summary>> {
    let running_only = !query.all && query.last.is_none() && query.filters.is_empty();
    let by_layers = query.filters.iter().any(|(key, _)| key == "ancestor");
    let settings = query.details || query.filters.iter().any(|(key, _)| filter::is_about_settings(key));
    let rows = match (settings, running_only) {
        (true, _) => engine.store.containers()?,
        (false, true) => engine.store.launched_rows()?,
        (false, false) if by_layers => engine.store.container_rows()?,
        (false, false) => engine.store.short_rows()?,
    };
    let filters = Filters::parse(engine, &query.filters, &rows)?;
    let all = query.all || query.last.is_some() || !filters.status.is_empty();
    let mut found = Vec::new();
    for row in rows {
        if query.last.is_some_and(|last| found.len() >= last) {
            break;
        }
        if !all && row.phase != Phase::Launched
            || !filters.match_row(&row)
            || !filters.match_settings(&row)?
        {
            continue;
        }
        let seen = match engine.store.observe(&row) {
            Err(store::Error::NoSuchContainer(_)) => continue,
            other => other?,
        };
        let runs = matches!(seen.status, Status::Running | Status::Paused | Status::Restarting);
        if !all && !runs || !filters.match_status(seen.status, seen.exit_code) {
            continue;
        }
        let (mounts, network) = if query.details { details(&row)? } else { Default::default() };
        let Network { ports, exposed, .. } = seen.network.unwrap_or_default();
        let size = if query.size { Some(super::inspect::size(engine, &row)?) } else { None };
        found.push(Summary {
            id: row.id,
            name: row.name,
            image: row.image,
            image_id: row.image_id,
            command: row.command,
            created: row.created,
            status: seen.status,
            started: seen.started,
            finished: seen.finished,
            exit_code: seen.exit_code,
            labels: row.labels,
            mounts,
            network,
            ports,
            exposed,
            size,
        });
    }
    Ok(found)
}

/// Bind sources and network out of the create request.
fn details(row: &ContainerRecord) -> Result<(Vec<String>, String)> {
    let request = super::inspect::request(row)?;
    Ok((bind_sources(&request), networks(&request).join(",")))
}

fn bind_sources(request: &CreateRequest) -> Vec<String> {
    let source = |mount: &MountRequest| match mount {
        MountRequest::Bind { source, .. } => Some(source.display().to_string()),
        MountRequest::Tmpfs { .. } => None,
    };
    request.mounts.iter().filter_map(source).collect()
}

/// The names of a container's networks.
pub(super) fn networks(request: &CreateRequest) -> Vec<String> {
    let own = match &request.network {
        NetworkMode::Slirp(_) => request.slirp().is_some(),
        NetworkMode::None => request.joined.is_none(),
        NetworkMode::Host => true,
        // Its networks are the other container's.
        NetworkMode::Container(_) | NetworkMode::Networks(_) => false,
    };
    let own = own.then(|| network(&request.network));
    own.into_iter().chain(request.joins().iter().map(|join| join.network.clone())).collect()
}

/// docker's word for a network mode.
pub(super) fn network(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Slirp(_) => "slirp".into(),
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        // Its networks are the other container's.
        NetworkMode::Container(_) => String::new(),
        NetworkMode::Networks(joins) => {
            joins.iter().map(|join| join.network.as_str()).collect::<Vec<_>>().join(",")
        }
    }
}
