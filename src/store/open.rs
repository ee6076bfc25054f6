//! Opening a store.

use std::path::Path;

use super::{Result, Store};

impl Store {
    /// Opens the store at `root`, making it when nothing is there, and collects what dead processes left in
    /// staging. Refuses a directory that holds other things, a newer schema and a damaged database, and changes
    /// nothing then.
    pub fn open(_root: &Path) -> Result<Self> {
        todo!()
    }

    /// Opens for looking only: makes, migrates, collects and records nothing. `None` where there is no store.
    pub fn open_read_only(_root: &Path) -> Result<Option<Self>> {
        todo!()
    }
}
