//! Where a registry answers: over https or http, where neither the configuration nor its name says which.
//!
//! A registry on this machine is asked over plain HTTP first, because most of them speak nothing else and each pull
//! would pay for a handshake that fails; one that turns out to speak TLS is asked over TLS from then on, and its
//! certificate is verified as any other. With `--insecure` a registry elsewhere is asked over TLS first, and over plain
//! HTTP when it speaks no TLS; a certificate that is not trusted stays an error, since that is what an attack looks
//! like.
//!
//! Credentials never leave with the first request, which finds out about the scheme: they answer a 401. So a server
//! that speaks TLS is not shown them over plain HTTP. That whoever holds a port of this machine may ask for them in
//! plain words is so with docker, too, which falls back to plain HTTP for these names; `plain-http = false` in
//! config.toml, or a certificate for the host, rules it out.

use std::cell::RefCell;

use reqwest::{Method, Url};

use super::http::{self, Request};
use super::{Client, Error, Result};

/// The URL under which a registry answers, or one of two.
#[derive(Debug)]
pub(super) struct Address {
    base: RefCell<Url>,
    /// The same with the other scheme, until the first answer settles the question.
    other: RefCell<Option<Url>>,
}

impl Address {
    pub(super) fn new(base: Url) -> Self {
        Self { base: RefCell::new(base), other: RefCell::default() }
    }

    pub(super) fn either(first: Url, other: Url) -> Self {
        Self { base: RefCell::new(first), other: RefCell::new(Some(other)) }
    }

    /// Whether it is still to be found out which of two it is.
    pub(super) fn is_open(&self) -> bool {
        self.other.borrow().is_some()
    }

    pub(super) fn base(&self) -> Url {
        self.base.borrow().clone()
    }

    pub(super) fn join(&self, path: &str) -> Result<Url> {
        http::joined(&self.base.borrow(), path)
    }
}

impl Client {
    /// Asks at the address, and where that brings no answer, once at the other one, if it answers.
    pub(super) async fn at<T>(
        &self,
        address: &Address,
        mut ask: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let before = address.base();
        let answer = ask().await;
        let Err(error) = &answer else {
            address.other.take();
            return answer;
        };
        if !is_no_answer(error) {
            address.other.take();
            return answer;
        }
        // Whoever asks at the same time may have found out meanwhile.
        if address.base() != before {
            return ask().await;
        }
        let Some(other) = address.other.borrow().clone() else { return answer };
        let found = self.answers(&other).await;
        address.other.take();
        match found {
            Ok(true) => {
                tracing::debug!(url = %other, "the registry speaks the other scheme");
                address.base.replace(other);
                ask().await
            }
            Err(error @ Error::Certificate { .. }) => Err(error),
            Ok(false) | Err(_) => answer,
        }
    }

    /// Whether there is a registry that speaks the scheme of `base`.
    async fn answers(&self, base: &Url) -> Result<bool> {
        let response = self.http.send(Request::new(Method::GET, http::joined(base, "v2/")?)).await?;
        // What a server that speaks TLS says to plain HTTP.
        let answers = response.status().as_u16() != 400;
        // The connection can be used again only once the answer has been read.
        let _ = http::reason(response).await;
        Ok(answers)
    }
}

/// Whether it may be the scheme that is wrong. To plain HTTP, servers that speak TLS answer nothing, an alert, or 400.
fn is_no_answer(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Status { status: 400, url, .. } => url.starts_with("http://"),
        _ => false,
    }
}
