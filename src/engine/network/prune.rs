//! `network prune`: every network of the user's that nobody runs in goes.

use super::members;
use crate::engine::filter::Prune;
use crate::engine::{Engine, Result};

/// Keys that `--filter` knows.
const FILTERS: &[&str] = &["label", "label!", "until"];

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// `KEY=VALUE` pairs of `--filter`.
    pub filters: Vec<(String, String)>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Refuses filters that make no sense, before anybody is asked whether to go on.
pub fn check(request: &PruneRequest) -> Result<()> {
    Prune::parse(&request.filters, FILTERS).map(|_| ())
}

/// Names of what went, or would go.
pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Vec<String>> {
    let filter = Prune::parse(&request.filters, FILTERS)?;
    let mut gone = Vec::new();
    for network in engine.store.networks()? {
        let unused = !network.is_builtin() && members(engine, &network)?.is_empty();
        if unused
            && filter.accepts(Some(network.created), &network.labels)
            && (request.dry_run || engine.store.remove_network(&network.id)?)
        {
            gone.push(network.name);
        }
    }
    Ok(gone)
}
