//! Who we are to one registry host: its credential, and the tokens got with it.
//!
//! A credential belongs to the host it is configured for. It is sent to that host, and, when that host asks for a
//! bearer token, to the token server it names: over TLS, or on this machine when the registry is on it too. Nothing
//! that another host answers after a redirect makes us show it anything.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::http::{self, Http, Request};
use super::payload::Payload;
use super::{Error, Result};
use crate::config::credentials::Credential;

/// Bytes of a token server's answer.
const MAX_TOKEN: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Auth {
    /// What credentials call the host.
    host: String,
    /// The repository; empty for the registry as a whole.
    path: String,
    /// `None` until it is looked for.
    credential: RefCell<Option<Option<Credential>>>,
    /// Headers that were accepted, by scope.
    accepted: RefCell<BTreeMap<String, HeaderValue>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Auth {
    pub(super) fn new(host: &str, path: &str) -> Self {
        Self {
            host: host.into(),
            path: path.into(),
            credential: RefCell::default(),
            accepted: RefCell::default(),
        }
    }

    /// With this credential and no other.
    pub(super) fn with(host: &str, credential: Credential) -> Self {
        Self { credential: RefCell::new(Some(Some(credential))), ..Self::new(host, "") }
    }

    /// What was good enough for this scope before.
    pub(super) fn known(&self, scope: &str) -> Option<HeaderValue> {
        self.accepted.borrow().get(scope).cloned()
    }

    pub(super) fn has_credential(&self) -> bool {
        matches!(&*self.credential.borrow(), Some(Some(_)))
    }

    fn credential(&self, http: &Http) -> Result<Option<Credential>> {
        if let Some(known) = &*self.credential.borrow() {
            return Ok(known.clone());
        }
        let found = http.config().credentials.find(&self.host, &self.path)?;
        *self.credential.borrow_mut() = Some(found.clone());
        Ok(found)
    }

    /// Name and password as a header, where there are some: for a question that is answered to everyone, and to those
    /// who may see more differently.
    pub(super) fn unasked(&self, http: &Http) -> Result<Option<HeaderValue>> {
        Ok(match self.credential(http)? {
            Some(Credential::Password { user, password }) => header(&basic(&user, &password)),
            _ => None,
        })
    }

    /// The header that answers a 401 of the host behind `registry`. Remembered for the scope.
    pub(super) async fn answer(
        &self,
        http: &Http,
        registry: &Url,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<HeaderValue> {
        let headers = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|h| h.to_str().ok());
        let challenges: Vec<Challenge> = headers.flat_map(challenge::parse).collect();
        let bearer = challenges.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
        let header = match (bearer, challenges.first()) {
            (Some(Challenge::Bearer { realm, service, .. }), _) => {
                let token = self.token(http, registry, realm, service.as_deref(), scope).await?;
                header(&format!("Bearer {token}"))
            }
            (_, Some(Challenge::Basic)) => match self.credential(http)? {
                Some(Credential::Password { user, password }) => header(&basic(&user, &password)),
                Some(_) => return Err(self.denied("it wants a name and a password, not a token")),
                None => return Err(self.denied("no basic auth credentials")),
            },
            _ => return Err(self.denied("it asks for a proof of identity that is not known here")),
        };
        let header =
            header.ok_or_else(|| self.denied("the credentials have characters that cannot be sent"))?;
        self.accepted.borrow_mut().insert(scope.to_owned(), header.clone());
        Ok(header)
    }

    fn denied(&self, reason: &str) -> Error {
        let what = if self.path.is_empty() { self.host.clone() } else { self.path.clone() };
        let logged_in = self.has_credential();
        Error::Denied { what, host: self.host.clone(), reason: reason.into(), logged_in }
    }

    /// A bearer token.
    async fn token(
        &self,
        http: &Http,
        registry: &Url,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<String> {
        let credential = self.credential(http)?;
        if let Some(Credential::RegistryToken(token)) = credential {
            return Ok(token);
        }
        let url = self.realm(http, registry, realm)?;
        let request = token_request(url, service, scope, credential.as_ref());
        let response = http.send(request).await?;
        let status = response.status();
        if status.is_success() {
            let bytes = http::body(response, MAX_TOKEN).await?;
            let token: Token = serde_json::from_slice(&bytes)
                .map_err(|_| self.denied("its token server's answer is not understood"))?;
            let text = if token.token.is_empty() { token.access_token } else { token.token };
            if text.is_empty() {
                return Err(self.denied("its token server gives no token"));
            }
            return Ok(text);
        }
        let host = http::authority(response.url());
        let url = http::shown(response.url());
        let after = super::client::retry_after(&response);
        let reason = http::reason(response).await;
        Err(match status.as_u16() {
            400 | 401 | 403 | 404 if reason.is_empty() => self.denied("its token server refuses"),
            400 | 401 | 403 | 404 => self.denied(&reason),
            429 => Error::Limited { host, after, reason },
            status => Error::Status { url, status, reason },
        })
    }

    /// Where tokens come from, if credentials may go there.
    fn realm(&self, http: &Http, registry: &Url, realm: &str) -> Result<Url> {
        let refused = |reason: &str| Error::Protocol { host: self.host.clone(), reason: reason.into() };
        let mut url = Url::parse(realm).map_err(|_| refused("its token server has no valid URL"))?;
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let same = http::origin(&url) == http::origin(registry);
        let local = http::is_loopback(&url);
        match url.scheme() {
            "https" if !local || http::is_loopback(registry) => Ok(url),
            "http" if local && http::is_loopback(registry) => Ok(url),
            // The user has allowed plain HTTP with this host.
            "http" if same && http.is_allowed(&url)? => Ok(url),
            _ if local => Err(refused("its token server is said to be this machine")),
            _ => Err(refused("its token server does not use TLS")),
        }
    }
}

fn token_request(url: Url, service: Option<&str>, scope: &str, credential: Option<&Credential>) -> Request {
    let mut parameters = Vec::new();
    parameters.extend(service.map(|s| ("service", s)));
    if let Some(Credential::IdentityToken(token)) = credential {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "kelp");
        form.append_pair("refresh_token", token);
        form.extend_pairs(&parameters).append_pair("scope", scope);
        let mut request = Request::new(Method::POST, url);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(CONTENT_TYPE, kind);
        request.body = Some(Payload::Document(form.finish().into_bytes().into()));
        return request;
    }
    // Here each scope has a parameter of its own, in an OAuth2 form they share one.
    parameters.extend(scope.split(' ').filter(|s| !s.is_empty()).map(|s| ("scope", s)));
    let mut url = url;
    if let Some(Credential::Password { user, .. }) = credential {
        parameters.push(("account", user));
        parameters.push(("client_id", "kelp"));
    }
    url.query_pairs_mut().extend_pairs(&parameters);
    let mut request = Request::new(Method::GET, url);
    if let Some(Credential::Password { user, password }) = credential {
        request.authorization = header(&basic(user, password));
    }
    request
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    // Debug output of requests does not show it.
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn http() -> Http {
        Http::new(&Config {
            store: "/nowhere".into(),
            cache: "/nowhere".into(),
            detach_keys: String::new(),
            stop_timeout: 10,
            snapshotter: crate::config::Snapshotter::Auto,
            registries: BTreeMap::from([(
                "lan.example".into(),
                crate::config::RegistryTable { plain_http: Some(true), ..Default::default() },
            )]),
            certificates: Vec::new(),
            credentials: Default::default(),
        })
    }

    /// T-credleak: where credentials may be shown on a registry's word.
    #[test]
    fn token_servers_are_reached_over_tls_or_on_this_machine() {
        let http = http();
        for (registry, realm, allowed) in [
            ("https://r.example/v2/", "https://auth.example/token", true),
            ("https://r.example/v2/", "http://auth.example/token", false),
            ("https://r.example/v2/", "https://127.0.0.1/token", false),
            ("https://r.example/v2/", "http://localhost:1/token", false),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000/v2/", "https://auth.example/token", true),
            ("http://127.0.0.1:5000/v2/", "http://auth.example/token", false),
            ("http://lan.example/v2/", "http://lan.example/token", true),
            ("http://lan.example/v2/", "http://other.example/token", false),
            ("https://r.example/v2/", "file:///etc/passwd", false),
            ("https://r.example/v2/", "token", false),
        ] {
            let auth = Auth::new("r.example", "a/b");
            let found = auth.realm(&http, &Url::parse(registry).unwrap(), realm);
            assert_eq!(found.is_ok(), allowed, "{registry} {realm}: {found:?}");
        }
        let auth = Auth::new("r.example", "a/b");
        let registry = Url::parse("https://r.example/v2/").unwrap();
        let url = auth.realm(&http, &registry, "https://me:pw@auth.example/token").unwrap();
        assert_eq!(url.as_str(), "https://auth.example/token");
    }

    #[test]
    fn token_requests_carry_what_each_credential_is_for() {
        let url = || Url::parse("https://auth.example/token?x=1").unwrap();
        let scope = "repository:a/b:pull repository:c:pull";
        let anonymous = token_request(url(), Some("s"), scope, None);
        assert_eq!(anonymous.url.query_pairs().filter(|(k, _)| k == "scope").count(), 2);
        assert!(anonymous.authorization.is_none());
        let password = Credential::Password { user: "me".into(), password: "pw".into() };
        let named = token_request(url(), None, scope, Some(&password));
        assert!(named.authorization.is_some_and(|a| a.is_sensitive()));
        assert!(!named.url.as_str().contains("pw"));
        let refresh =
            token_request(url(), Some("s"), scope, Some(&Credential::IdentityToken("gold&en".into())));
        let body = match refresh.body {
            Some(Payload::Document(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(body.contains("refresh_token=gold%26en") && !refresh.url.as_str().contains("gold"), "{body}");
        assert_eq!(refresh.method, Method::POST);
    }
}
