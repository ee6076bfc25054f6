//! `import`: a tar archive of a root file system becomes an image of one layer.

use std::path::PathBuf;

use crate::engine::{Engine, Result};

/// Where the archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    /// `-`.
    Stdin,
    File(PathBuf),
    /// `http://` or `https://`.
    Url(String),
}

/// What `import` was asked for.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    pub source: ImportSource,
    /// As typed; `None` leaves the image without a name.
    pub reference: Option<String>,
    /// Dockerfile instructions, in their order.
    pub changes: Vec<String>,
    pub message: Option<String>,
    /// `os/arch[/variant]`; the host's unless given.
    pub platform: Option<String>,
}

/// The new image's id, `sha256:…`.
pub fn import(_engine: &Engine, _request: &ImportRequest) -> Result<String> {
    todo!()
}
