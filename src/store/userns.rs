//! The one user namespace that all of a user's containers and storage jobs share.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Result, Store};
use crate::sys::userns::IdMap;

/// The map that the namespace has, or would have.
pub fn id_map(_store: &Store) -> Result<IdMap> {
    todo!()
}

/// Runs `job` in a forked child that is root of the user namespace, and hands its result back. The calling
/// process must have one thread. The job's error is shown to the user as it is.
pub fn run_inside<T: Serialize + DeserializeOwned>(
    _store: &Store,
    _job: impl FnOnce() -> std::result::Result<T, String>,
) -> Result<T> {
    todo!()
}
