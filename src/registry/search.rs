//! `search`: the one question of the old index protocol that Docker Hub and some registries still answer.

use reqwest::Method;
use serde::Deserialize;

use super::client::{Client, refusal};
use super::http::{self, Request};
use super::{Error, Result};
use crate::oci;

/// docker.io answers this question elsewhere.
const DOCKER_IO: &str = "index.docker.io";

/// One repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Hit {
    #[serde(default)]
    pub name: String,
    #[serde(default, deserialize_with = "nothing_is_empty")]
    pub description: String,
    #[serde(default)]
    pub star_count: u64,
    #[serde(default)]
    pub is_official: bool,
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Hits {
    #[serde(default)]
    results: Vec<Hit>,
}

fn nothing_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Client {
    /// Repositories of `host` that match `term`, at most `limit`, the best first as the host has it. Asked without
    /// credentials: what is public is searched.
    pub async fn search(&self, host: &str, term: &str, limit: usize) -> Result<Vec<Hit>> {
        let base = self.base(if host == "docker.io" { DOCKER_IO } else { host })?;
        let mut url =
            base.join("v1/search").map_err(|e| Error::Url { url: host.into(), reason: e.to_string() })?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let response = self.http.send(Request::new(Method::GET, url)).await?;
        if !response.status().is_success() {
            return Err(refusal(response, host, &format!("a search for {term}"), false).await);
        }
        let bytes = http::body(response, oci::MAX_DOCUMENT).await?;
        let mut hits: Hits = serde_json::from_slice(&bytes)
            .map_err(|e| oci::Error::Malformed { what: "answer to a search", reason: e.to_string() })?;
        hits.results.truncate(limit);
        Ok(hits.results)
    }
}
