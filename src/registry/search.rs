//! `search`: the one question of the old index protocol that Docker Hub and some registries still answer, and the
//! catalog of those that do not.

use reqwest::{Method, Response};
use serde::Deserialize;

use super::address::Address;
use super::auth::Auth;
use super::client::{Client, answered, refusal};
use super::http::{self, Request};
use super::{Error, Result, pages};
use crate::oci;

/// docker.io answers this question elsewhere.
const DOCKER_IO: (&str, &str) = ("docker.io", "index.docker.io");
/// What a token for the catalog is for.
const CATALOG: &str = "registry:catalog:*";

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

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Client {
    /// Repositories of `host` that match `term`, at most `limit`, the best first as the host has it. A registry that
    /// does not search is asked for its catalog, whose names are compared here.
    pub async fn search(&self, host: &str, term: &str, limit: usize) -> Result<Vec<Hit>> {
        let auth = Auth::new(host, "");
        let address = self.address(if host == DOCKER_IO.0 { DOCKER_IO.1 } else { host })?;
        match self.index(host, &address, &auth, term, limit).await {
            Err(Error::NotFound { .. }) if host != DOCKER_IO.0 => {
                self.catalog(host, &address, &auth, term, limit).await
            }
            other => other,
        }
    }

    /// With name and password where there are some, as docker does it: private repositories are found by those who have
    /// access to them.
    async fn index(
        &self,
        host: &str,
        address: &Address,
        auth: &Auth,
        term: &str,
        limit: usize,
    ) -> Result<Vec<Hit>> {
        let unasked = auth.unasked(&self.http)?;
        if unasked.is_some() && address.is_open() {
            // Before anything that is secret is sent, it is known which scheme the registry speaks.
            self.at(address, async || {
                let response = self.http.send(Request::new(Method::GET, address.join("v2/")?)).await?;
                answered(response, host).await.map(|_| ())
            })
            .await?;
        }
        let ask = async || {
            let mut url = address.join("v1/search")?;
            url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
            let mut request = Request::new(Method::GET, url);
            request.authorization.clone_from(&unasked);
            let response = match &request.authorization {
                Some(_) => self.http.send(request).await?,
                None => self.authorised(auth, request, CATALOG).await?,
            };
            answered(response, host).await
        };
        let response = self.at(address, ask).await?;
        let response = self.found(response, host, auth, term).await?;
        let bytes = http::body(response, oci::MAX_DOCUMENT).await?;
        let mut hits: Hits = serde_json::from_slice(&bytes)
            .map_err(|e| oci::Error::Malformed { what: "answer to a search", reason: e.to_string() })?;
        hits.results.truncate(limit);
        Ok(hits.results)
    }

    async fn catalog(
        &self,
        host: &str,
        address: &Address,
        auth: &Auth,
        term: &str,
        limit: usize,
    ) -> Result<Vec<Hit>> {
        let mut url = address.join("v2/_catalog")?;
        url.query_pairs_mut().append_pair("n", &pages::SIZE.to_string());
        let ask = async |url| {
            let response = self.authorised(auth, Request::new(Method::GET, url), CATALOG).await?;
            self.found(response, host, auth, term).await
        };
        let mut hits = Vec::new();
        pages::read(url, ask, "catalog", |page: Catalog| {
            let names = page.repositories.unwrap_or_default().into_iter().filter(|name| name.contains(term));
            hits.extend(names.take(limit - hits.len()).map(|name| Hit { name, ..Hit::default() }));
            Ok(hits.len() == limit)
        })
        .await?;
        Ok(hits)
    }

    async fn found(&self, response: Response, host: &str, auth: &Auth, term: &str) -> Result<Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response, host, &format!("a search for {term}"), auth.has_credential()).await)
    }
}
