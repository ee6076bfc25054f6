//! The client: one for a command, whatever it fetches.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response, Url};

use super::address::Address;
use super::auth::Auth;
use super::http::{self, Http, Request};
use super::repository::{Endpoint, Repository};
use super::{Error, Result, retry, runtime};
use crate::config::Config;
use crate::config::credentials::Credential;
use crate::oci::Reference;

/// docker.io's registry has another name than its images.
const DOCKER_IO: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Everything that goes to the network goes through one of these. Neither threads nor connections until it is used.
#[derive(Debug)]
pub struct Client {
    pub(super) http: Http,
    /// Whether a registry that speaks no TLS is spoken to all the same.
    insecure: bool,
}

impl Client {
    pub fn new(config: &Config) -> Self {
        Self { http: Http::new(config), insecure: false }
    }

    /// The same, for registries that are spoken to over plain HTTP where they speak no TLS. Not for their mirrors, nor
    /// for where they redirect to.
    pub fn insecure(config: &Config, insecure: bool) -> Self {
        Self { http: Http::new(config), insecure }
    }

    /// The repository of `reference`, with its mirrors.
    pub fn repository(&self, reference: &Reference) -> Result<Repository<'_>> {
        let domain = reference.domain();
        let mut endpoints = Vec::new();
        for mirror in self.http.config().mirrors(domain) {
            endpoints.push(self.mirror(mirror, reference.path())?);
        }
        let address = self.address(domain)?;
        endpoints.push(Endpoint::new(address, Auth::new(domain, reference.path()), reference.path()));
        Ok(Repository::new(self, reference, endpoints))
    }

    /// Where the registry of `domain` answers.
    pub(super) fn address(&self, domain: &str) -> Result<Address> {
        let host = if domain == DOCKER_IO.0 { DOCKER_IO.1 } else { domain };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/"))
                .map_err(|e| Error::Url { url: host.into(), reason: e.to_string() })
        };
        let (tls, plain) = (url("https")?, url("http")?);
        self.http.call(&tls, domain);
        self.http.call(&plain, domain);
        let settings = self.http.config().host_settings(domain)?;
        // A registry on this machine that is set up for TLS is verified like any other.
        let speaks_tls = !settings.authorities.is_empty() || settings.client.is_some();
        Ok(match settings.plain_http {
            Some(true) => Address::new(plain),
            Some(false) => Address::new(tls),
            None if http::is_loopback(&tls) && !speaks_tls => Address::either(plain, tls),
            None if self.insecure => {
                self.http.allow_plain(&plain);
                Address::either(tls, plain)
            }
            None => Address::new(tls),
        })
    }

    fn mirror(&self, mirror: &str, path: &str) -> Result<Endpoint> {
        let text = if mirror.contains("://") { mirror.to_owned() } else { format!("https://{mirror}") };
        let bad = |reason: String| Error::Url { url: mirror.into(), reason };
        let mut url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a mirror's credentials belong into the file that `kelp login` writes".into()));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let host = http::authority(&url);
        Ok(Endpoint::new(Address::new(url), Auth::new(&host, path), path))
    }

    /// Whether the registry accepts the credential, which is shown to it and nobody else.
    pub fn log_in(&self, host: &str, credential: Credential) -> Result<()> {
        runtime::run(self.try_log_in(host, credential))?
    }

    async fn try_log_in(&self, host: &str, credential: Credential) -> Result<()> {
        let address = self.address(host)?;
        let auth = Auth::with(host, credential);
        let ask = async || self.authorised(&auth, Request::new(Method::GET, address.join("v2/")?), "").await;
        let refused = match self.at(&address, async || answered(ask().await?, host).await).await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => refusal(response, host, host, true).await,
            Err(error) => error,
        };
        Err(match refused {
            Error::Denied { host, reason, .. } => Error::Login { host, reason },
            other => other,
        })
    }

    /// Sends with what is known to be accepted for the scope; answers one challenge of the host itself.
    pub(super) async fn authorised(
        &self,
        auth: &Auth,
        mut request: Request,
        scope: &str,
    ) -> Result<Response> {
        request.authorization = auth.known(scope);
        let response = self.http.send(request.clone()).await?;
        let own = http::origin(response.url()) == http::origin(&request.url);
        if response.status().as_u16() != 401 || !own {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // The connection can be used again only once the answer has been read.
        let _ = http::reason(response).await;
        request.authorization = Some(auth.answer(&self.http, &request.url, &headers, scope).await?);
        self.http.send(request).await
    }
}

/// The answer, unless it is what a server that speaks TLS says to plain HTTP: as an error, [`Client::at`] knows it.
pub(super) async fn answered(response: Response, host: &str) -> Result<Response> {
    match response.status().as_u16() {
        400 => Err(refusal(response, host, host, true).await),
        _ => Ok(response),
    }
}

/// An answer that is no success, as an error. `what` is what was asked for.
pub(super) async fn refusal(response: Response, host: &str, what: &str, logged_in: bool) -> Error {
    let status = response.status();
    let (url, after) = (http::shown(response.url()), retry_after(&response));
    // After a redirect it is not the registry that refuses.
    let speaker = http::authority(response.url());
    let reason = http::reason(response).await;
    let or = |text: &str| if reason.is_empty() { text.to_owned() } else { reason.clone() };
    match status.as_u16() {
        401 | 403 => Error::Denied {
            what: what.into(),
            host: host.into(),
            reason: or(status.canonical_reason().unwrap_or("refused")),
            logged_in,
        },
        404 => Error::NotFound { what: what.into(), reason: or("the registry does not have it") },
        429 => Error::Limited { host: speaker, after, reason: or("too many requests") },
        status => Error::Status { url, status, reason },
    }
}

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(retry::retry_after)
}

/// How long to wait before the attempt after `failures` failed ones; `None` when another makes no sense.
pub(super) fn pause_before_next(error: &Error, failures: u32) -> Option<Duration> {
    if failures >= retry::ATTEMPTS {
        return None;
    }
    match error {
        Error::Unreachable { .. } if failures >= retry::CONNECT_ATTEMPTS => None,
        Error::Unreachable { .. } | Error::Broken { .. } => Some(retry::backoff(failures)),
        Error::Status { status: 408 | 500 | 502 | 503 | 504, .. } => Some(retry::backoff(failures)),
        Error::Limited { after: Some(after), .. } if *after <= retry::PATIENCE => {
            Some(*after + retry::backoff(1))
        }
        Error::Limited { after: None, .. } if failures < retry::CONNECT_ATTEMPTS => {
            Some(retry::backoff(failures + 2))
        }
        _ => None,
    }
}
