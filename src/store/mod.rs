//! Our own format on disk: paths, the database, locks, atomic writes, staging, events.
//!
//! The commit rule: write in `staging/`, sync where design says so, rename into the final name, then record. A
//! name that exists is complete. Whatever a dead process left in `staging/` the next command collects.

pub mod container;
pub mod id;
pub mod image;
pub mod userns;

use std::path::{Path, PathBuf};

use crate::error::Hint;

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    pub fn root(&self) -> &Path {
        &self.root
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sys(#[from] crate::sys::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        None
    }
}
