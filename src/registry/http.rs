//! Every outgoing request. One client for each origin, all built here: certificates are always verified, against the
//! system's trust store and what is configured for the host; plain HTTP is for this machine and for hosts that are
//! configured so, also after a redirect. Redirects are followed here one by one, so that what is meant for one host
//! (credentials, client certificate) is not shown to another.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Method, Response, Url};

use super::payload::Payload;
use super::{Error, Result};
use crate::config::Config;

/// For the answer, and for each piece of it. A server that sends nothing for so long has failed.
pub(super) const STALL: Duration = Duration::from_secs(15);
/// What the verifier says of a machine without any.
const NO_AUTHORITIES: &str = "No CA certificates were loaded";
const CONNECT: Duration = Duration::from_secs(15);
const MAX_REDIRECTS: usize = 10;
/// Bytes of an error's body that are looked at.
const MAX_ERROR: usize = 64 << 10;

/// A request on its way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// For the host of `url` only.
    pub authorization: Option<HeaderValue>,
    pub body: Option<Payload>,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), authorization: None, body: None }
    }
}

#[derive(Debug)]
pub(super) struct Http {
    config: Config,
    /// By origin.
    clients: RefCell<BTreeMap<String, reqwest::Client>>,
    /// What the configuration calls an origin whose URL says it otherwise.
    names: RefCell<BTreeMap<String, String>>,
    /// Origins that plain HTTP is allowed for beside those of the configuration.
    plain: RefCell<BTreeSet<String>>,
}

