//! `start`: a created or exited container runs (again).

use super::attach::{Attach, Ending};
use crate::engine::{Engine, Result};

/// Starting a running container succeeds and does nothing, as with docker.
pub fn start(_engine: &Engine, _container: &str, _attach: Option<&Attach>) -> Result<Ending> {
    todo!()
}
