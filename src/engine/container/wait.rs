//! `wait`: block until a container has ended.

use crate::engine::{Engine, Result};

/// The exit code; of one that is not running, that of its last end.
pub fn wait(_engine: &Engine, _container: &str) -> Result<i32> {
    todo!()
}
