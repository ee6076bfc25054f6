//! Blobs: streamed into whatever takes them, taken up again where they broke off.

use std::io;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response};

use super::client::pause_before_next;
use super::http;
use super::repository::{Endpoint, Repository, header};
use super::{Error, Result, runtime};
use crate::oci::{self, Descriptor, Digest};

/// A transfer that brought so many bytes before it broke off has not failed: the attempts are counted anew.
const PROGRESS: u64 = 64 << 10;

/// Takes the bytes of one blob, in their order.
pub trait Sink {
    /// How many it has already.
    fn received(&self) -> u64;
    /// Takes all of `bytes`.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn received(&self) -> u64 {
        self.len() as u64
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Repository<'_> {
    /// Brings what the sink does not have of the blob: exactly as many bytes as the descriptor says. Whether they are
    /// the right ones, whoever has the sink finds out. `waiting` hears why there is a pause.
    pub async fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        waiting: &mut dyn FnMut(&Error),
    ) -> Result<()> {
        let mut failures = 0;
        loop {
            let before = sink.received();
            if before >= blob.size {
                return Ok(());
            }
            let once = self.somewhere(async |endpoint| self.transfer(endpoint, blob, sink).await);
            let error = match once.await {
                Ok(()) => continue,
                Err(error) => error,
            };
            if sink.received() >= before + PROGRESS {
                failures = 0;
            }
            failures += 1;
            let Some(pause) = pause_before_next(&error, failures) else { return Err(error) };
            waiting(&error);
            tracing::debug!(blob = %blob.digest, %error, ?pause, "trying again");
            runtime::pause(pause).await;
        }
    }

    /// A small blob whole, verified.
    pub async fn fetch_whole(&self, blob: &Descriptor, what: &'static str) -> Result<Vec<u8>> {
        if blob.size > oci::MAX_DOCUMENT {
            return Err(oci::Error::TooLarge { what }.into());
        }
        let mut bytes = Vec::new();
        self.fetch(blob, &mut bytes, &mut |_| {}).await?;
        let found = Digest::of(&bytes);
        if found != blob.digest {
            let (host, expected) = (self.registry().host(), blob.digest.clone());
            return Err(Error::Digest { what, host, expected, found });
        }
        Ok(bytes)
    }

    /// One attempt: from where the sink is to the end of the blob, or of the connection.
    async fn transfer(&self, endpoint: &Endpoint, blob: &Descriptor, sink: &mut dyn Sink) -> Result<()> {
        let at = sink.received();
        let url = endpoint.url(&format!("blobs/{}", blob.digest))?;
        let range = format!("bytes={at}-");
        let headers = if at > 0 { vec![(RANGE, range.as_str())] } else { Vec::new() };
        let response = self.ask(endpoint, Method::GET, url, &headers).await?;
        if at > 0 && response.status().as_u16() == 416 {
            // What is asked for begins before the end, unless the blob is shorter than the manifest says.
            let reason = format!("{} ends before the {} bytes stated", blob.digest, blob.size);
            return Err(oci::Error::Malformed { what: "blob", reason }.into());
        }
        let mut response = self.success(endpoint, response, || format!("blob {}", blob.digest)).await?;
        let host = http::authority(response.url());
        let mut skip = at
            - first_byte(&response, at).ok_or_else(|| Error::Protocol {
                host: host.clone(),
                reason: format!("bytes from {at} on were asked for, and others came"),
            })?;
        loop {
            let next = http::chunk(&mut response).await;
            let broken =
                |reason| Error::Broken { what: format!("blob {}", blob.digest), host: host.clone(), reason };
            let Some(piece) = next.map_err(broken)? else { break };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= known as u64;
            let piece = &piece[known..];
            if sink.received() + piece.len() as u64 > blob.size {
                let reason = format!("{} has more than the {} bytes stated", blob.digest, blob.size);
                return Err(oci::Error::Malformed { what: "blob", reason }.into());
            }
            sink.take(piece).map_err(Error::Sink)?;
        }
        if sink.received() < blob.size {
            let reason = format!("it ended after {} of {} bytes", sink.received(), blob.size);
            return Err(Error::Broken { what: format!("blob {}", blob.digest), host, reason });
        }
        Ok(())
    }
}

/// The offset at which the answer begins, at most `wanted`. A server may ignore the range and begin at the beginning.
fn first_byte(response: &Response, wanted: u64) -> Option<u64> {
    if response.status().as_u16() != 206 {
        return Some(0);
    }
    let range = header(response, &CONTENT_RANGE)?;
    let first = range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()?;
    (first <= wanted).then_some(first)
}
