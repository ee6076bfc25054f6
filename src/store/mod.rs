//! Our own format on disk: paths, the database, locks, atomic writes, staging, events.
//!
//! The commit rule: write in `staging/`, sync where design says so, rename into the final name, then record. A
//! name that exists is complete. Whatever a dead process left in `staging/` the next command collects.

pub mod container;
pub mod id;
pub mod image;
