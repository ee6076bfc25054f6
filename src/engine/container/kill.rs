//! `kill`: a signal to the container's first process.

use crate::engine::{Engine, Result};

/// `signal` as typed: `KILL`, `SIGKILL`, `9`.
pub fn kill(_engine: &Engine, _container: &str, _signal: &str) -> Result<()> {
    todo!()
}
