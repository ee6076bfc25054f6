//! Requests as no kernel sends them, over layers as nobody makes them: every answer is an answer, and what lies below
//! or beside the upper layer stays as it was.
//!
//! The server is given a socket for its device. What is sent has a header that is right, without which it would be
//! no request, and is whatever the bytes choose otherwise.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use kelp::overlay::{Layers, Options, Server};

use super::hostile;
use super::sequence::{Choices, Client};

pub const LOOKUP: u32 = 1;
pub const FORGET: u32 = 2;
const SETATTR: u32 = 4;
const WRITE: u32 = 16;
const SETXATTR: u32 = 21;
pub const INIT: u32 = 26;
pub const DESTROY: u32 = 38;
const IOCTL: u32 = 39;
const FALLOCATE: u32 = 43;
const COPY_RANGE: u32 = 47;
const HEADER: usize = 40;
const VERSION: [u32; 4] = [7, 40, 1 << 20, u32::MAX];

/// Plays requests that `bytes` stand for over the fixed layers, in `base`, which is empty. What is done to layers that
/// nobody mounted can only concern what is in them.
pub fn play(base: &Path, bytes: &[u8]) {
    let layers = hostile::fixed(base);
    serve(base, layers, |client| {
        let mut choices = Choices(bytes);
        while !choices.is_empty() {
            client.step(&mut choices);
        }
    });
}

/// Makes layers that the beginning of `bytes` stands for, looks at all of them, and plays the rest.
pub fn explore(base: &Path, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let layers = hostile::grown(base, &mut choices);
    serve(base, layers, |client| {
        client.survey();
        while !choices.is_empty() {
            client.step(&mut choices);
        }
    });
}

fn serve(base: &Path, layers: Layers, ask: impl FnOnce(&mut Client<'_>)) {
    let before = hostile::untouchable(base);
    let (kernel, device) = UnixDatagram::pair().unwrap();
    let options = Options { workers: 1, ..Options::default() };
    let server = Server::on(OwnedFd::from(device), layers, options).unwrap();
    kernel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let server = std::thread::spawn(move || server.serve());
    greet(&kernel);
    kernel.recv(&mut [0; 1024]).expect("the greeting has its answer");
    ask(&mut Client::new(&kernel));
    send(&kernel, u64::MAX, DESTROY, 0, &[]);
    let ended = server.join();
    assert!(matches!(ended, Ok(Ok(()))), "the server ended otherwise than it was told to: {ended:?}");
    let after = hostile::untouchable(base);
    assert!(before == after, "what is not the upper layer has changed: {before:#?}\n{after:#?}");
}

/// What fuser 0.18 takes for granted of a kernel: that the length of data is the one given, and that times are not at
/// the end of what 64 bits hold.
pub fn agree_with_itself(opcode: u32, body: &mut Vec<u8>) {
    let length = |n: usize| u32::try_from(n).unwrap().to_ne_bytes();
    match opcode {
        SETATTR => {
            body.resize(body.len().max(88), 0);
            for last in [39, 47, 55] {
                body[last] = if body[last] & 0x80 == 0 { body[last] & 0x3f } else { 0xff };
            }
        }
        WRITE => {
            body.resize(body.len().max(40), 0);
            let size = length(body.len() - 40);
            body[16..20].copy_from_slice(&size);
        }
        SETXATTR => {
            body.resize(body.len().max(9), 0);
            let value = body[8..].iter().position(|b| *b == 0).map_or(body.len(), |end| 8 + end + 1);
            let size = length(body.len() - value);
            body[..4].copy_from_slice(&size);
        }
        // No disk is filled.
        FALLOCATE | COPY_RANGE => {
            body.resize(body.len().max(56), 0);
            let lengths = if opcode == FALLOCATE { [8, 16] } else { [32, 40] };
            lengths.iter().for_each(|at| body[at + 3..at + 8].fill(0));
        }
        IOCTL => {
            body.resize(body.len().max(32), 0);
            let size = length(body.len() - 32);
            body[24..28].copy_from_slice(&size);
        }
        _ => {}
    }
}

/// The first request.
pub fn greet(kernel: &UnixDatagram) {
    let mut body: Vec<u8> = VERSION.iter().flat_map(|n| n.to_ne_bytes()).collect();
    body.resize(64, 0);
    send(kernel, 1, INIT, 0, &body);
}

pub fn send(kernel: &UnixDatagram, unique: u64, opcode: u32, node: u64, body: &[u8]) {
    let mut packet = Vec::with_capacity(HEADER + body.len());
    packet.extend_from_slice(&u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
    packet.extend_from_slice(&opcode.to_ne_bytes());
    packet.extend_from_slice(&unique.to_ne_bytes());
    packet.extend_from_slice(&node.to_ne_bytes());
    packet.extend_from_slice(&[0; 16]);
    packet.extend_from_slice(body);
    // The server may have ended, which is found when it is asked how.
    let _ = kernel.send(&packet);
}
