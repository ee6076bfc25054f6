//! HTTP as the tests need it: a client for one request, and a server that records every request and answers as a
//! closure says. Between kelp and a real registry it is a proxy that misbehaves; alone it is a registry that lies.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The same as it came.
    pub bytes: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/")
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// The server behind answers.
    Pass,
    /// It answers, and the connection breaks after so many bytes of its body.
    CutAfter(usize),
    /// It answers, and after so many bytes of its body nothing comes any more.
    StallAfter(usize),
    /// It answers, and one byte of its body is another.
    Flip(usize),
    /// It answers with this instead of its Content-Length.
    ClaimLength(usize),
    /// No answer.
    HangUp,
    /// The server behind answers, and what it calls its own place is at this host.
    Lead(String),
    Say(Answer),
}

type Rule = dyn Fn(&Seen, usize) -> Act + Send + Sync;

/// A server on loopback, until it is dropped.
pub struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    served: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// `rule` is given each request and how many came before it. `behind` is where passed requests go.
    pub fn start(behind: Option<u16>, rule: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            served: Arc::default(),
            ended: Arc::default(),
        };
        let (seen, served, ended) = (server.seen.clone(), server.served.clone(), server.ended.clone());
        let rule: Arc<Rule> = Arc::new(rule);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, served, ended) = (seen.clone(), served.clone(), ended.clone());
                let rule = Arc::clone(&rule);
                thread::spawn(move || handle(stream.unwrap(), behind, &*rule, &seen, &served, &ended));
            }
        });
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Bytes of bodies sent since the last call.
    pub fn served(&self) -> u64 {
        self.served.swap(0, Ordering::Relaxed)
    }

    /// Forgets the requests seen so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the one that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn handle(
    mut stream: TcpStream,
    behind: Option<u16>,
    rule: &Rule,
    seen: &Mutex<Vec<Seen>>,
    served: &AtomicU64,
    ended: &AtomicBool,
) {
    let Some(request) = read_request(&mut stream) else { return };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let act = rule(&request, before);
    if let Act::HangUp = act {
        let _ = stream.shutdown(Shutdown::Both);
        return;
    }
    let answer = match (&act, behind) {
        (Act::Say(answer), _) => answer.clone(),
        (_, Some(port)) => {
            let headers = request.headers.iter().filter(|(n, _)| n.as_str() != "host");
            let headers: Vec<_> = headers.map(|(n, v)| (n.as_str(), v.as_str())).collect();
            call(port, &request.method, &request.path, &headers, &request.bytes)
        }
        _ => Answer::new(404, ""),
    };
    let head_only = request.method == "HEAD" || answer.status == 304;
    let mut body = if head_only { Vec::new() } else { answer.body.clone() };
    let mut length = body.len().to_string();
    if head_only && let Some(stated) = answer.header("content-length") {
        length = stated.to_owned();
    }
    match act {
        Act::Flip(at) if at < body.len() => body[at] ^= 0x40,
        Act::ClaimLength(claim) => length = claim.to_string(),
        _ => {}
    }
    let mut text =
        format!("HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        if !["connection", "content-length", "transfer-encoding"].contains(&name.to_lowercase().as_str()) {
            let host = match &act {
                Act::Lead(host) => Some(host.as_str()),
                Act::Say(_) => None,
                // The server behind calls itself by its own name.
                _ => request.header("host"),
            };
            let value = match host {
                Some(host) if name.eq_ignore_ascii_case("location") => led_to(host, value),
                _ => value.clone(),
            };
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    let end = match act {
        Act::CutAfter(n) | Act::StallAfter(n) => n.min(body.len()),
        _ => body.len(),
    };
    let sent = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(&body[..end]));
    if sent.is_ok() {
        served.fetch_add(end as u64, Ordering::Relaxed);
    }
    if matches!(act, Act::StallAfter(n) if n <= body.len()) {
        while !ended.load(Ordering::Relaxed) && !is_closed(&mut stream) {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// The path of `location` on another host.
fn led_to(host: &str, location: &str) -> String {
    location
        .find("/v2/")
        .map_or_else(|| location.to_owned(), |at| format!("http://{host}{}", &location[at..]))
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(e) => !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let (head, mut body) = read_head(stream)?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines.filter_map(split_header).collect();
    let length = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    while body.len() < length {
        let mut chunk = vec![0; length - body.len()];
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&chunk[..n]);
    }
    Some(Seen { method, path, headers, body: String::from_utf8_lossy(&body).into_owned(), bytes: body })
}

fn split_header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_lowercase(), value.trim().to_owned()))
}

/// The head as text, and what came of the body with it.
fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let body = bytes.split_off(at + 4);
            return Some((String::from_utf8_lossy(&bytes).into_owned(), body));
        }
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    }
}

/// One request to a server on this machine, on a connection of its own.
pub fn call(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        if !["connection", "content-length"].contains(&name.to_lowercase().as_str()) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !body.is_empty() || method != "GET" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let (head, mut rest) = read_head(&mut stream).expect("an answer");
    stream.read_to_end(&mut rest).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines.filter_map(split_header).collect();
    if headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked") {
        rest = unchunked(&rest);
    }
    Answer { status, headers, body: rest }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(at) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap().trim(), 16).unwrap();
        whole.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes = &bytes[at + 2 + size + 2..];
        if size == 0 {
            break;
        }
    }
    whole
}

/// A door that lets TLS through to a port, and shuts on everything else without a word, as most servers of TLS do.
pub struct Curt {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Curt {
    pub fn before(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), ears) = (client, Arc::clone(&ears)) else { return };
                thread::spawn(move || pass_tls(client, behind, &ears));
            }
        });
        Self { port, heard }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was said in plain words.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

fn pass_tls(mut client: TcpStream, behind: u16, ears: &Mutex<Vec<u8>>) {
    let mut first = [0; 4096];
    let Ok(n) = client.read(&mut first) else { return };
    // A handshake begins with this byte.
    if first[..n].first() != Some(&22) {
        ears.lock().unwrap().extend_from_slice(&first[..n]);
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", behind)) else { return };
    let _ = server.write_all(&first[..n]);
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
}
