//! From a word on the command line to a container and what it is doing.

use std::time::{Duration, Instant};

use crate::engine::{Engine, Error, Result};
use crate::store;
use crate::store::container::{ContainerRecord, Observed, Status};

/// How long a start may take among those who want to act on what it starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// The container that `word` names (name, id, or unique beginning of an id), and its state.
pub(in crate::engine) fn find(engine: &Engine, word: &str) -> Result<(ContainerRecord, Observed)> {
    let record = engine.store.find_container(word).map_err(|e| missing(e, word))?;
    let observed = engine.store.observe(&record).map_err(|e| missing(e, word))?;
    Ok((record, observed))
}

/// As [`find`], but a start that is under way has come to its result: what is done to a container while it starts
/// is done to what it becomes. `verb` is for the message when the start takes for ever.
pub(in crate::engine) fn settled(
    engine: &Engine,
    word: &str,
    verb: &'static str,
) -> Result<(ContainerRecord, Observed)> {
    let (mut record, mut observed) = find(engine, word)?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(500);
    while observed.starting {
        if Instant::now() > deadline {
            return Err(Error::Conflict {
                verb,
                container: record.name.to_string(),
                reason: format!("it has been starting for {} s", PATIENCE.as_secs()),
                hint: Some(
                    "look for what holds the start up: a mount that does not answer, a full disk".into(),
                ),
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
        (record, observed) = match find(engine, record.id.as_str()) {
            Err(Error::NoSuchContainer(_)) => return Err(Error::NoSuchContainer(word.into())),
            other => other?,
        };
    }
    Ok((record, observed))
}

/// As [`settled`], for verbs that need it running.
pub(in crate::engine) fn running(
    engine: &Engine,
    word: &str,
    verb: &'static str,
) -> Result<(ContainerRecord, Observed)> {
    let (record, observed) = settled(engine, word, verb)?;
    match observed.status {
        Status::Running | Status::Paused => Ok((record, observed)),
        _ => Err(not_running(&record, verb)),
    }
}

pub(in crate::engine) fn not_running(record: &ContainerRecord, verb: &'static str) -> Error {
    Error::Conflict {
        verb,
        container: record.name.to_string(),
        reason: format!("container {} is not running", record.id),
        hint: None,
    }
}

/// The word in the place of an id that the user has not typed.
pub(super) fn missing(error: store::Error, word: &str) -> Error {
    match error {
        store::Error::NoSuchContainer(_) => Error::NoSuchContainer(word.into()),
        other => other.into(),
    }
}
