//! Uploads: blobs that are not there yet, in sessions that are taken up again where they broke off, and manifests.
//!
//! A session does not outlive its process: blobs that were finished are found by the next push, what was on its way is
//! sent again. docker-registry, and what is built on it, answers 404 for a session whose last request broke off, which
//! is how the requests of a killed process end; smaller requests would leave it a session to keep, and are refused or
//! slow elsewhere. And the URL of a session is a key to write with: it would be one more secret on the disk.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, Url};

use super::client::pause_before_next;
use super::http::{self, Request};
use super::payload::{Part, Payload, Source};
use super::repository::{CONTENT_DIGEST, DOCUMENTS, Endpoint, Repository, Target, header};
use super::runtime::{self, Either};
use super::{Error, Result};
use crate::oci::Digest;

/// How often it is told how far an upload is.
const TELL: Duration = Duration::from_millis(100);

/// A blob to be uploaded.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub digest: &'a Digest,
    /// Bytes.
    pub size: u64,
    pub source: Arc<dyn Source>,
    /// A repository of the same registry that should have the blob.
    pub mount_from: Option<&'a str>,
}

/// What is to be heard of an upload.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Bytes that are on their way or there.
    Sent(u64),
    /// The transfer broke off and goes on soon.
    Retrying(&'a Error),
}

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Present,
    Mounted,
    Sent,
}

/// A session: where its next bytes go, and how many the registry has.
#[derive(Debug, Clone)]
struct Upload {
    url: Url,
    received: u64,
}

enum Begun {
    Mounted,
    Session(Upload),
}

