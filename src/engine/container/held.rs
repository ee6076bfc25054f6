//! A container whose files are worked on: found, settled, and kept from starting and from going.

use super::find;
use super::stored::Stored;
use crate::engine::{Engine, Error, Result};
use crate::snapshot::{self, Layers, Recipe, Snapshotter};
use crate::store::container::{ContainerRecord, Observed, Status};
use crate::store::lock::OperationLock;

/// Held until its files are done with.
#[derive(Debug)]
pub(super) struct Held {
    pub record: ContainerRecord,
    pub observed: Observed,
    /// Of one that does not run. One that runs may end and start meanwhile: its layers are read all the same.
    #[allow(dead_code, reason = "held, not read")]
    lock: Option<OperationLock>,
}

/// The container that `word` names. `verb` is for messages.
pub(super) fn hold(engine: &Engine, word: &str, verb: &'static str) -> Result<Held> {
    let (record, observed) = find::settled(engine, word, verb)?;
    if is_running(&observed) {
        return Ok(Held { record, observed, lock: None });
    }
    let lock = engine.store.operation_lock(&record.id).map_err(|e| find::missing(e, word))?;
    // Whoever held the lock before may have started it.
    let (record, observed) = find::settled(engine, record.id.as_str(), verb)?;
    let lock = (!is_running(&observed)).then_some(lock);
    Ok(Held { record, observed, lock })
}

fn is_running(observed: &Observed) -> bool {
    matches!(observed.status, Status::Running | Status::Paused)
}

impl Held {
    pub(super) fn is_running(&self) -> bool {
        is_running(&self.observed)
    }

    pub(super) fn recipe(&self) -> Result<Recipe> {
        Ok(Stored::of(&self.record)?.launch()?.recipe)
    }

    pub(super) fn snapshotter(&self) -> Result<Snapshotter> {
        Ok(Stored::of(&self.record)?.launch()?.snapshotter)
    }

    pub(super) fn layers(&self, engine: &Engine, verb: &'static str) -> Result<Layers> {
        let dir = engine.store.container_dir(&self.record.id);
        let (recipe, snapshotter) = (self.recipe()?, self.snapshotter()?);
        let layers = snapshot::layers(engine.store.layout(), &recipe, &dir, snapshotter);
        layers.map_err(|e| self.refused(verb, &e))
    }

    pub(super) fn refused(&self, verb: &'static str, error: &snapshot::Error) -> Error {
        use crate::error::Hint;
        self.cannot(verb, crate::error::chain(error), error.hint())
    }

    pub(super) fn cannot(
        &self,
        verb: &'static str,
        reason: impl Into<String>,
        hint: Option<String>,
    ) -> Error {
        Error::Conflict { verb, container: self.record.name.to_string(), reason: reason.into(), hint }
    }
}
