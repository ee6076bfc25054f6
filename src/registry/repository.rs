//! One repository of one registry: its manifests and tags, asked of mirrors first.

use std::cell::Cell;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use super::address::Address;
use super::auth::Auth;
use super::client::{Client, pause_before_next, refusal};
use super::http::{self, Request};
use super::{Error, Result, pages, runtime};
use crate::oci::{self, Digest, Reference, media_type};

/// The types of documents that are asked for.
pub(super) const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Tags of one repository.
const MAX_TAGS: usize = 100_000;

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Tag(String),
    Digest(Digest),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A document, verified: `bytes` have `digest`.
#[derive(Debug, Clone)]
pub struct Found {
    pub digest: Digest,
    /// As the registry states it; `None` when it states nothing of use.
    pub media_type: Option<String>,
    pub bytes: Vec<u8>,
}

/// One place where the repository may be.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: Address,
    pub(super) auth: Auth,
    path: String,
}

impl Endpoint {
    pub(super) fn new(address: Address, auth: Auth, path: &str) -> Self {
        Self { address, auth, path: path.into() }
    }

    pub(super) fn host(&self) -> String {
        http::authority(&self.address.base())
    }

    pub(super) fn is_origin_of(&self, url: &Url) -> bool {
        http::origin(&self.address.base()) == http::origin(url)
    }

    /// `/v2/PATH/…`.
    pub(super) fn url(&self, rest: &str) -> Result<Url> {
        self.address.join(&format!("v2/{}/{rest}", self.path))
    }
}

/// A repository. What it gives is verified by digest; what was asked for by tag has whatever digest it has.
#[derive(Debug)]
pub struct Repository<'a> {
    pub(super) client: &'a Client,
    reference: Reference,
    /// Mirrors, then the registry itself.
    endpoints: Vec<Endpoint>,
    /// The endpoint that answered last: it is asked first.
    preferred: Cell<usize>,
}

impl<'a> Repository<'a> {
    pub(super) fn new(client: &'a Client, reference: &Reference, endpoints: Vec<Endpoint>) -> Self {
        Self { client, reference: reference.clone(), endpoints, preferred: Cell::new(0) }
    }

