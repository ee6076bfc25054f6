//! What registries offer.

use super::Result;
use super::pull::interruptible;
use crate::registry::Client;

pub use crate::registry::Hit;

/// Repositories of `host` that match.
pub fn search(client: &Client, host: &str, term: &str, limit: usize) -> Result<Vec<Hit>> {
    Ok(interruptible(client.search(host, term, limit))??)
}
