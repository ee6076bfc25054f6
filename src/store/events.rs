//! The event log: what happened to which object, one JSON line each, docker's shape.
//!
//! `events.log` grows by whole lines at its end; at 8 MiB it becomes `events.log.1` and a new one begins. A line
//! that a dying process or a full disk cut short is skipped by readers and closed off by the next writer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::container::ContainerRecord;
use super::id::ContainerId;
use super::{Error, Layout, Result};
use crate::sys::Context;

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
        let actor = Actor { id: id.into(), attributes };
        let event = Self { time: 0, time_nano: 0, kind: kind.into(), action: action.into(), actor };
        event.at(Timestamp::now())
    }

    /// The event of another moment: what is told later than it happened.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = time.as_second();
        self.time_nano = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        self
    }

    /// An event of a container, with the attributes docker gives it: name, image, labels.
    pub fn of_container(record: &ContainerRecord, action: &str) -> Self {
        Self::about(&record.id, record.name.as_str(), &record.image, record.labels.clone(), action)
    }

    /// The same from its parts, for a shim, which has no record.
    pub fn about(
        id: &ContainerId,
        name: &str,
        image: &str,
        labels: BTreeMap<String, String>,
        action: &str,
    ) -> Self {
        let mut attributes = labels;
        attributes.insert("name".into(), name.into());
        attributes.insert("image".into(), image.into());
        Self::new("container", action, id.as_str(), attributes)
    }

    /// Adds one attribute (`exitCode`, `signal`).
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.actor.attributes.insert(key.into(), value.to_string());
        self
    }
}

/// The log is set aside when it has grown beyond this; the one set aside before goes.
const LIMIT: u64 = 8 << 20;

impl Layout {
    /// Appends a line for each event, all with one `write`. The store itself appends `create`, `die`, `rename` and
    /// `destroy` of containers where their rows change; everything else is appended by whoever does it.
    pub fn append_events(&self, events: &[Event]) -> Result<()> {
        let path = self.events();
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(&path, flags, Mode::RUSR | Mode::WUSR).op_on("open", &path)?;
        let file = File::from(fd);
        let size = file.metadata().op_on("stat", &path)?.len();
        let mut line = Vec::with_capacity(512);
        let mut last = [b'\n'];
        if size > 0 && file.read_exact_at(&mut last, size - 1).is_ok() && last != [b'\n'] {
            // Whoever wrote last was cut short: its line is lost, and must not take this one with it.
            line.push(b'\n');
        }
        for event in events {
            serde_json::to_writer(&mut line, event)
                .map_err(|e| Error::Malformed { path: path.clone(), reason: e.to_string() })?;
            line.push(b'\n');
        }
        (&file).write_all(&line).op_on("append to", &path)?;
        if size > LIMIT {
            set_aside(&file, &path)?;
        }
        Ok(())
    }

    /// [`Self::append_events`] of one.
    pub fn append_event(&self, event: &Event) -> Result<()> {
        self.append_events(std::slice::from_ref(event))
    }

    /// The events from `since` to `until`, both included, oldest first. Lines that were torn are left out.
    pub fn read_events(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Vec<Event>> {
        let nanos = |t: Timestamp| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX);
        let (since, until) = (since.map_or(i64::MIN, nanos), until.map_or(i64::MAX, nanos));
        let path = self.events();
        let mut events = Vec::new();
        for path in [aside(&path), path] {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match fs::open(&path, flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                other => File::from(other.op_on("open", &path)?),
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line.op_on("read", &path)?;
                if let Ok(event) = serde_json::from_slice::<Event>(&line)
                    && (since..=until).contains(&event.time_nano)
                {
                    events.push(event);
                }
            }
        }
        // Writers on two processors may pass each other between the clock and the file.
        events.sort_by_key(|e| e.time_nano);
        Ok(events)
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Renames the full log away, unless somebody else just did.
fn set_aside(file: &File, path: &Path) -> Result<()> {
    fs::flock(file, FlockOperation::LockExclusive).op_on("lock", path)?;
    let (held, there) = (fs::fstat(file).op_on("stat", path)?, fs::lstat(path).op_on("stat", path)?);
    if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) {
        fs::rename(path, aside(path)).op_on("rename", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str) -> Event {
        Event::new("container", action, "abc", BTreeMap::new())
    }

    fn actions(layout: &Layout) -> Vec<String> {
        layout.read_events(None, None).unwrap().into_iter().map(|e| e.action).collect()
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.append_event(&event("create")).unwrap();
        layout.append_event(&event("torn")).unwrap();
        let size = std::fs::metadata(layout.events()).unwrap().len();
        File::options().write(true).open(layout.events()).unwrap().set_len(size - 7).unwrap();
        layout.append_event(&event("die")).unwrap();
        assert_eq!(actions(&layout), ["create", "die"]);
    }

    #[test]
    fn since_and_until_are_included() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for nanos in [10, 20, 30] {
            layout.append_event(&Event { time_nano: nanos, ..event("start") }).unwrap();
        }
        let at = |n| Some(Timestamp::from_nanosecond(n).unwrap());
        let times = |since, until| -> Vec<i64> {
            layout.read_events(since, until).unwrap().into_iter().map(|e| e.time_nano).collect()
        };
        assert_eq!(times(at(20), None), [20, 30]);
        assert_eq!(times(None, at(20)), [10, 20]);
        assert_eq!(times(at(11), at(19)), [0i64; 0]);
    }

    #[test]
    fn a_full_log_is_set_aside_and_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.append_event(&event("first")).unwrap();
        let file = File::options().append(true).open(layout.events()).unwrap();
        (&file).write_all(&vec![b'\n'; usize::try_from(LIMIT).unwrap()]).unwrap();
        layout.append_event(&event("second")).unwrap();
        layout.append_event(&event("third")).unwrap();
        assert!(std::fs::metadata(layout.events()).unwrap().len() < 1000);
        assert_eq!(actions(&layout), ["first", "second", "third"]);
    }

    #[test]
    fn lines_of_many_writers_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| (0..100).for_each(|_| layout.append_event(&event("start")).unwrap()));
            }
        });
        assert_eq!(actions(&layout).len(), 800);
    }

    #[test]
    fn the_line_has_dockers_shape() {
        let line = serde_json::to_value(event("die").with("exitCode", 3)).unwrap();
        assert_eq!(line["Type"], "container");
        assert_eq!(line["Action"], "die");
        assert_eq!(line["Actor"]["ID"], "abc");
        assert_eq!(line["Actor"]["Attributes"]["exitCode"], "3");
        assert_eq!(line["time"], line["timeNano"].as_i64().unwrap() / 1_000_000_000);
    }
}
