//! `load`: the images of an archive (OCI layout or docker's) come into the store.

use std::path::PathBuf;

use crate::engine::{Engine, Result};

/// What `load` was asked for.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// `None` reads stdin.
    pub input: Option<PathBuf>,
    /// `os/arch[/variant]`: which manifest of a multi-platform image; the host's unless given.
    pub platform: Option<String>,
}

/// One line of `load`'s output. Displayed as docker words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// A familiar reference.
    Image(String),
    /// `sha256:…` of an image without a name.
    Id(String),
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(reference) => write!(f, "Loaded image: {reference}"),
            Self::Id(id) => write!(f, "Loaded image ID: {id}"),
        }
    }
}

pub fn load(_engine: &Engine, _request: &LoadRequest) -> Result<Vec<Loaded>> {
    todo!()
}
