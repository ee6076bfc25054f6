//! `images`: what is here, one row for each name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::engine::{Engine, Result};

/// What `images` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ImagesQuery {
    /// `REPOSITORY[:TAG]`, as typed; `*` is a wildcard.
    pub reference: Option<String>,
    /// `KEY=VALUE` pairs of `--filter`: dangling, label, reference, before, since.
    pub filters: Vec<(String, String)>,
}

/// One row: an image under one of its names, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…`.
    pub id: String,
    /// Familiar (`alpine`); `None` is docker's `<none>`.
    pub repository: Option<String>,
    pub tag: Option<String>,
    /// The manifest's digest.
    pub digest: String,
    pub created: Option<Timestamp>,
    /// Bytes, unpacked.
    pub size: u64,
    pub labels: BTreeMap<String, String>,
}

pub fn images(_engine: &Engine, _query: &ImagesQuery) -> Result<Vec<ImageRow>> {
    todo!()
}
