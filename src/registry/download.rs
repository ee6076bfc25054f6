//! One HTTP GET as a reader.
//!
//! Certificates are always verified, against the system's trust store. Plain HTTP is for this machine only, also
//! after a redirect. A server that sends nothing for a minute has failed.

use std::error::Error as StdError;
use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::redirect::Policy;

use crate::error::Hint;

/// For the answer, and for each piece of it.
const STALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// Bytes of one download.
const MAX_SIZE: u64 = 256 << 30;

/// Why nothing was downloaded. URLs are shown without passwords.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid URL `{url}`: {reason}")]
    Url { url: String, reason: String },
    #[error("{url} is plain HTTP, which is allowed for this machine only")]
    PlainHttp { url: String },
    #[error("cannot download {url}")]
    Request { url: String, source: Box<dyn StdError + Send + Sync> },
    #[error("cannot download {url}: the server answered {status}")]
    Status { url: String, status: reqwest::StatusCode },
    #[error("{url} has {size} bytes, more than the {MAX_SIZE} allowed")]
    TooLarge { url: String, size: u64 },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::PlainHttp { .. } => Some("use https, or download the file first and give its name".into()),
            _ => None,
        }
    }
}

/// The body, read as it arrives.
#[derive(Debug)]
pub struct Download {
    response: Response,
    left: u64,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.response.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the download is too large"))?;
        Ok(n)
    }
}

/// Begins to download `url`. Proxies are those of the usual variables.
pub fn download(url: &str) -> Result<Download, Error> {
    let parsed = Url::parse(url).map_err(|e| Error::Url { url: url.into(), reason: e.to_string() })?;
    let shown = shown(&parsed);
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(Error::Url { url: shown, reason: "http:// or https:// is expected".into() });
    }
    if !is_allowed(&parsed) {
        return Err(Error::PlainHttp { url: shown });
    }
    let failed = |e: reqwest::Error| Error::Request { url: shown.clone(), source: e.without_url().into() };
    let response = client().map_err(failed)?.get(parsed.clone()).send().map_err(failed)?;
    if !response.status().is_success() {
        return Err(Error::Status { url: shown, status: response.status() });
    }
    match response.content_length() {
        Some(size) if size > MAX_SIZE => Err(Error::TooLarge { url: shown, size }),
        _ => Ok(Download { response, left: MAX_SIZE }),
    }
}

fn client() -> reqwest::Result<Client> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = Policy::custom(|attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        if is_allowed(attempt.url()) { attempt.follow() } else { attempt.error("it redirects to plain HTTP") }
    });
    Client::builder()
        .user_agent(concat!("kelp/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .timeout(STALL)
        .redirect(policy)
        .hickory_dns(true)
        .build()
}

fn is_allowed(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && loopback
}

/// Without user and password, which would end up in terminals and logs.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `answers`, whole or cut short as they are.
    fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        format!("http://{address}/x")
    }

    fn ok(body: &str, length: usize) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[test]
    fn a_file_and_a_redirect_to_it() {
        let file = serve(vec![ok("hello", 5)]);
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nLocation: {file}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut text = String::new();
        download(&serve(vec![redirect])).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let mut body = download(&serve(vec![ok("hello", 50)])).unwrap();
        assert!(body.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn refusals() {
        let missing = serve(vec!["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()]);
        assert!(matches!(download(&missing), Err(Error::Status { .. })));
        assert!(matches!(download("http://example.com/x"), Err(Error::PlainHttp { .. })));
        assert!(matches!(download("ftp://localhost/x"), Err(Error::Url { .. })));
        let away = "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(download(&serve(vec![away.into()])), Err(Error::Request { .. })));
    }

    #[test]
    fn passwords_are_not_shown() {
        let error = download("http://user:secret@example.com/x").unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains("user"), "{error}");
    }
}