impl Http {
    pub(super) fn new(config: &Config) -> Self {
        let (clients, names, plain) = Default::default();
        Self { config: config.clone(), clients, names, plain }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// From here on the origin of `url` goes by `name` in the configuration.
    pub(super) fn call(&self, url: &Url, name: &str) {
        self.names.borrow_mut().insert(origin(url), name.to_owned());
    }

    /// From here on the origin of `url` may be spoken to over plain HTTP.
    pub(super) fn allow_plain(&self, url: &Url) {
        self.plain.borrow_mut().insert(origin(url));
    }

    fn name_of(&self, url: &Url) -> String {
        self.names.borrow().get(&origin(url)).cloned().unwrap_or_else(|| authority(url))
    }

    /// Sends, and follows redirects of what only reads. Gives any answer that is no redirect, errors included.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&request).await?;
            let Some(next) = self.redirect(&request, &response)? else { return Ok(response) };
            if origin(&next) != origin(&request.url) {
                request.authorization = None;
            }
            request.url = next;
        }
        let reason = "too many redirects".into();
        Err(Error::Protocol { host: authority(&request.url), reason })
    }

    async fn send_once(&self, request: &Request) -> Result<Response> {
        let client = self.client(&request.url)?;
        let mut builder =
            client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(authorization) = &request.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            builder = body.attach(builder);
        }
        tracing::debug!(method = %request.method, url = %shown(&request.url), "request");
        let mut sending = Box::pin(builder.send());
        let mut sent = 0;
        loop {
            if let Ok(answer) = tokio::time::timeout(STALL.max(CONNECT) * 2, &mut sending).await {
                return answer.map_err(|e| failed(&request.url, e));
            }
            // A long body may take long, so long as it moves.
            let by_now = request.body.as_ref().map_or(0, Payload::sent);
            if by_now == sent {
                let source = "it accepts requests and does not answer them".into();
                return Err(Error::Unreachable { host: authority(&request.url), source });
            }
            sent = by_now;
        }
    }

    /// Where the answer sends us, if it may.
    fn redirect(&self, request: &Request, response: &Response) -> Result<Option<Url>> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let refused = |reason: &str| Error::Protocol { host: authority(&request.url), reason: reason.into() };
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        let location = location.ok_or_else(|| refused("a redirect to nowhere"))?;
        let mut next = request.url.join(location).map_err(|_| refused("a redirect to no URL"))?;
        if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
            return Err(refused("a redirect to something that is not HTTP"));
        }
        // Whoever redirects may not choose what we authenticate with, and learns nothing that was meant for another.
        let same = origin(&next) == origin(&request.url);
        let _ = next.set_username(if same { request.url.username() } else { "" });
        let _ = next.set_password(if same { request.url.password() } else { None });
        let keeps_method = matches!(response.status().as_u16(), 307 | 308);
        if !matches!(request.method, Method::GET | Method::HEAD) && !keeps_method {
            return Err(refused("a redirect that makes another request of an upload"));
        }
        self.may_lead(&request.url, &next)?;
        Ok(Some(next))
    }

    /// Whether what came from `from` may send us on to `to`.
    pub(super) fn may_lead(&self, from: &Url, to: &Url) -> Result<()> {
        if is_loopback(to) && !is_loopback(from) {
            let reason = "a redirect to this machine".into();
            return Err(Error::Protocol { host: authority(from), reason });
        }
        let downgrade = from.scheme() == "https" && to.scheme() == "http" && !is_loopback(to);
        if downgrade || !self.is_allowed(to)? {
            return Err(Error::PlainHttp { url: shown(to) });
        }
        Ok(())
    }

    /// Whether the scheme of `url` may be used with its host.
    pub(super) fn is_allowed(&self, url: &Url) -> Result<bool> {
        if url.scheme() == "https" || is_loopback(url) || self.plain.borrow().contains(&origin(url)) {
            return Ok(true);
        }
        Ok(url.scheme() == "http" && self.config.host_settings(&self.name_of(url))?.plain_http == Some(true))
    }

    fn client(&self, url: &Url) -> Result<reqwest::Client> {
        if !self.is_allowed(url)? {
            return Err(Error::PlainHttp { url: shown(url) });
        }
        let key = origin(url);
        if let Some(client) = self.clients.borrow().get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(url)?;
        self.clients.borrow_mut().insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, url: &Url) -> Result<reqwest::Client> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = self.name_of(url);
        let settings = self.config.host_settings(&name)?;
        let bad = |what: &str, e: &reqwest::Error| {
            let reason = format!("the {what} that is configured for it cannot be used: {}", chain(e));
            Error::Url { url: name.clone(), reason }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("kelp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .hickory_dns(true);
        if is_loopback(url) {
            // As Go's programs do: no proxy reaches this machine's own names.
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // The system's trust store takes longer to read than many a request.
            builder = builder.tls_certs_only([]);
        } else {
            let mut trusted = Vec::new();
            for pem in &settings.authorities {
                trusted.extend(Certificate::from_pem_bundle(pem).map_err(|e| bad("certificate", &e))?);
            }
            builder = builder.tls_certs_merge(trusted);
        }
        if let Some(client) = &settings.client {
            let pem = [client.certificate.as_slice(), b"\n", client.key.as_slice()].concat();
            let identity = Identity::from_pem(&pem).map_err(|e| bad("client certificate", &e))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|e| match chain(&e) {
            // The verifier has no type for it.
            text if text.contains(NO_AUTHORITIES) => Error::NoAuthorities { host: name.clone() },
            _ => bad("TLS", &e),
        })
    }
}

/// The next piece of a body; `None` at its end.
pub(super) async fn chunk(response: &mut Response) -> std::result::Result<Option<bytes::Bytes>, String> {
    match tokio::time::timeout(STALL, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(e)) => Err(chain(&e.without_url())),
        Err(_) => Err(format!("nothing came for {} s", STALL.as_secs())),
    }
}

/// A body of at most `limit` bytes.
pub(super) async fn body(mut response: Response, limit: u64) -> Result<Vec<u8>> {
    let url = response.url().clone();
    let too_large = |size| Error::TooLarge { url: shown(&url), size, limit };
    if let Some(size) = response.content_length().filter(|size| *size > limit) {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    loop {
        let next = chunk(&mut response).await;
        let next =
            next.map_err(|reason| Error::Unreachable { host: authority(&url), source: reason.into() })?;
        let Some(piece) = next else { return Ok(bytes) };
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(too_large((bytes.len() + piece.len()) as u64));
        }
        bytes.extend_from_slice(&piece);
    }
}

