//! Sequences of FUSE requests that go deep: each names nodes that the server told of, names that are there, and numbers
//! that mean something, all chosen by a few bytes, so that a short input is a long sequence. One in sixteen is
//! arbitrary.
//!
//! Every request is waited for. That is what a fuzzer learns from: the same bytes do the same.

use std::os::unix::net::UnixDatagram;

use super::requests::{DESTROY, FORGET, INIT, LOOKUP, send};

/// Choices, one after another; zeros when there are no more.
#[derive(Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[usize::from(self.byte()) % from.len()]
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to so many bytes as they come.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// Names that trees and requests are made of.
pub const NAMES: &[&[u8]] = &[
    b"file",
    b"dir",
    b"new",
    b"deep",
    b"link",
    b"fifo",
    b"sock",
    b"gone",
    b"loop",
    b"up",
    b".wh.file",
    b".wh..wh..opq",
    b".wh..wh..plnk",
    b".wh.",
    b".wh..",
    b".wh.dir",
    b".wh..wh.file",
    b"...",
    b"\x01\n\x7f",
    b"\xff\xfe\xc3",
    b" ",
    b"-",
    b"work",
    b"probe",
    b"user.overlay.opaque",
    &[b'n'; 255],
    &[b'n'; 256],
    b".",
    b"..",
    b"",
    b"../outside",
    b"a/b",
];
const ATTRIBUTES: &[&[u8]] = &[
    b"user.x",
    b"user.y",
    b"user.overlay.opaque",
    b"user.overlay.redirect",
    b"user.overlay.overlay.opaque",
    b"user.containers.override_stat",
    b"security.capability",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"trusted.overlay.opaque",
    b"user.",
    b"",
    &[b'u'; 256],
];
const OFFSETS: &[u64] =
    &[0, 1, 7, 4095, 4096, 4097, 65_536, 1 << 20, 1 << 31, (1 << 40) - 1, 1 << 62, i64::MAX as u64, u64::MAX];
const SIZES: &[u32] = &[0, 1, 2, 64, 300, 4096, 65_536, 1 << 20, u32::MAX];
const MODES: &[u32] = &[
    0o100_644,
    0o100_000,
    0o104_755,
    0o102_777,
    0o40_755,
    0o41_777,
    0o20_000,
    0o10_600,
    0o140_600,
    0o60_600,
    0,
    u32::MAX,
];
const FLAGS: &[u32] = &[0, 1, 2, 0o1001, 0o2002, 0o100, 0o300, 0o40_000, 0o200_000, 0o20_200_000, u32::MAX];
const IDS: &[u32] = &[0, 0, 0, 1, 1000, 65_534, u32::MAX];

/// The kernel's end of a connection.
#[derive(Debug)]
pub struct Client<'a> {
    socket: &'a UnixDatagram,
    unique: u64,
    /// What the server told of.
    nodes: Vec<u64>,
    buffer: Vec<u8>,
}

impl<'a> Client<'a> {
    pub fn new(socket: &'a UnixDatagram) -> Self {
        Self { socket, unique: 10, nodes: vec![1], buffer: vec![0; 1 << 21] }
    }

    /// Sends a request and waits for its answer: the errno, or what is in it.
    pub fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<&[u8], i32> {
        self.unique += 1;
        send(self.socket, self.unique, opcode, node, body);
        self.wait()
    }

    fn wait(&mut self) -> Result<&[u8], i32> {
        loop {
            let length = self.socket.recv(&mut self.buffer).expect("every request has its answer");
            let (error, unique) = (number32(&self.buffer, 4).cast_signed(), number(&self.buffer, 8));
            // What the server says of itself has no number.
            if unique == self.unique {
                return if error == 0 { Ok(&self.buffer[16..length]) } else { Err(error) };
            }
        }
    }

    /// What is to have no answer, and one that has, behind it.
    fn tell(&mut self, opcode: u32, node: u64, body: &[u8]) {
        const STATFS: u32 = 17;
        self.unique += 1;
        send(self.socket, self.unique, opcode, node, body);
        self.ask(STATFS, 1, &[]).expect("the file system has figures");
    }

