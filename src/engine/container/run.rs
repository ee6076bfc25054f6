//! `run`: create, start, and stay attached until the end, unless detached.

use super::attach::{Attach, Ending};
use crate::engine::request::CreateRequest;
use crate::engine::{Engine, Result};
use crate::store::id::ContainerId;

/// How `run` behaves around the container.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// `None` is `-d`.
    pub attach: Option<Attach>,
}

/// Creates and starts. `created` is called once, when the container exists and before it starts (`--cidfile`
/// and warnings); an error of its own cancels the run and removes the container.
pub fn run(
    _engine: &Engine,
    _request: CreateRequest,
    _options: RunOptions,
    _created: &mut dyn FnMut(&ContainerId, &[String]) -> std::io::Result<()>,
) -> Result<Ending> {
    todo!()
}