/// What an error's body says, in one line: the registry's own words where it has some.
pub(super) async fn reason(response: Response) -> String {
    let mut response = response;
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ERROR {
        match chunk(&mut response).await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            _ => break,
        }
    }
    explanation(&bytes)
}

pub(super) fn explanation(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let text = |v: &serde_json::Value, key: &str| {
        v.get(key).and_then(|v| v.as_str()).unwrap_or_default().trim().to_owned()
    };
    let first = value.get("errors").and_then(|e| e.get(0));
    let said = match first {
        Some(error) => {
            let code = text(error, "code").to_lowercase().replace('_', " ");
            match (code, text(error, "message")) {
                (code, message) if message.is_empty() => code,
                // Registries often say the same in both.
                (code, message) if message.to_lowercase().starts_with(&code) => message,
                (code, message) => format!("{code}: {message}"),
            }
        }
        // Token servers.
        None => ["details", "error_description", "message", "error"]
            .iter()
            .map(|key| text(&value, key))
            .find(|t| !t.is_empty())
            .unwrap_or_default(),
    };
    said.chars().take(300).collect()
}

/// Tells a certificate from a network that is down.
fn failed(url: &Url, error: reqwest::Error) -> Error {
    let host = authority(url);
    let error = error.without_url();
    let tls = tls_error(&error);
    if let Some(rustls::Error::InvalidCertificate(_)) = tls {
        return Error::Certificate { host, source: error.into() };
    }
    if let Some(rustls::Error::InvalidMessage(_)) = tls {
        return Error::Unreachable { host, source: "it does not speak TLS, but perhaps plain HTTP".into() };
    }
    match plainly(&error) {
        Some(reason) => Error::Unreachable { host, source: reason.into() },
        None => Error::Unreachable { host, source: error.into() },
    }
}

/// What the kernel or the name server said, without the layers that it came through.
fn plainly(error: &reqwest::Error) -> Option<String> {
    let (mut last, mut of_names) = (error.to_string(), false);
    let mut next = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        of_names |= last.starts_with("dns error");
        next = cause.source();
    }
    if of_names {
        let unknown = last.contains("no records found");
        return Some(if unknown {
            "no such host".into()
        } else {
            format!("its name cannot be resolved: {last}")
        });
    }
    let (said, number) = last.split_once(" (os error ")?;
    number.ends_with(')').then(|| said.to_owned())
}

fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An io::Error does not count what it wraps as its source.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            let inner: &(dyn StdError + 'static) = inner;
            if let Some(tls) = tls_error(inner) {
                return Some(tls);
            }
        }
        next = error.source();
    }
    None
}

fn chain(error: &dyn StdError) -> String {
    crate::error::chain(error)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `path` below `base`, which ends with a slash.
pub(super) fn joined(base: &Url, path: &str) -> Result<Url> {
    base.join(path).map_err(|e| Error::Url { url: shown(base), reason: e.to_string() })
}

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// `HOST[:PORT]`.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Without user, password and query, which would end up in terminals and logs: signed URLs have their secret there.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for (url, loopback) in [
            ("http://localhost/x", true),
            ("http://a.localhost:1/", true),
            ("http://127.9.9.9:5000/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://127.0.0.1.example.com/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }

    /// T-redact.
    #[test]
    fn secrets_of_urls_are_not_shown() {
        let url = Url::parse("https://user:secret@h.io/x?X-Signature=secret#secret").unwrap();
        assert_eq!(shown(&url), "https://h.io/x");
        assert_eq!(authority(&url), "h.io");
    }

    #[test]
    fn registries_words_are_kept_to_one_line() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        assert_eq!(explanation(body), "manifest unknown");
        let body = br#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#;
        assert_eq!(explanation(body), "denied: not yours");
        assert_eq!(
            explanation(br#"{"details":"incorrect username or password"}"#),
            "incorrect username or password"
        );
        assert_eq!(explanation(b"<html>"), "");
        assert_eq!(explanation(br#"{"errors":[]}"#), "");
    }
}
