//! `ps`: which containers there are, and what they do at this moment.
//!
//! A thousand containers cost one query. Files are touched only for those that were launched (is the shim alive?),
//! and the create request is read only when its fields were asked for, or filtered by.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use regex::Regex;

use super::stored::Stored;
use crate::engine::request::{CreateRequest, MountRequest, NetworkMode};
use crate::engine::{Engine, Error, Result, image, options};
pub use crate::store::container::Status;
use crate::store::container::network::{Protocol, PublishedPort};
use crate::store::container::{ContainerRecord, Network, Phase};
use crate::store::id::{ContainerId, Name};
use crate::store::{self};

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

/// Filters that are about what the user asked for when the container was made.
const BY_SETTINGS: [&str; 4] = ["network", "publish", "expose", "volume"];

/// Newest first.
pub fn list(engine: &Engine, query: &Query) -> Result<Vec<Summary>> {
    let running_only = !query.all && query.last.is_none() && query.filters.is_empty();
    let by_layers = query.filters.iter().any(|(key, _)| key == "ancestor");
    let settings = query.details || query.filters.iter().any(|(key, _)| BY_SETTINGS.contains(&key.as_str()));
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

/// `--filter`, understood.
#[derive(Debug, Default)]
struct Filters {
    id: Vec<Regex>,
    name: Vec<Regex>,
    /// Key and, if given, value. All must match.
    label: Vec<(String, Option<String>)>,
    status: Vec<Status>,
    exited: Vec<i32>,
    /// Image ids, and the layers that a descendant of one begins with; `None` for an image that is not there.
    ancestor: Vec<Ancestor>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    /// Names of networks, and beginnings of their ids.
    network: Vec<String>,
    /// Ports of the container.
    publish: Vec<Ports>,
    expose: Vec<Ports>,
    /// Where something is mounted, from the host or inside.
    volume: Vec<String>,
    /// For each health that was asked for, whether it is that of all: none. There are no health checks.
    health: Vec<bool>,
    /// A swarm's tasks were asked for, and there are none.
    tasks: bool,
    /// The id of each network, by its name: where they are asked for.
    ids: BTreeMap<String, String>,
}

/// The first and the last.
type Ports = (u16, u16, Protocol);

#[derive(Debug)]
struct Ancestor {
    /// As typed: a container whose image has gone is still found by what the user called it.
    name: String,
    image: Option<(String, Vec<String>)>,
}

impl Filters {
    fn parse(engine: &Engine, pairs: &[(String, String)], rows: &[ContainerRecord]) -> Result<Self> {
        let mut filters = Self::default();
        for (key, value) in pairs {
            let refuse = |reason: &str| Error::Invalid {
                what: "filter",
                value: format!("{key}={value}"),
                reason: reason.into(),
            };
            let regex = || Regex::new(value).map_err(|_| refuse("a regular expression is expected"));
            match key.as_str() {
                "id" => filters.id.push(regex()?),
                "name" => filters.name.push(regex()?),
                "label" => filters.label.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value.clone(), None),
                }),
                "status" => filters.status.push(status(value).ok_or_else(|| {
                    refuse("created, running, paused, restarting, exited or dead is expected")
                })?),
                "exited" => {
                    filters.exited.push(value.parse().map_err(|_| refuse("a number is expected"))?);
                }
                "ancestor" => filters.ancestor.push(Ancestor::find(engine, value)?),
                // Several of one kind narrow the range to what lies between them all, as with docker.
                "before" => {
                    let time = created(engine, rows, value)?;
                    filters.before = Some(filters.before.map_or(time, |known| known.min(time)));
                }
                "since" => {
                    let time = created(engine, rows, value)?;
                    filters.since = Some(filters.since.map_or(time, |known| known.max(time)));
                }
                "network" => {
                    if filters.ids.is_empty() {
                        filters.ids = crate::engine::network::ids(engine)?;
                    }
                    filters.network.push(value.clone());
                }
                // docker's rules: both are about the container's ports, whether it runs or not.
                "publish" => filters.publish.push(ports(key, value)?),
                "expose" => filters.expose.push(ports(key, value)?),
                "volume" => filters.volume.push(value.clone()),
                "health" => match value.as_str() {
                    "none" | "starting" | "healthy" | "unhealthy" => filters.health.push(value == "none"),
                    _ => return Err(refuse("starting, healthy, unhealthy or none is expected")),
                },
                "is-task" => filters.tasks = crate::engine::filter::truth(key, value)?,
                "isolation" | "pod" | "until" | "restart-policy" => {
                    return Err(refuse("this filter is not built yet"));
                }
                _ => return Err(refuse("there is no such filter")),
            }
        }
        Ok(filters)
    }

    /// What the row alone decides.
    fn match_row(&self, row: &ContainerRecord) -> bool {
        let any = |list: &[Regex], text: &str| list.is_empty() || list.iter().any(|r| r.is_match(text));
        // docker's names begin with a slash, and both forms are searched for.
        let slashed = format!("/{}", row.name);
        !self.tasks
            && (self.health.is_empty() || self.health.contains(&true))
            && any(&self.id, row.id.as_str())
            && (any(&self.name, row.name.as_str()) || any(&self.name, &slashed))
            && self.label.iter().all(|(key, wanted)| {
                row.labels.get(key).is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
            })
            && (self.ancestor.is_empty() || self.ancestor.iter().any(|a| a.matches(row)))
            && self.before.is_none_or(|time| row.created < time)
            && self.since.is_none_or(|time| row.created > time)
    }

    /// What was asked for when the container was made, and what has become of it.
    fn match_settings(&self, row: &ContainerRecord) -> Result<bool> {
        let Self { network, publish, expose, volume, .. } = self;
        if network.is_empty() && publish.is_empty() && expose.is_empty() && volume.is_empty() {
            return Ok(true);
        }
        let stored = Stored::of(row)?;
        let request = stored.request()?;
        let of_network = |name: &String| {
            let id = self.ids.get(name).map_or("", String::as_str);
            self.network
                .iter()
                .any(|wanted| wanted == name || !id.is_empty() && id.starts_with(wanted.as_str()))
        };
        let any = |wanted: &[Ports], has: &[(u16, Protocol)]| {
            let within = |(first, last, protocol): &Ports| {
                has.iter().any(|(port, p)| p == protocol && (first..=last).contains(&port))
            };
            wanted.is_empty() || wanted.iter().any(within)
        };
        let published: Vec<_> = request.publish.iter().map(|p| (p.container_port, p.protocol)).collect();
        let mounted = |wanted: &String| request.mounts.iter().any(|mount| mount.has_end(Path::new(wanted)));
        let exposed = if self.expose.is_empty() { Vec::new() } else { stored.launch()?.expose };
        Ok((self.network.is_empty() || networks(&request).iter().any(of_network))
            && any(&self.publish, &published)
            && any(&self.expose, &exposed)
            && (self.volume.is_empty() || self.volume.iter().any(mounted)))
    }

    fn match_status(&self, status: Status, exit_code: Option<i32>) -> bool {
        (self.status.is_empty() || self.status.contains(&status))
            && (self.exited.is_empty()
                || status != Status::Running && exit_code.is_some_and(|code| self.exited.contains(&code)))
    }
}

