//! Uploads: blobs that are not there yet, in sessions that can be taken up again, and manifests.

use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, Url};

use super::http::{self, Request};
use super::repository::{CONTENT_DIGEST, Endpoint, Repository, Target, header};
use super::{Error, Result};
use crate::oci::Digest;

/// A session: where its next bytes go, and how many the registry has.
#[derive(Debug, Clone)]
pub struct Upload {
    url: Url,
    /// Bytes that the registry has of it.
    pub received: u64,
}

/// What beginning an upload comes to.
#[derive(Debug)]
pub enum Uploaded {
    /// The registry has taken the blob from its other repository: nothing is to be sent.
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

    /// Begins to upload a blob; `mount` names it and a repository of the same registry that has it.
    pub async fn begin_upload(&self, mount: Option<(&Digest, &str)>) -> Result<Uploaded> {
        self.upstream(async |endpoint| {
            let mut url = endpoint.url("blobs/uploads/")?;
            if let Some((digest, from)) = mount {
                url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
            }
            let request = Request::new(Method::POST, url);
            let response = self.writing(endpoint, request, mount.map(|(_, from)| from)).await?;
            let response = self.success(endpoint, response, || self.named_repository()).await?;
            match response.status().as_u16() {
                201 => Ok(Uploaded::Mounted),
                _ => session(endpoint, &response).map(Uploaded::Session),
            }
        })
        .await
    }

    /// Sends the bytes that come next; the session goes on with what is given back.
    pub async fn send_chunk(&self, upload: &Upload, bytes: Vec<u8>) -> Result<Upload> {
        let endpoint = self.registry();
        let mut request = Request::new(Method::PATCH, upload.url.clone());
        let last = (upload.received + bytes.len() as u64).saturating_sub(1);
        let range = format!("{}-{last}", upload.received);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if let Ok(range) = HeaderValue::from_str(&range) {
            request.headers.insert(reqwest::header::CONTENT_RANGE, range);
        }
        request.body = Some(bytes);
        let response = self.writing(endpoint, request, None).await?;
        session(endpoint, &self.success(endpoint, response, || "an upload".into()).await?)
    }

    /// How far the registry is with a session, after a connection broke.
    pub async fn upload_status(&self, upload: &Upload) -> Result<Upload> {
        self.upstream(async |endpoint| {
            let request = Request::new(Method::GET, upload.url.clone());
            let response = self.writing(endpoint, request, None).await?;
            session(endpoint, &self.success(endpoint, response, || "an upload".into()).await?)
        })
        .await
    }

    /// Ends a session: the blob has this digest, or the registry refuses it.
    pub async fn finish_upload(&self, upload: &Upload, digest: &Digest) -> Result<()> {
        let endpoint = self.registry();
        let mut url = upload.url.clone();
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let response = self.writing(endpoint, Request::new(Method::PUT, url), None).await?;
        self.success(endpoint, response, || format!("blob {digest}")).await.map(|_| ())
    }

    /// Stores a manifest or an index. A registry that took it for something else is an error.
    pub async fn put_manifest(&self, target: &Target, media_type: &str, bytes: &[u8]) -> Result<()> {
        self.upstream(async |endpoint| {
            let mut request = Request::new(Method::PUT, endpoint.url(&format!("manifests/{target}"))?);
            if let Ok(kind) = HeaderValue::from_str(media_type) {
                request.headers.insert(CONTENT_TYPE, kind);
            }
            request.body = Some(bytes.to_vec());
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

    /// A request for writing, `from` another repository when one is mounted from.
    async fn writing(&self, endpoint: &Endpoint, request: Request, from: Option<&str>) -> Result<Response> {
        let mut scope = self.push_scope();
        if let Some(from) = from {
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        self.authorised(endpoint, request, &scope).await
    }
}

/// Where a session goes on: on the registry's own host, whatever it says.
fn session(endpoint: &Endpoint, response: &Response) -> Result<Upload> {
    let senseless = |reason: &str| Error::Protocol { host: endpoint.host(), reason: reason.into() };
    let location = header(response, &LOCATION).ok_or_else(|| senseless("an upload without a location"))?;
    let url = response.url().join(&location).map_err(|_| senseless("an upload at no URL"))?;
    if http::origin(&url) != http::origin(response.url()) {
        return Err(senseless("an upload to another host"));
    }
    let received = header(response, &RANGE)
        .and_then(|range| range.rsplit('-').next()?.trim().parse::<u64>().ok())
        .map_or(0, |last| if last == 0 { 0 } else { last + 1 });
    Ok(Upload { url, received })
}
