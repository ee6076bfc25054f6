//! `run`: create, start, and stay attached until the end, unless detached.

use super::attach::{Attach, Ending};
use super::create::Draft;
use super::rm::{self, RmOptions};
use super::start;
use crate::engine::request::CreateRequest;
use crate::engine::{Engine, Error, Result};
use crate::store::container::Phase;
use crate::store::id::ContainerId;

/// How `run` behaves around the container.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// `None` is `-d`.
    pub attach: Option<Attach>,
}

/// Creates and starts. `created` is called when the container exists and before it starts (`--cidfile` and
/// warnings), and once more when there are warnings about the start; an error of its first call cancels the run
/// and removes the container.
pub fn run(
    engine: &Engine,
    request: CreateRequest,
    options: RunOptions,
    created: &mut dyn FnMut(&ContainerId, &[String]) -> std::io::Result<()>,
) -> Result<(ContainerId, Ending)> {
    let draft = Draft::new(engine, request)?;
    let record = draft.commit(engine, Phase::Created)?;
    if let Err(e) = created(&record.id, &draft.warnings) {
        rm::rm(engine, record.id.as_str(), RmOptions { force: true })?;
        return Err(Error::Invalid { what: "cidfile", value: String::new(), reason: e.to_string() });
    }
    let attach = options.attach.as_ref();
    let launched = start::launch(engine, &record, attach);
    let Some(started) = launched.inspect_err(|e| start::forget(engine, &record, e))? else {
        return Ok((record.id, Ending::Detached));
    };
    if !started.warnings.is_empty() {
        // The container runs: a closed stderr is no reason to end it.
        let _ = created(&record.id, &started.warnings);
    }
    let ending = started.follow(engine, &record, attach)?;
    Ok((record.id, ending))
}
