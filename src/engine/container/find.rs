//! From a word on the command line to a container and what it is doing.

use crate::engine::{Engine, Error, Result};
use crate::store::container::{ContainerRecord, Observed, Status};
use crate::store::{self};

/// The container that `word` names (name, id, or unique beginning of an id), and its state.
pub(super) fn find(engine: &Engine, word: &str) -> Result<(ContainerRecord, Observed)> {
    let record = engine.store.find_container(word).map_err(|e| missing(e, word))?;
    let observed = engine.store.observe(&record).map_err(|e| missing(e, word))?;
    Ok((record, observed))
}

/// As [`find`], for verbs that need it running.
pub(in crate::engine) fn running(
    engine: &Engine,
    word: &str,
    verb: &'static str,
) -> Result<(ContainerRecord, Observed)> {
    let (record, observed) = find(engine, word)?;
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

fn missing(error: store::Error, word: &str) -> Error {
    match error {
        store::Error::NoSuchContainer(_) => Error::NoSuchContainer(word.into()),
        other => other.into(),
    }
}
