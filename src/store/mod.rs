//! Our own format on disk: paths, the database, locks, atomic writes, staging, events.
//!
//! The commit rule: write in `staging/`, sync where design says so, rename into the final name, then record. A
//! name that exists is complete. Whatever a dead process left in `staging/` the next command collects, but for
//! transfers that can go on ([`partial`]).
//!
//! [`Layout`] is the part that needs no database (paths, locks, state files, events): all that a shim uses for
//! most of its life. [`Store`] is a layout plus the open database.

pub mod atomic;
pub mod check;
pub mod container;
pub mod content;
mod crash;
mod error;
pub mod events;
mod holders;
pub mod id;
pub mod image;
mod layout;
mod list;
pub mod lock;
mod marker;
pub mod names;
pub mod network;
mod open;
pub mod partial;
pub mod produced;
mod reserve;
mod schema;
pub mod staging;
#[cfg(test)]
mod tests;
mod turn;
pub mod usage;
pub mod userns;

use std::ops::Deref;

pub use error::{Error, Result};
pub use layout::Layout;

/// An open store. What needs no database is reached through [`Layout`], to which it dereferences.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    db: rusqlite::Connection,
    read_only: bool,
}

impl Store {
    /// What this store is known by for ever: 32 hex digits.
    pub fn id(&self) -> Result<String> {
        self.sql("read the store's id", schema::store_id(&self.db))
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl Deref for Store {
    type Target = Layout;
    fn deref(&self) -> &Layout {
        &self.layout
    }
}
