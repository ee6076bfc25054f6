//! One HTTP GET as a reader.

use std::io::{self, Read};

use reqwest::{Method, Response, Url};
use tokio::runtime::Runtime;

use super::http::{self, Request};
use super::{Client, Error, Result, runtime};

/// Bytes of one download.
const MAX_SIZE: u64 = 256 << 30;

/// The body, read as it arrives.
#[derive(Debug)]
pub struct Download {
    name: String,
    runtime: Runtime,
    response: Response,
    piece: bytes::Bytes,
    left: u64,
}

impl Download {
    /// The URL as it was given, without user, password and query.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let next = self.runtime.block_on(http::chunk(&mut self.response));
            let Some(piece) = next.map_err(io::Error::other)? else { return Ok(0) };
            self.left = self
                .left
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "the download is too large"))?;
            self.piece = piece;
        }
        let n = self.piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// Begins to download `url`. Proxies are those of the usual variables.
pub fn download(client: &Client, url: &str) -> Result<Download> {
    let parsed = Url::parse(url).map_err(|e| Error::Url { url: bare(url), reason: e.to_string() })?;
    let shown = http::shown(&parsed);
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(Error::Url { url: shown, reason: "http:// or https:// is expected".into() });
    }
    let runtime = runtime::new()?;
    let response = runtime.block_on(client.http.send(Request::new(Method::GET, parsed)))?;
    let status = response.status();
    if !status.is_success() {
        return Err(Error::Status { url: shown, status: status.as_u16(), reason: String::new() });
    }
    match response.content_length() {
        Some(size) if size > MAX_SIZE => Err(Error::TooLarge { url: shown, size, limit: MAX_SIZE }),
        _ => Ok(Download { name: shown, runtime, response, piece: bytes::Bytes::new(), left: MAX_SIZE }),
    }
}

/// What is no URL may still have a password in it.
fn bare(text: &str) -> String {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::config::Config;

    fn get(url: &str) -> Result<Download> {
        download(&Client::new(&Config::load().unwrap()), url)
    }

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
        get(&serve(vec![redirect])).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let mut body = get(&serve(vec![ok("hello", 50)])).unwrap();
        assert!(body.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn refusals() {
        let missing = serve(vec!["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()]);
        assert!(matches!(get(&missing), Err(Error::Status { .. })));
        assert!(matches!(get("http://example.com/x"), Err(Error::PlainHttp { .. })));
        assert!(matches!(get("ftp://localhost/x"), Err(Error::Url { .. })));
        let away = "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(get(&serve(vec![away.into()])), Err(Error::PlainHttp { .. })));
    }

    /// T-redact.
    #[test]
    fn passwords_are_not_shown() {
        for url in ["http://user:secret@example.com/x", "http//user:secret@example.com/x"] {
            let error = get(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("user"), "{error}");
        }
    }
}
