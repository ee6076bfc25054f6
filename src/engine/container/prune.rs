//! `container prune`: every container that does not run goes.

use crate::engine::container::rm::{self, RmOptions};
use crate::engine::filter::Prune;
use crate::engine::{Engine, Error, Result};
use crate::store::container::Status;

/// Keys that `--filter` knows.
pub const FILTERS: &[&str] = &["label", "label!", "until"];

/// What `container prune` was asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// `KEY=VALUE` pairs of `--filter`.
    pub filters: Vec<(String, String)>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Whole ids.
    pub containers: Vec<String>,
    /// Bytes on the disk.
    pub reclaimed: u64,
}

/// Refuses filters that make no sense, before anybody is asked whether to go on.
pub fn check(request: &PruneRequest) -> Result<()> {
    Prune::parse(&request.filters, FILTERS).map(|_| ())
}

pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Pruned> {
    let filter = Prune::parse(&request.filters, FILTERS)?;
    let store = &engine.store;
    let mut stopped = Vec::new();
    for row in store.container_rows()? {
        if !filter.accepts(Some(row.created), &row.labels) {
            continue;
        }
        let status = match store.observe(&row) {
            Err(crate::store::Error::NoSuchContainer(_)) => continue,
            other => other?.status,
        };
        if matches!(status, Status::Created | Status::Exited | Status::Dead) {
            stopped.push(row.id.to_string());
        }
    }
    let place = |id: &str| store.containers_dir().join(id);
    let sizes = store.measure(stopped.iter().map(|id| (id.as_str(), place(id))))?;
    let mut pruned = Pruned::default();
    for id in stopped {
        let gone = request.dry_run
            || match rm::rm(engine, &id, RmOptions { force: false }) {
                Ok(removed) => removed,
                // Somebody started it, or was faster.
                Err(Error::Conflict { .. }) => false,
                Err(e) if e.is_missing() => false,
                Err(e) => return Err(e),
            };
        if gone {
            pruned.reclaimed += sizes.get(&id).copied().unwrap_or_default();
            pruned.containers.push(id);
        }
    }
    Ok(pruned)
}
