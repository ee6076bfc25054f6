//! `run`: create, start, and stay attached until the end, unless detached.

use super::attach::{Attach, Ending};
use super::create::{self, Draft};
use super::rm::{self, RmOptions};
use super::start::{self, Handover};
use crate::config::Config;
use crate::engine::request::CreateRequest;
use crate::engine::{Engine, Error, Result};
use crate::shim;
pub use crate::shim::Guess;
use crate::store::container::Phase;
use crate::store::id::ContainerId;
use crate::store::lock::LifeLock;
use crate::store::{Layout, Store};

/// A container that will be, and the shim that is getting ready for it.
#[derive(Debug)]
pub struct Expected {
    id: ContainerId,
    /// `None` in a store that is yet to be made.
    ahead: Option<(Layout, shim::Waiting)>,
}

impl Expected {
    /// To be called as soon as it is clear that a container is wanted: becoming a shim takes as long as opening the
    /// store and making the container do, and a machine has two processors. `guess`: what its network is by all
    /// appearances.
    pub fn soon(config: &Config, guess: shim::Guess) -> Result<Self> {
        let id = create::new_id()?;
        let layout = Store::locate(&config.store)?;
        let ahead = match layout {
            Some(layout) => shim::spawn(&layout, &id, guess).map(|waiting| Some((layout, waiting)))?,
            None => None,
        };
        Ok(Self { id, ahead })
    }

    /// Where the store was found.
    pub fn layout(&self) -> Option<&Layout> {
        self.ahead.as_ref().map(|(layout, _)| layout)
    }
}

/// How `run` behaves around the container.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// `None` is `-d`.
    pub attach: Option<Attach>,
}

/// Creates and starts. `created` is called when the container exists and before it starts
/// (`--cidfile` and warnings), and once more when there are warnings about the start; an error of its first call
/// cancels the run and removes the container.
pub fn run(
    shim: Expected,
    engine: &Engine,
    request: CreateRequest,
    options: RunOptions,
    created: &mut dyn FnMut(&ContainerId, &[String]) -> std::io::Result<()>,
) -> Result<(ContainerId, Ending)> {
    let Expected { id, ahead } = shim;
    let waiting = match ahead {
        Some((_, waiting)) => waiting,
        None => start::spawn(engine.store.layout(), &id, &request)?,
    };
    let draft = Draft::new(engine, id, request)?;
    let (record, life) = draft.commit(engine, Phase::Launched, LifeLock::of_new)?;
    if let Err(e) = created(&record.id, &draft.warnings) {
        drop(life);
        rm::rm(engine, record.id.as_str(), RmOptions { force: true })?;
        return Err(Error::Invalid { what: "cidfile", value: String::new(), reason: e.to_string() });
    }
    let attach = options.attach.as_ref();
    let handover = Handover { waiting, life };
    let launched = start::launch_new(engine, &record, &draft.request, handover, attach, draft.addresses);
    let started = launched.inspect_err(|e| start::forget(engine, &record, e))?;
    if !started.warnings.is_empty() {
        // The container runs: a closed stderr is no reason to end it.
        let _ = created(&record.id, &started.warnings);
    }
    let ending = started.follow(engine, &record, attach)?;
    Ok((record.id, ending))
}
