//! `system`: the store itself.

use super::{Engine, Result};
pub use crate::store::check::{CheckOptions, Finding};

/// Verifies the store and lists what is wrong; an empty list is a healthy store. Changes nothing.
pub fn check(engine: &Engine, options: CheckOptions) -> Result<Vec<Finding>> {
    Ok(engine.store.check(options)?)
}