    /// As [`Self::ask`], for what answers with a node.
    fn enter(&mut self, opcode: u32, node: u64, body: &[u8]) -> Option<u64> {
        let entered =
            self.ask(opcode, node, body).ok().filter(|answer| answer.len() >= 8).map(|a| number(a, 0))?;
        if entered != 0 && self.nodes.len() < 200 {
            self.nodes.push(entered);
        }
        Some(entered)
    }

    pub fn look_up(&mut self, node: u64, name: &[u8]) -> Option<u64> {
        self.enter(LOOKUP, node, &[name, b"\0"].concat())
    }

    fn node(&self, choices: &mut Choices<'_>) -> u64 {
        let choice = choices.byte();
        // A node that never was, now and then.
        if choice == 255 { 12_345 } else { self.nodes[usize::from(choice) % self.nodes.len()] }
    }

    /// One request.
    pub fn step(&mut self, choices: &mut Choices<'_>) {
        let (what, node) = (choices.byte(), self.node(choices));
        let name = [*choices.pick(NAMES), b"\0"].concat();
        match what % 32 {
            0..=3 => done(self.enter(LOOKUP, node, &name)),
            4 => self.tell(FORGET, node, &u64::from(choices.byte() % 4).to_ne_bytes()),
            5 => done(self.ask(3, node, &[0; 16]).map(drop)),
            6 | 7 => done(self.ask(4, node, &set_attributes(choices)).map(drop)),
            8 => done(self.ask(5, node, &[]).map(drop)),
            9 => done(self.enter(6, node, &[&name, *choices.pick(NAMES), b"\0"].concat())),
            10 => done(self.enter(8, node, &with_name(&[*choices.pick(MODES), 0, 0, 0], &name))),
            11 | 12 => done(self.enter(9, node, &with_name(&[*choices.pick(MODES), 0], &name))),
            13 => done(self.ask(10, node, &name).map(drop)),
            14 => done(self.ask(11, node, &name).map(drop)),
            15 | 16 => self.rename(node, &name, choices),
            17 => {
                let old = self.node(choices);
                done(self.enter(13, node, &[&old.to_ne_bytes()[..], &name].concat()));
            }
            18 => done(self.ask(14, node, &words(&[*choices.pick(FLAGS), 0])).map(drop)),
            19 => done(self.ask(15, node, &range(choices)).map(drop)),
            20 | 21 => self.write(node, choices),
            22 => done(self.ask(28 + 16 * u32::from(choices.byte() % 2), node, &range(choices)).map(drop)),
            23 | 24 => self.attribute(node, choices),
            25 => {
                let flags = *choices.pick(FLAGS);
                done(self.enter(35, node, &with_name(&[flags, *choices.pick(MODES), 0, 0], &name)));
            }
            26 => done(
                self.ask(
                    43,
                    node,
                    &longs(&[0, *choices.pick(OFFSETS) % (1 << 24), 1 << 16, u64::from(choices.byte() % 64)]),
                )
                .map(drop),
            ),
            27 => done(
                self.ask(46, node, &longs(&[0, *choices.pick(OFFSETS), u64::from(choices.byte() % 6)]))
                    .map(drop),
            ),
            28 => {
                let (to, [from_at, to_at]) =
                    (self.node(choices), [*choices.pick(OFFSETS), *choices.pick(OFFSETS) % (1 << 24)]);
                done(self.ask(47, node, &longs(&[0, from_at, to, 0, to_at, 1 << 16, 0])).map(drop));
            }
            29 => done(
                self.ask(*choices.pick(&[18, 20, 25, 27, 29, 30, 34, 39, 51, 52]), node, &[0; 32]).map(drop),
            ),
            _ => self.arbitrary(node, choices),
        }
    }

    fn rename(&mut self, node: u64, name: &[u8], choices: &mut Choices<'_>) {
        let mut body = self.node(choices).to_ne_bytes().to_vec();
        let flags = choices.byte() % 8;
        if flags != 7 {
            body.extend(words(&[u32::from(flags), 0]));
        }
        body.extend([name, *choices.pick(NAMES), b"\0"].concat());
        let _ = self.ask(if flags == 7 { 12 } else { 45 }, node, &body);
    }

