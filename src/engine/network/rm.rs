//! `network rm`.

use super::{find, members};
use crate::engine::{Engine, Error, Result};

/// Removes one network that nobody runs in. `false`: there is none, and `force` makes that no error.
pub fn rm(engine: &Engine, word: &str, force: bool) -> Result<bool> {
    let found = match find(engine, word) {
        Err(e) if e.is_missing() && force => return Ok(false),
        other => other?,
    };
    let record = match found.record {
        Some(record) if !found.builtin => record,
        _ => {
            return Err(Error::Network(format!(
                "{} is a pre-defined network and cannot be removed",
                found.name
            )));
        }
    };
    let endpoints = members(engine, &record)?;
    if !endpoints.is_empty() {
        let list: Vec<String> = endpoints
            .iter()
            .map(|(row, _)| format!("name:\"{}\" id:\"{}\"", row.name, row.id.short()))
            .collect();
        return Err(Error::Network(format!(
            "error while removing network: network {} has active endpoints ({})",
            record.name,
            list.join(", ")
        )));
    }
    if engine.store.remove_network(&record.id)? || force {
        Ok(true)
    } else {
        Err(crate::store::Error::NoSuchNetwork(word.into()).into())
    }
}
