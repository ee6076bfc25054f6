//! The event log: what happened to which object, one JSON line each, docker's shape.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::container::ContainerRecord;
use super::{Layout, Result};

/// One event, as `docker events --format json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the epoch.
    pub time: i64,
    /// Nanoseconds since the epoch.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
    /// `container`, `image`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die`, …
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
}

/// The object an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event of this moment.
    pub fn new(kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) -> Self {
        let now = Timestamp::now();
        Self {
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
            kind: kind.into(),
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
        }
    }

    /// An event of a container, with the attributes docker gives it: name, image, labels.
    pub fn of_container(record: &ContainerRecord, action: &str) -> Self {
        let mut attributes = record.labels.clone();
        attributes.insert("name".into(), record.name.to_string());
        attributes.insert("image".into(), record.image.clone());
        Self::new("container", action, record.id.as_str(), attributes)
    }

    /// Adds one attribute (`exitCode`, `signal`).
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.actor.attributes.insert(key.into(), value.to_string());
        self
    }
}

impl Layout {
    /// Appends one line. The store itself appends `create`, `start`, `die` and `destroy` of containers where
    /// their rows change; everything else is appended by whoever does it.
    pub fn append_event(&self, _event: &Event) -> Result<()> {
        todo!()
    }

    /// The events from `since` to `until`, both included, oldest first.
    pub fn read_events(&self, _since: Option<Timestamp>, _until: Option<Timestamp>) -> Result<Vec<Event>> {
        todo!()
    }
}