    /// The scope of a token for reading.
    pub(super) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.reference.path())
    }

    /// The scope of a token for writing.
    pub(super) fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.reference.path())
    }

    pub(super) fn named_repository(&self) -> String {
        self.reference.familiar_repository()
    }

    /// Asks the registry itself, not a mirror. Trouble on the way is given time to pass.
    pub(super) async fn upstream<T>(&self, ask: impl AsyncFn(&Endpoint) -> Result<T>) -> Result<T> {
        let registry = self.registry();
        patiently(async || self.client.at(&registry.address, async || ask(registry).await).await).await
    }

    /// The digest that the registry has for `target` at this moment. `None`: it does not say.
    pub async fn resolve(&self, target: &Target) -> Result<Option<Digest>> {
        self.anywhere(async |endpoint| {
            let url = endpoint.url(&format!("manifests/{target}"))?;
            let response = self.ask(endpoint, Method::HEAD, url, &[(ACCEPT, DOCUMENTS)]).await?;
            let response = self.success(endpoint, response, || self.named(target)).await?;
            Ok(header(&response, &CONTENT_DIGEST).and_then(|d| d.parse().ok()))
        })
        .await
    }

    /// The manifest or index of `target`.
    pub async fn manifest(&self, target: &Target) -> Result<Found> {
        self.anywhere(async |endpoint| {
            let url = endpoint.url(&format!("manifests/{target}"))?;
            let response = self.ask(endpoint, Method::GET, url, &[(ACCEPT, DOCUMENTS)]).await?;
            let response = self.success(endpoint, response, || self.named(target)).await?;
            let stated = header(&response, &CONTENT_DIGEST).and_then(|d| d.parse::<Digest>().ok());
            let media_type = header(&response, &CONTENT_TYPE).and_then(|t| document_type(&t));
            let bytes = http::body(response, oci::MAX_DOCUMENT).await?;
            let found = Digest::of(&bytes);
            let expected = match target {
                Target::Digest(digest) => Some(digest.clone()),
                Target::Tag(_) => stated,
            };
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(Error::Digest { what: "the manifest", host: endpoint.host(), expected, found });
            }
            Ok(Found { digest: found, media_type, bytes })
        })
        .await
    }

    /// Tags in the registry's order: all of them, or `enough`, or what is on the page that brings so many.
    pub async fn tags(&self, enough: Option<usize>) -> Result<Vec<String>> {
        self.anywhere(async |endpoint| {
            let mut url = endpoint.url("tags/list")?;
            if let Some(enough) = enough {
                url.query_pairs_mut().append_pair("n", &enough.min(pages::SIZE).to_string());
            }
            let ask = async |url| {
                let response = self.ask(endpoint, Method::GET, url, &[]).await?;
                self.success(endpoint, response, || self.reference.repository()).await
            };
            let mut tags = Vec::new();
            pages::read(url, ask, "list of tags", |page: Tags| {
                tags.extend(page.tags.unwrap_or_default());
                if tags.len() > MAX_TAGS {
                    let (count, limit) = (tags.len(), MAX_TAGS);
                    return Err(oci::Error::TooMany { what: "repository", of: "tags", count, limit }.into());
                }
                Ok(enough.is_some_and(|enough| tags.len() >= enough))
            })
            .await?;
            Ok(tags)
        })
        .await
    }

    /// Not a mirror.
    pub(super) fn registry(&self) -> &Endpoint {
        self.endpoints.last().expect("the registry itself is always there")
    }

    fn named(&self, target: &Target) -> String {
        let separator = if matches!(target, Target::Tag(_)) { ':' } else { '@' };
        format!("manifest for {}{separator}{target}", self.reference.familiar_repository())
    }

    /// Asks the endpoints one after the other until one has an answer. Trouble on the way is given time to pass.
    pub(super) async fn anywhere<T>(&self, ask: impl AsyncFn(&Endpoint) -> Result<T>) -> Result<T> {
        let once =
            async |endpoint: &Endpoint| self.client.at(&endpoint.address, async || ask(endpoint).await).await;
        self.somewhere(async |endpoint| patiently(async || once(endpoint).await).await).await
    }

    /// The same, with one attempt at each.
    pub(super) async fn somewhere<T>(&self, mut ask: impl AsyncFnMut(&Endpoint) -> Result<T>) -> Result<T> {
        let first = self.preferred.get();
        let order = (first..self.endpoints.len()).chain(0..first);
        let mut last = None;
        for at in order {
            let endpoint = &self.endpoints[at];
            match self.client.at(&endpoint.address, async || ask(endpoint).await).await {
                Ok(value) => {
                    self.preferred.set(at);
                    return Ok(value);
                }
                Err(e) if !e.is_of_endpoint() => return Err(e),
                Err(error) => {
                    tracing::debug!(host = %endpoint.host(), %error, "no answer");
                    // What the registry itself says is the better explanation.
                    if last.is_none() || at + 1 == self.endpoints.len() {
                        last = Some(error);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Url {
            url: self.reference.to_string(),
            reason: "no endpoint is configured".into(),
        }))
    }

    /// One request for reading, with whatever the endpoint wants to know about us.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        method: Method,
        url: Url,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response> {
        let mut request = Request::new(method, url);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                request.headers.append(name, value);
            }
        }
        self.authorised(endpoint, request, &self.pull_scope()).await
    }

    pub(super) async fn authorised(
        &self,
        endpoint: &Endpoint,
        request: Request,
        scope: &str,
    ) -> Result<Response> {
        self.client.authorised(&endpoint.auth, request, scope).await
    }

    pub(super) async fn success(
        &self,
        endpoint: &Endpoint,
        response: Response,
        what: impl FnOnce() -> String,
    ) -> Result<Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        let logged_in = endpoint.auth.has_credential();
        let own = http::authority(response.url()) == endpoint.host();
        let host = if own { self.host_of(endpoint) } else { http::authority(response.url()) };
        Err(refusal(response, &host, &what(), logged_in).await)
    }

    /// What the user calls the endpoint's host.
    fn host_of(&self, endpoint: &Endpoint) -> String {
        let is_registry = self.endpoints.last().is_some_and(|last| std::ptr::eq(last, endpoint));
        if is_registry { self.reference.domain().to_owned() } else { endpoint.host() }
    }
}

/// Repeats what fails for reasons that may pass.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut failures = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        failures += 1;
        let Some(pause) = pause_before_next(&error, failures) else { return Err(error) };
        tracing::debug!(%error, ?pause, "trying again");
        runtime::pause(pause).await;
    }
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

pub(super) fn header(response: &Response, name: &HeaderName) -> Option<String> {
    response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// A media type that says something about a document. Some registries send `application/json` for all.
fn document_type(header: &str) -> Option<String> {
    let name = header.split(';').next().unwrap_or_default().trim();
    let says_nothing = matches!(name, "" | "application/json" | "application/octet-stream" | "text/plain");
    let known = media_type::is_index(name) || media_type::is_manifest(name);
    (known || !says_nothing).then(|| name.to_owned())
}
