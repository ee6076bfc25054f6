//! Whether the store is what it should be.

use std::path::PathBuf;

use super::{Result, Store};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// One sentence, lower case, no full stop.
    pub text: String,
}

/// How deep to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every blob again and compare its digest.
    pub blobs: bool,
}

impl Store {
    /// Compares rows with directories both ways, looks at modes, marker, database, staging. Changes nothing.
    pub fn check(&self, _options: CheckOptions) -> Result<Vec<Finding>> {
        todo!()
    }
}
