//! Requests as no kernel sends them, over layers as nobody makes them: every answer is an answer.
//!
//! The server is given a socket for its device. What is sent has a header that is right, without which it would be
//! no request, and is arbitrary otherwise.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kelp::overlay::{Layers, Options, Server, Upper};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

pub const LOOKUP: u32 = 1;
pub const FORGET: u32 = 2;
const SETATTR: u32 = 4;
const RENAME: u32 = 12;
const LINK: u32 = 13;
const WRITE: u32 = 16;
const SETXATTR: u32 = 21;
const INIT: u32 = 26;
pub const DESTROY: u32 = 38;
const IOCTL: u32 = 39;
const FALLOCATE: u32 = 43;
const RENAME2: u32 = 45;
const COPY_RANGE: u32 = 47;
const HEADER: usize = 40;
const VERSION: [u32; 4] = [7, 40, 1 << 20, u32::MAX];

/// Plays requests that `bytes` stand for, in `base`, which is empty. What is done to layers that nobody mounted can
/// only concern what is in them.
pub fn play(base: &Path, bytes: &[u8]) {
    let layers = hostile(base);
    let (kernel, device) = UnixDatagram::pair().unwrap();
    let options = Options { workers: 1, ..Options::default() };
    let server = Server::on(OwnedFd::from(device), layers, options).unwrap();
    let known = Arc::new(Mutex::new(vec![0, 1, 1, u64::MAX]));
    kernel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let answers = kernel.try_clone().unwrap();
    let ids = Arc::clone(&known);
    let listener = std::thread::spawn(move || listen(&answers, &ids));
    let server = std::thread::spawn(move || server.serve());
    greet(&kernel);
    let mut rest = bytes;
    let mut unique = 2;
    while let Some(([opcode, node, length, tail], more)) = rest.split_first_chunk::<4>() {
        let opcode = u32::from(*opcode % 54);
        // Most are as long as they have to be.
        let length = if *length < 220 { numbers_of(opcode) } else { usize::from(*length) };
        let (body, more) = more.split_at(more.len().min(length));
        rest = more;
        if opcode == INIT || opcode == DESTROY {
            continue;
        }
        let (node, other) = {
            let known = known.lock().unwrap();
            let pick = |byte: u8| known[usize::from(byte) % known.len()];
            (pick(*node), pick(body.first().copied().unwrap_or_default()))
        };
        let mut body = body.to_vec();
        let refers_at = if opcode == COPY_RANGE { 16 } else { 0 };
        if matches!(opcode, RENAME | LINK | RENAME2 | COPY_RANGE) && body.len() >= refers_at + 8 {
            body[refers_at..refers_at + 8].copy_from_slice(&other.to_ne_bytes());
        }
        // What most requests have behind their numbers is a name.
        body.extend_from_slice(NAMES[usize::from(*tail) % NAMES.len()]);
        agree_with_itself(opcode, &mut body);
        send(&kernel, unique, opcode, node, &body);
        unique += 1;
    }
    send(&kernel, u64::MAX, DESTROY, 0, &[]);
    let ended = server.join();
    assert!(matches!(ended, Ok(Ok(()))), "the server ended otherwise than it was told to: {ended:?}");
    listener.join().unwrap();
    assert_eq!(fs::read(base.join("outside")).unwrap(), b"never");
    assert_eq!(fs::read(base.join("l0/file")).unwrap(), b"content");
}

const NAMES: &[&[u8]] = &[
    b"",
    b"file\0",
    b"dir\0",
    b"new\0",
    b"dir\0new\0",
    b"file\0other\0",
    b"fifo\0",
    b"gone\0",
    b".\0",
    b"..\0",
    b"../outside\0",
    b"up\0",
    b"loop\0",
    b"sock\0",
    b"user.overlay.opaque\0",
    b"user.x\0value",
    b"\xff\xfe\0",
    b"loop\0up\0",
    b".wh.file\0",
    b"name without an end",
];

/// How many bytes of numbers a request has before its names or data, linux/fuse.h.
fn numbers_of(opcode: u32) -> usize {
    match opcode {
        SETATTR => 88,
        COPY_RANGE => 56,
        15 | WRITE | 28 | 44 => 40,
        IOCTL | FALLOCATE => 32,
        18 | 25 | 29 | 40 | 46 | 52 => 24,
        3 | 8 | 20 | 30 | 35 | 37 | RENAME2 => 16,
        2 | 9 | RENAME | LINK | 14 | SETXATTR | 22 | 23 | 27 | 34 | 36 | 42 => 8,
        _ => 0,
    }
}

/// What fuser 0.18 takes for granted of a kernel: that the length of data is the one given, and that times are not at
/// the end of what 64 bits hold.
fn agree_with_itself(opcode: u32, body: &mut Vec<u8>) {
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

/// Remembers the nodes that answers tell of, until the last one.
fn listen(answers: &UnixDatagram, known: &Mutex<Vec<u64>>) {
    let mut buffer = vec![0; 1 << 21];
    loop {
        let length = answers.recv(&mut buffer).expect("every request has its answer");
        let number = |at: usize| u64::from_ne_bytes(buffer[at..at + 8].try_into().unwrap());
        if number(8) == u64::MAX {
            return;
        }
        if length >= 24 {
            let mut known = known.lock().unwrap();
            if known.len() < 40 {
                known.push(number(16));
            }
        }
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

/// Two lower layers that contradict each other and point out of themselves, and an upper one.
fn hostile(base: &Path) -> Layers {
    let at = |name: &str| base.join(name);
    for dir in ["l0/dir/deep", "l0/up", "l1/file", "l1/dir", "l1/gone", "upper", "work"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    fs::write(at("outside"), "never").unwrap();
    fs::write(at("l0/file"), "content").unwrap();
    fs::hard_link(at("l0/file"), at("l0/dir/link")).unwrap();
    symlink("../outside", at("l1/up")).unwrap();
    symlink("loop", at("l0/loop")).unwrap();
    symlink("/", at("l1/dir/deep")).unwrap();
    let special = [
        ("l0/fifo", FileType::Fifo),
        ("l0/sock", FileType::Socket),
        ("l0/gone", FileType::CharacterDevice),
        ("l1/dir/gone", FileType::CharacterDevice),
        ("upper/loop", FileType::CharacterDevice),
    ];
    for (name, kind) in special {
        // Whoever may not make devices has no whiteouts in his layers.
        let _ = rustix::fs::mknodat(CWD, at(name), kind, Mode::RUSR | Mode::WUSR, 0);
    }
    fs::write(at("l0/.wh.file"), "").unwrap();
    for name in ["n".repeat(255), "\u{1}\n".into(), "...".into()] {
        fs::write(at("l1").join(name), "x").unwrap();
    }
    let attributes: [(&str, &str, &[u8]); 5] = [
        ("l0/dir", "user.overlay.opaque", &[b'z'; 1000]),
        ("l1/dir", "user.overlay.redirect", b"/../../../etc"),
        ("l0/file", "user.overlay.metacopy", b""),
        ("l0/file", "user.containers.override_stat", b"4294967296:-1:99999999999"),
        ("l0/file", "user.x", &[0; 2000]),
    ];
    for (path, name, value) in attributes {
        let _ = rustix::fs::lsetxattr(at(path), name, value, XattrFlags::empty());
    }
    let open = |name: &str| -> OwnedFd { File::open(at(name)).unwrap().into() };
    Layers {
        lowers: vec![open("l0"), open("l1")],
        upper: Some(Upper { dir: open("upper"), work: open("work") }),
    }
}
