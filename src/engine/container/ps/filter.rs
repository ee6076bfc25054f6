//! `--filter` of `ps`: which containers are meant, by docker's keys and rules.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use regex::Regex;

use super::networks;
use crate::engine::container::stored::Stored;
use crate::engine::filter::{self, Label};
use crate::engine::{Engine, Error, Result, image, options};
use crate::store::container::network::Protocol;
use crate::store::container::{ContainerRecord, Status};

/// Filters that are about what the user asked for when the container was made.
const BY_SETTINGS: [&str; 4] = ["network", "publish", "expose", "volume"];

pub(super) fn is_about_settings(key: &str) -> bool {
    BY_SETTINGS.contains(&key)
}

/// `--filter`, understood.
#[derive(Debug, Default)]
pub(super) struct Filters {
    id: Vec<Regex>,
    name: Vec<Regex>,
    /// All must match.
    label: Vec<Label>,
    pub status: Vec<Status>,
    exited: Vec<i32>,
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
    /// Its id, and the layers that a descendant begins with; `None` for an image that is not there.
    image: Option<(String, Vec<String>)>,
}

impl Filters {
    pub(super) fn parse(
        engine: &Engine,
        pairs: &[(String, String)],
        rows: &[ContainerRecord],
    ) -> Result<Self> {
        let mut filters = Self::default();
        for (key, value) in pairs {
            let refuse = |reason: &str| filter::invalid(key, value, reason);
            let regex = || Regex::new(value).map_err(|_| refuse("a regular expression is expected"));
            match key.as_str() {
                "id" => filters.id.push(regex()?),
                "name" => filters.name.push(regex()?),
                "label" => filters.label.push(Label::parse(value, true)),
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
                "is-task" => filters.tasks = filter::truth(key, value)?,
                "isolation" | "pod" | "until" | "restart-policy" => {
                    return Err(refuse("this filter is not built yet"));
                }
                _ => return Err(refuse("there is no such filter")),
            }
        }
        Ok(filters)
    }

    /// What the row alone decides.
    pub(super) fn match_row(&self, row: &ContainerRecord) -> bool {
        let any = |list: &[Regex], text: &str| list.is_empty() || list.iter().any(|r| r.is_match(text));
        // docker's names begin with a slash, and both forms are searched for.
        let slashed = format!("/{}", row.name);
        !self.tasks
            && (self.health.is_empty() || self.health.contains(&true))
            && any(&self.id, row.id.as_str())
            && (any(&self.name, row.name.as_str()) || any(&self.name, &slashed))
            && self.label.iter().all(|label| label.accepts(&row.labels))
            && (self.ancestor.is_empty() || self.ancestor.iter().any(|a| a.matches(row)))
            && self.before.is_none_or(|time| row.created < time)
            && self.since.is_none_or(|time| row.created > time)
    }

    /// What was asked for when the container was made, and what has become of it.
    pub(super) fn match_settings(&self, row: &ContainerRecord) -> Result<bool> {
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

    pub(super) fn match_status(&self, status: Status, exit_code: Option<i32>) -> bool {
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
    if value.contains(':') {
        // docker's words.
        return Err(filter::invalid(key, value, &format!("filter for '{key}' should not contain ':'")));
    }
    options::exposed_range(value).map_err(|e| filter::invalid(key, value, &e.to_string()))
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
