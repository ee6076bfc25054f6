//! `rm`: the container, its writable layer and its record are gone.

use crate::engine::{Engine, Result};

#[derive(Debug, Clone, Copy, Default)]
pub struct RmOptions {
    /// A running container is killed first; one that does not exist is no error.
    pub force: bool,
}

pub fn rm(_engine: &Engine, _container: &str, _options: RmOptions) -> Result<()> {
    todo!()
}
