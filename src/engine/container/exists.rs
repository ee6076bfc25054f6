//! Whether there is a container of this name.

use super::find;
use crate::engine::{Engine, Result};

/// By name, id, or the beginning of an id that no other shares.
pub fn exists(engine: &Engine, word: &str) -> Result<bool> {
    match find::find(engine, word) {
        Ok(_) => Ok(true),
        Err(e) if e.is_missing() => Ok(false),
        Err(e) => Err(e),
    }
}
