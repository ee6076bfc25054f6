//! `save`: images into one archive that docker, podman and skopeo read.

use std::path::PathBuf;

use crate::engine::{Engine, Result};

/// The layout of the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// docker's since version 25: an OCI layout that also carries `manifest.json`.
    #[default]
    DockerArchive,
    /// An OCI layout and nothing else.
    OciArchive,
}

/// What `save` was asked for.
#[derive(Debug, Clone, Default)]
pub struct SaveRequest {
    /// As typed, at least one.
    pub images: Vec<String>,
    /// `None` writes to stdout, which must not be a terminal.
    pub output: Option<PathBuf>,
    pub format: ArchiveFormat,
}

pub fn save(_engine: &Engine, _request: &SaveRequest) -> Result<()> {
    todo!()
}
