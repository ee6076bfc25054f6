//! `stop` and `restart`: the stop signal, patience, then SIGKILL.

use crate::engine::{Engine, Result};

/// `None` means the container's own setting.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds; negative waits for ever.
    pub timeout: Option<i64>,
    pub signal: Option<String>,
}

/// Stopping a container that does not run succeeds and does nothing.
pub fn stop(_engine: &Engine, _container: &str, _options: &StopOptions) -> Result<()> {
    todo!()
}

pub fn restart(_engine: &Engine, _container: &str, _options: &StopOptions) -> Result<()> {
    todo!()
}
