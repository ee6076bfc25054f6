//! Lists that registries give out page by page.

use reqwest::header::LINK;
use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use super::http;
use super::repository::header;
use super::{Error, Result};
use crate::oci;

/// Entries that a page is asked for at most: some registries refuse more.
pub(super) const SIZE: usize = 1000;
/// Pages of one list.
const MAX_PAGES: usize = 1000;

/// Reads pages from `url` on until `take` has had enough, which it says by `true`, or there are no more. The next page
/// is where the answer says, if that is on the same host.
pub(super) async fn read<T: DeserializeOwned>(
    mut url: Url,
    ask: impl AsyncFn(Url) -> Result<Response>,
    what: &'static str,
    mut take: impl FnMut(T) -> Result<bool>,
) -> Result<()> {
    for _ in 0..MAX_PAGES {
        let response = ask(url.clone()).await?;
        let next = header(&response, &LINK).and_then(|link| next_page(&url, &link));
        let bytes = http::body(response, oci::MAX_DOCUMENT).await?;
        let page = serde_json::from_slice(&bytes)
            .map_err(|e| oci::Error::Malformed { what, reason: e.to_string() })?;
        if take(page)? {
            return Ok(());
        }
        match next {
            Some(next) if http::origin(&next) == http::origin(&url) => url = next,
            _ => return Ok(()),
        }
    }
    Err(Error::Protocol { host: http::authority(&url), reason: format!("its {what} has no end") })
}

/// The target of `<URL>; rel="next"`.
pub(super) fn next_page(base: &Url, link: &str) -> Option<Url> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| base.join(target).ok())?
}
