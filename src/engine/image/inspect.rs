//! `image inspect`: everything that is known of an image, in docker's shape.

use crate::engine::{Engine, Result};

/// One element of the list that `docker image inspect` prints.
pub fn inspect(_engine: &Engine, _image: &str) -> Result<serde_json::Value> {
    todo!()
}
