//! `network ls`.

use super::{Shown, all, members};
use crate::engine::filter::{Label, invalid, truth, unknown};
use crate::engine::{Engine, Result};

/// Keys that `--filter` knows.
const FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// The networks that every one of `filters` accepts: of several for one key one must, as with docker. By name.
pub fn list(engine: &Engine, filters: &[(String, String)]) -> Result<Vec<Shown>> {
    for (key, value) in filters {
        match key.as_str() {
            key if !FILTERS.contains(&key) => return Err(unknown(key, value, FILTERS)),
            "dangling" => drop(truth(key, value)?),
            "type" if value != "custom" && value != "builtin" => {
                return Err(invalid(key, value, "custom or builtin is expected"));
            }
            _ => {}
        }
    }
    let mut kept = Vec::new();
    for network in all(engine)? {
        if accepted(engine, &network, filters)? {
            kept.push(network);
        }
    }
    Ok(kept)
}

fn accepted(engine: &Engine, network: &Shown, filters: &[(String, String)]) -> Result<bool> {
    for key in FILTERS {
        let mut values = filters.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str()).peekable();
        if values.peek().is_none() {
            continue;
        }
        let mut found = false;
        for value in values {
            let holds = match *key {
                "dangling" => is_dangling(engine, network)? == truth(key, value)?,
                "driver" => network.driver == value,
                "id" => network.id.starts_with(value),
                "label" => Label::parse(value, true).accepts(&network.labels),
                "name" => network.name.contains(value),
                "scope" => value == "local",
                _ => network.builtin == (value == "builtin"),
            };
            // Labels must all be there.
            found = if *key == "label" { holds } else { found || holds };
            if *key == "label" && !holds {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of no use to any container, and made by the user.
fn is_dangling(engine: &Engine, network: &Shown) -> Result<bool> {
    match &network.record {
        Some(record) if !network.builtin => Ok(members(engine, record)?.is_empty()),
        _ => Ok(false),
    }
}
