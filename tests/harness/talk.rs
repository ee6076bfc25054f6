//! Servers that tests of networks talk to, in threads; each ends with the process or when it is dropped by all.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::sandbox::Sandbox;
use super::within;

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes that no compression or repetition would get right by chance.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        })
        .collect()
}

/// Sends `bytes` to everybody who connects, and notes whom it came to.
pub fn give(listener: TcpListener, bytes: Vec<u8>) -> Arc<Mutex<Vec<SocketAddr>>> {
    let seen: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let (noted, bytes) = (Arc::clone(&seen), Arc::new(bytes));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            noted.lock().unwrap().push(stream.peer_addr().unwrap());
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || stream.write_all(&bytes));
        }
    });
    seen
}

/// Reads one connection to its end and answers with the digest of what came.
pub fn take(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(sha256(&bytes).as_bytes());
        }
    });
}

/// A name server for A records, over UDP and TCP at one address.
#[derive(Debug, Clone)]
pub struct NameServer {
    /// Names, and how often each was asked for by UDP and by TCP.
    asked: Arc<Mutex<BTreeMap<(String, &'static str), usize>>>,
    /// The answer to every name; `None` is silence.
    answer: Option<Ipv4Addr>,
    /// UDP answers say that they were cut short.
    truncates: bool,
}

impl NameServer {
    pub fn start(udp: UdpSocket, tcp: TcpListener, answer: Option<Ipv4Addr>, truncates: bool) -> Self {
        let server = Self { asked: Arc::default(), answer, truncates };
        let own = server.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                if let Some(reply) = own.reply(&buffer[..length], "udp") {
                    let _ = udp.send_to(&reply, from);
                }
            }
        });
        let own = server.clone();
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let (own, Ok(mut stream)) = (own.clone(), stream) else { return };
                thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut query).unwrap();
                        let Some(reply) = own.reply(&query, "tcp") else { return };
                        let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                        if stream.write_all(&[&length[..], &reply].concat()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        server
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str, by: &'static str) -> usize {
        self.asked.lock().unwrap().get(&(name.to_owned(), by)).copied().unwrap_or_default()
    }

    /// All names that were asked for.
    pub fn names(&self) -> Vec<String> {
        self.asked.lock().unwrap().keys().map(|(name, _)| name.clone()).collect()
    }

    fn reply(&self, query: &[u8], by: &'static str) -> Option<Vec<u8>> {
        let (mut name, mut at) = (Vec::new(), 12);
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
            at = end;
        }
        *self.asked.lock().unwrap().entry((name.join("."), by)).or_default() += 1;
        let answer = self.answer?;
        let cut = self.truncates && by == "udp";
        let is_a = query[at + 1..at + 3] == [0, 1];
        let mut reply = query[..at + 5].to_vec();
        reply[2] = if cut { 0x83 } else { 0x81 };
        reply[3] = 0x80;
        reply[6..12].copy_from_slice(&[0, u8::from(is_a && !cut), 0, 0, 0, 0]);
        if is_a && !cut {
            reply.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            reply.extend_from_slice(&answer.octets());
        }
        Some(reply)
    }
}

/// Both sockets of a name server at port 53. A socket that was there before is closed later than its owner thinks: a
/// program that another thread is starting has a copy until it runs.
pub fn name_sockets(ip: IpAddr) -> (UdpSocket, TcpListener) {
    let mut bound = None;
    super::within(super::command::LIMIT, || {
        bound = UdpSocket::bind((ip, 53)).ok();
        bound.is_some()
    });
    (bound.unwrap_or_else(|| UdpSocket::bind((ip, 53)).unwrap()), TcpListener::bind((ip, 53)).unwrap())
}

/// Starts a container of the network whose published port [`answers`], and gives the port's address on the host.
pub fn start_answering(s: &Sandbox, name: &str, network: &str) -> String {
    let serve = "while true; do echo answered | nc -l -p 80; done";
    let run = [
        "run",
        "-d",
        "--name",
        name,
        "--network",
        network,
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        serve,
    ];
    s.ok(run.map(str::to_owned).to_vec());
    s.ok(&format!("port {name} 80")).text().to_owned()
}

/// Whether what [`start_answering`] has started does so, within a while.
pub fn answers(at: &str) -> bool {
    let read = || {
        let mut text = String::new();
        let mut client = std::net::TcpStream::connect(at)?;
        client.set_read_timeout(Some(Duration::from_secs(2)))?;
        client.read_to_string(&mut text).map(|_| text)
    };
    within(Duration::from_secs(10), || read().is_ok_and(|text| text == "answered\n"))
}
