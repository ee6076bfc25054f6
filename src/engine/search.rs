//! `search`: repositories of Docker Hub or of another registry, and tags of one repository.

use super::filter::{truth, unknown};
use super::image::resolve;
use super::{Engine, Error, Result};
use crate::image::{Client, pull, search};

pub use crate::image::search::Hit;

/// Keys that `--filter` knows.
pub const FILTERS: &[&str] = &["is-automated", "is-official", "stars"];
/// Results unless told, and at most.
const LIMIT: usize = 25;
const MAX_LIMIT: usize = 100;

/// What `search` was asked for.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// `[HOST/]WORD`.
    pub term: String,
    /// 0 is the default.
    pub limit: usize,
    /// `KEY=VALUE` pairs of `--filter`.
    pub filters: Vec<(String, String)>,
}

/// One `--filter`, understood.
type Condition = Box<dyn Fn(&Hit) -> bool>;

pub fn search(engine: &Engine, query: &SearchQuery) -> Result<Vec<Hit>> {
    if query.limit > MAX_LIMIT {
        let reason = format!("it is outside the range of [1, {MAX_LIMIT}]");
        return Err(Error::Invalid { what: "limit", value: query.limit.to_string(), reason });
    }
    let mut wanted: Vec<Condition> = Vec::new();
    for (key, value) in &query.filters {
        match key.as_str() {
            "stars" => {
                let reason = "a number is expected".to_string();
                let invalid = |_| Error::Invalid { what: "filter stars", value: value.clone(), reason };
                let stars: u64 = value.parse().map_err(invalid)?;
                wanted.push(Box::new(move |hit| hit.star_count >= stars));
            }
            "is-official" => {
                let official = truth(key, value)?;
                wanted.push(Box::new(move |hit| hit.is_official == official));
            }
            "is-automated" => {
                let automated = truth(key, value)?;
                wanted.push(Box::new(move |hit| hit.is_automated == automated));
            }
            _ => return Err(unknown(key, value, FILTERS)),
        }
    }
    // The first part is a host if a reference would take it for one.
    let (host, word) = match query.term.split_once('/') {
        Some((host, word)) if host.contains(['.', ':']) || host == "localhost" => (host, word),
        _ => ("docker.io", query.term.as_str()),
    };
    let limit = if query.limit == 0 { LIMIT } else { query.limit };
    let mut hits = search::search(&Client::new(&engine.config), host, word, limit)?;
    hits.retain(|hit| wanted.iter().all(|accepts| accepts(hit)));
    Ok(hits)
}

/// The full name of a repository, and as many of its tags as are wanted, sorted. Which ones, the registry chooses.
pub fn tags(engine: &Engine, name: &str, limit: usize) -> Result<(String, Vec<String>)> {
    let reference = resolve::reference(name)?;
    let limit = if limit == 0 { LIMIT } else { limit };
    let mut tags = pull::tags(&Client::new(&engine.config), &reference, Some(limit))?;
    // Some registries have them in no order, others in another on each page.
    tags.sort();
    tags.truncate(limit);
    Ok((reference.repository(), tags))
}
