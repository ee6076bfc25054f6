//! `create`: a container exists and has never run.

use crate::engine::request::CreateRequest;
use crate::engine::{Engine, Result};
use crate::store::id::ContainerId;

/// A new container, and what the user should be told about it (one line each, for stderr).
#[derive(Debug)]
pub struct Created {
    pub id: ContainerId,
    pub warnings: Vec<String>,
}

/// Makes the record, the directory and the writable layer. Nothing is left behind on failure.
pub fn create(_engine: &Engine, _request: CreateRequest) -> Result<Created> {
    todo!()
}