impl Repository<'_> {
    /// Whether the registry has the blob in this repository.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.upstream(async |endpoint| {
            let url = endpoint.url(&format!("blobs/{digest}"))?;
            let response = self.writing(endpoint, Request::new(Method::HEAD, url), None).await?;
            if response.status().as_u16() == 404 {
                return Ok(false);
            }
            self.success(endpoint, response, || format!("blob {digest}")).await.map(|_| true)
        })
        .await
    }

    /// Whether the registry has the manifest in this repository.
    pub async fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        self.upstream(async |endpoint| {
            let url = endpoint.url(&format!("manifests/{digest}"))?;
            let mut request = Request::new(Method::HEAD, url);
            request.headers.insert(ACCEPT, HeaderValue::from_static(DOCUMENTS));
            let response = self.writing(endpoint, request, None).await?;
            if response.status().as_u16() == 404 {
                return Ok(false);
            }
            self.success(endpoint, response, || format!("manifest {digest}")).await.map(|_| true)
        })
        .await
    }

    /// Sees to it that the registry has the blob: asks, mounts, sends. What breaks off goes on where the registry is.
    pub async fn upload(&self, blob: &Outgoing<'_>, tell: &mut dyn FnMut(Progress<'_>)) -> Result<Arrival> {
        if self.has_blob(blob.digest).await? {
            return Ok(Arrival::Present);
        }
        let mut session = match self.begin(blob).await? {
            Begun::Mounted => return Ok(Arrival::Mounted),
            Begun::Session(session) => session,
        };
        let mut failures = 0;
        loop {
            let before = session.received;
            let error = match self.go_on(blob, &mut session, tell).await {
                Ok(()) => return Ok(Arrival::Sent),
                Err(error) => error,
            };
            failures = if session.received > before { 1 } else { failures + 1 };
            // A session that the registry has forgotten is begun anew.
            let lost = matches!(error, Error::NotFound { .. } | Error::Status { status: 416, .. });
            let again = pause_before_next(&error, failures).or((lost && failures < 3).then_some(TELL));
            let Some(pause) = again else { return Err(error) };
            tell(Progress::Retrying(&error));
            runtime::pause(pause).await;
            // The last answer may be what was lost.
            if self.has_blob(blob.digest).await? {
                return Ok(Arrival::Sent);
            }
            session = match self.status(&session).await {
                Ok(known) => known,
                Err(Error::NotFound { .. } | Error::Status { .. }) => match self.begin(blob).await? {
                    Begun::Mounted => return Ok(Arrival::Mounted),
                    Begun::Session(new) => new,
                },
                Err(e) => return Err(e),
            };
            // It has as much as it says, and may say more than it was told.
            session.received = session.received.min(blob.size);
        }
    }

    async fn begin(&self, blob: &Outgoing<'_>) -> Result<Begun> {
        if let Some(from) = blob.mount_from {
            match self.begin_upload(Some((blob.digest, from))).await {
                // Whoever may not read there may still write here.
                Err(Error::Denied { .. } | Error::NotFound { .. } | Error::Status { .. }) => {}
                other => return other,
            }
        }
        self.begin_upload(None).await
    }

    /// `mount` names a blob and a repository of the same registry that has it.
    async fn begin_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Begun> {
        self.upstream(async |endpoint| {
            let mut url = endpoint.url("blobs/uploads/")?;
            if let Some((digest, from)) = mount {
                url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
            }
            let mut request = Request::new(Method::POST, url);
            request.body = Some(Payload::nothing());
            let response = self.writing(endpoint, request, mount.map(|(_, from)| from)).await?;
            let response = self.success(endpoint, response, || self.named_repository()).await?;
            match (response.status().as_u16(), mount) {
                (201, Some(_)) => Ok(Begun::Mounted),
                _ => self
                    .session(endpoint, &response)
                    .map(|(url, received)| Begun::Session(Upload { url, received: received.unwrap_or(0) })),
            }
        })
        .await
    }

    /// Sends what the registry does not have yet, and ends the session: the blob has its digest, or is refused.
    async fn go_on(
        &self,
        blob: &Outgoing<'_>,
        session: &mut Upload,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        while session.received < blob.size {
            let before = session.received;
            *session = self.send_rest(blob, session, tell).await?;
            if session.received <= before {
                let reason = "it takes nothing of an upload".into();
                return Err(Error::Protocol { host: self.registry().host(), reason });
            }
        }
        self.finish(session, blob.digest).await
    }

    /// One request with everything that is left, as every registry takes it.
    async fn send_rest(
        &self,
        blob: &Outgoing<'_>,
        session: &Upload,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Upload> {
        let endpoint = self.registry();
        let mut request = Request::new(Method::PATCH, session.url.clone());
        let begin = session.received;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if begin > 0
            && let Ok(range) = HeaderValue::from_str(&format!("{begin}-{}", blob.size.saturating_sub(1)))
        {
            request.headers.insert(CONTENT_RANGE, range);
        }
        let at = Arc::new(AtomicU64::new(begin));
        let source = Arc::clone(&blob.source);
        request.body = Some(Payload::Part(Part { source, begin, end: blob.size, at: Arc::clone(&at) }));
        let mut sending = pin!(self.writing(endpoint, request, None));
        let response = loop {
            match runtime::first(&mut sending, runtime::pause(TELL)).await {
                Either::First(response) => break response?,
                Either::Second(()) => tell(Progress::Sent(at.load(Ordering::Relaxed))),
            }
        };
        tell(Progress::Sent(blob.size));
        let response = self.success(endpoint, response, || "an upload".into()).await?;
        let (url, stated) = self.session(endpoint, &response)?;
        // `0-0` is one byte or none: after a success it is what was sent.
        let received = stated.filter(|stated| *stated > begin).unwrap_or(blob.size);
        Ok(Upload { url, received })
    }

    /// How far the registry is with a session, after a connection broke.
    async fn status(&self, session: &Upload) -> Result<Upload> {
        self.upstream(async |endpoint| {
            let request = Request::new(Method::GET, session.url.clone());
            let response = self.writing(endpoint, request, None).await?;
            let response = self.success(endpoint, response, || "an upload".into()).await?;
            let (url, received) = self.session(endpoint, &response)?;
            Ok(Upload { url, received: received.unwrap_or(0) })
        })
        .await
    }

    async fn finish(&self, session: &Upload, digest: &Digest) -> Result<()> {
        let endpoint = self.registry();
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut request = Request::new(Method::PUT, url);
        request.body = Some(Payload::nothing());
        let response = self.writing(endpoint, request, None).await?;
        self.success(endpoint, response, || format!("blob {digest}")).await.map(|_| ())
    }

    /// Stores a manifest or an index. A registry that took it for something else is an error.
    pub async fn put_manifest(&self, target: &Target, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.upstream(async |endpoint| {
            let mut request = Request::new(Method::PUT, endpoint.url(&format!("manifests/{target}"))?);
            if let Ok(kind) = HeaderValue::from_str(media_type) {
                request.headers.insert(CONTENT_TYPE, kind);
            }
            request.body = Some(Payload::Document(bytes.to_vec().into()));
            let response = self.writing(endpoint, request, None).await?;
            let response = self.success(endpoint, response, || self.named_repository()).await?;
            let stated = header(&response, &CONTENT_DIGEST).and_then(|d| d.parse::<Digest>().ok());
            let expected = Digest::of(bytes);
            match stated.filter(|stated| *stated != expected) {
                None => Ok(()),
                Some(found) => {
                    Err(Error::Digest { what: "the manifest", host: endpoint.host(), expected, found })
                }
            }
        })
        .await
    }

    /// A request for writing, `from` another repository when one is mounted from. A session that has gone to another
    /// host is shown no credentials.
    async fn writing(&self, endpoint: &Endpoint, request: Request, from: Option<&str>) -> Result<Response> {
        if !endpoint.is_origin_of(&request.url) {
            return self.client.http.send(request).await;
        }
        let mut scope = self.push_scope();
        if let Some(from) = from {
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        self.authorised(endpoint, request, &scope).await
    }

    /// Where a session goes on, and how many bytes the registry says it has. `0-0` is none.
    fn session(&self, endpoint: &Endpoint, response: &Response) -> Result<(Url, Option<u64>)> {
        let senseless = |reason: &str| Error::Protocol { host: endpoint.host(), reason: reason.into() };
        let location =
            header(response, &LOCATION).ok_or_else(|| senseless("an upload without a location"))?;
        let mut url = response.url().join(&location).map_err(|_| senseless("an upload at no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(senseless("an upload to something that is not HTTP"));
        }
        if http::origin(&url) != http::origin(response.url()) {
            self.client.http.may_lead(response.url(), &url)?;
            // Whoever sends us there does not choose what we authenticate with.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let last =
            header(response, &RANGE).and_then(|range| range.rsplit('-').next()?.trim().parse::<u64>().ok());
        Ok((url, last.map(|last| if last == 0 { 0 } else { last.saturating_add(1) })))
    }
}