impl Ancestor {
    fn find(engine: &Engine, name: &str) -> Result<Self> {
        let image = match image::resolve::resolve(engine, name) {
            Ok(record) => Some((record.id, record.layers)),
            Err(Error::NoSuchImage(_)) => None,
            Err(other) => return Err(other),
        };
        Ok(Self { name: name.into(), image })
    }

    fn matches(&self, row: &ContainerRecord) -> bool {
        match &self.image {
            None => row.image == self.name,
            Some((id, layers)) => {
                row.image_id.as_ref() == Some(id) || !layers.is_empty() && row.layers.starts_with(layers)
            }
        }
    }
}

/// `PORT[-PORT][/PROTOCOL]`.
fn ports(key: &str, value: &str) -> Result<Ports> {
    let invalid = |reason: String| Error::Invalid { what: "filter", value: format!("{key}={value}"), reason };
    if value.contains(':') {
        // docker's words.
        return Err(invalid(format!("filter for '{key}' should not contain ':'")));
    }
    options::exposed_range(value).map_err(|e| invalid(e.to_string()))
}

fn status(word: &str) -> Option<Status> {
    Some(match word {
        "created" => Status::Created,
        "running" => Status::Running,
        "paused" => Status::Paused,
        "restarting" => Status::Restarting,
        "exited" => Status::Exited,
        "dead" => Status::Dead,
        _ => return None,
    })
}

/// When the container that a `before` or `since` names was created.
fn created(engine: &Engine, rows: &[ContainerRecord], name: &str) -> Result<Timestamp> {
    match rows.iter().find(|row| row.name.as_str() == name) {
        Some(row) => Ok(row.created),
        None => Ok(engine.store.find_container(name)?.created),
    }
}

#[cfg(test)]
mod tests;