    fn write(&mut self, node: u64, choices: &mut Choices<'_>) {
        let data = vec![choices.byte(); usize::from(choices.byte()) * 40];
        // No disk is filled.
        let at = *choices.pick(OFFSETS);
        let at = if at < 1 << 40 { at % (1 << 24) } else { at };
        let mut body = longs(&[0, at]);
        body.extend(words(&[
            u32::try_from(data.len()).unwrap(),
            u32::from(choices.byte() % 8),
            0,
            0,
            *choices.pick(FLAGS),
            0,
        ]));
        body.extend(data);
        let _ = self.ask(16, node, &body);
    }

    fn attribute(&mut self, node: u64, choices: &mut Choices<'_>) {
        let name = [*choices.pick(ATTRIBUTES), b"\0"].concat();
        let size = *choices.pick(SIZES);
        let _ = match choices.byte() % 4 {
            0 => self.ask(22, node, &with_name(&[size, 0], &name)),
            1 => self.ask(23, node, &words(&[size, 0])),
            2 => self.ask(24, node, &name),
            _ => {
                let value = vec![choices.byte(); size.min(70_000) as usize];
                let head = words(&[u32::try_from(value.len()).unwrap(), u32::from(choices.byte() % 4)]);
                self.ask(21, node, &[head, name, value].concat())
            }
        };
    }

    fn arbitrary(&mut self, node: u64, choices: &mut Choices<'_>) {
        let opcode = u32::from(choices.byte() % 54);
        let length = usize::from(choices.byte());
        let mut body = choices.take(length);
        if opcode != INIT && opcode != DESTROY {
            super::requests::agree_with_itself(opcode, &mut body);
            self.tell(opcode, node, &body);
        }
    }

    /// Looks at all that can be reached, up to some hundreds of objects, in every way that reads.
    pub fn survey(&mut self) {
        let mut todo = vec![(1, 0)];
        let mut seen = 0;
        while let Some((node, depth)) = todo.pop() {
            seen += 1;
            for (opcode, body) in [
                (3, vec![0; 16]),
                (5, Vec::new()),
                (23, words(&[65_536, 0])),
                (22, with_name(&[65_536, 0], b"user.overlay.opaque\0")),
                (15, longs(&[0, 0, 4096, 0, 0])),
                (28, longs(&[0, 0, 65_536, 0, 0])),
                (44, longs(&[0, 0, 65_536, 0, 0])),
            ] {
                let _ = self.ask(opcode, node, &body);
            }
            for name in NAMES {
                if depth < 8 && seen + todo.len() < 300 {
                    todo.extend(self.look_up(node, name).filter(|n| *n != 0).map(|n| (n, depth + 1)));
                }
            }
        }
    }
}

/// What came of it is the server's business.
fn done<T>(_: T) {}

fn set_attributes(choices: &mut Choices<'_>) -> Vec<u8> {
    // Mode, ids, size, times, and that they be now.
    let valid = u32::from(choices.byte()) | u32::from(choices.byte() & 0x0f) << 8;
    let mut body = words(&[valid, 0]);
    body.extend(longs(&[0, *choices.pick(OFFSETS) % (1 << 24), 0, u64::from(choices.byte()) << 24, 0, 0]));
    body.extend(words(&[
        0,
        u32::from(choices.byte()) << 22,
        0,
        *choices.pick(MODES),
        0,
        *choices.pick(IDS),
        *choices.pick(IDS),
        0,
    ]));
    body
}

/// The numbers of READ, READDIR and READDIRPLUS. A socket has no room for longer answers.
fn range(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut body = longs(&[0, *choices.pick(OFFSETS)]);
    body.extend(words(&[(*choices.pick(SIZES)).min(65_536), 0, 0, 0, 0, 0]));
    body
}

fn with_name(numbers: &[u32], name: &[u8]) -> Vec<u8> {
    [&words(numbers), name].concat()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_ne_bytes()).collect()
}

fn longs(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_ne_bytes()).collect()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}
