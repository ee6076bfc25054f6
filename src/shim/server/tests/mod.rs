//! Real processes, real sockets: a server in a thread, clients that speak the protocol.

mod exec;

use std::collections::BTreeMap;
use std::io::{IoSlice, Read};
use std::process::{Command, Stdio as Std};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::runtime::handshake::{self, ProcessEnd};
use crate::shim::log::{Record, blocks};
use crate::shim::{Error, client};

/// Signals go to the process; `exec` runs the command line that the request is. One of `sleep` that begins with
/// `stopped` is a process that somebody stopped on its way to its program.
struct Real {
    pidfd: OwnedFd,
    stopped: Vec<ProcessEnd>,
}

impl Handler for Real {
    fn signal(&mut self, signal: i32) -> std::result::Result<(), Failure> {
        process::signal(&self.pidfd, signal).map_err(|e| Failure {
            status: 1,
            message: e.to_string(),
            hint: None,
            taken: None,
        })
    }

    fn exec(&mut self, request: &[u8], stdio: Vec<OwnedFd>) -> std::result::Result<ExecForked, Failure> {
        let mut line: Vec<String> = serde_json::from_slice(request).unwrap();
        let (talk, process_end) = handshake::pair().unwrap();
        let mut patience = Duration::from_secs(10);
        if line[0] == "stopped" {
            line.remove(0);
            patience = Duration::from_secs(2);
            self.stopped.push(process_end);
            let (_, closed) = handshake::pair().unwrap();
            return self.spawn(&line, stdio, talk, closed, patience);
        }
        self.spawn(&line, stdio, talk, process_end, patience)
    }

    fn network(&mut self, _: &[u8], _: &mut Way) -> std::result::Result<(), Failure> {
        Err(Failure { status: 1, message: "no container".into(), hint: None, taken: None })
    }
}

impl Real {
    fn spawn(
        &self,
        line: &[String],
        mut stdio: Vec<OwnedFd>,
        talk: ShimEnd,
        process_end: ProcessEnd,
        patience: Duration,
    ) -> std::result::Result<ExecForked, Failure> {
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        if stdio.is_empty() {
            let (master, slave) = pty();
            stdio = vec![slave.try_clone().unwrap(), slave.try_clone().unwrap(), slave];
            process_end.terminal(master).unwrap();
        }
        let mut stdio = stdio.into_iter();
        command.stdin(stdio.next().unwrap()).stdout(stdio.next().unwrap()).stderr(stdio.next().unwrap());
        match command.spawn() {
            Ok(child) => {
                let pidfd = process::open_pid(child.id()).unwrap();
                Ok(ExecForked { pid: child.id(), pidfd, talk, patience })
            }
            Err(e) => {
                Err(Failure { status: 127, message: format!("{}: {e}", line[0]), hint: None, taken: None })
            }
        }
    }
}

fn pty() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, openpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = process_pty_slave(&master);
    (master, slave)
}

fn process_pty_slave(master: &OwnedFd) -> OwnedFd {
    let name = rustix::pty::ptsname(master, Vec::new()).unwrap();
    rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

struct Container {
    dir: tempfile::TempDir,
    thread: JoinHandle<WaitStatus>,
    first: Option<OwnedFd>,
}

#[derive(Clone, Copy, Default)]
struct Options {
    tty: bool,
    stdin: bool,
    stdin_once: bool,
    first: Option<Attach>,
}

const ALL: Attach = Attach { stdin: true, stdout: true, stderr: true };

impl Container {
    fn start(script: &str, options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = listen(dir.path()).unwrap();
        let log = Writer::open(dir.path()).unwrap();
        let mut command;
        let mut master = None;
        if options.tty {
            let (ours, slave) = pty();
            master = Some(ours);
            command = Command::new("setsid");
            command.args(["-w", "-c", "sh", "-c", script]);
            command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        } else {
            command = Command::new("sh");
            command.args(["-c", script]).stdout(Std::piped()).stderr(Std::piped());
            command.stdin(if options.stdin { Std::piped() } else { Std::null() });
        }
        #[expect(clippy::zombie_processes, reason = "the server under test reaps it")]
        let mut child = command.spawn().unwrap();
        let pidfd = process::open_pid(child.id()).unwrap();
        let stdio = match master {
            Some(master) => Stdio::Pty { master, stdin: options.stdin },
            None => Stdio::Pipes {
                stdin: child.stdin.take().map(OwnedFd::from),
                stdout: child.stdout.take().unwrap().into(),
                stderr: child.stderr.take().unwrap().into(),
            },
        };
        let (first, socket) = match options.first {
            Some(attach) => {
                let (ours, theirs) = protocol::pair().unwrap();
                (Some(ours), Some(FirstClient { socket: theirs, attach }))
            }
            None => (None, None),
        };
        drop(command);
        let thread = std::thread::spawn(move || {
            let mut handler = Real { pidfd: pidfd.try_clone().unwrap(), stopped: Vec::new() };
            let ended = serve(Running {
                pidfd,
                needs: None,
                carrier: &mut Way::default(),
                stdio,
                listener,
                first: socket,
                log,
                handler: &mut handler,
                stdin_once: options.stdin_once,
            })
            .unwrap();
            let status = ended.status;
            ended.tell(status.code());
            status
        });
        Self { dir, thread, first }
    }

    fn connect(&self) -> OwnedFd {
        client::connect(self.dir.path()).unwrap()
    }

    fn attach(&self, attach: Attach) -> Client {
        let socket = self.connect();
        say(&socket, &Request::Attach(attach));
        let mut client = Client::new(socket);
        assert!(matches!(client.next(), Some(Heard::Attached { .. })));
        client
    }

    fn first(&mut self) -> Client {
        Client::new(self.first.take().unwrap())
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap();
        let text =
            bytes.split_inclusive(|b| *b == b'\n').flat_map(|l| Record::parse(l).unwrap().bytes.to_vec());
        String::from_utf8(text.collect()).unwrap()
    }

    fn end(self) -> WaitStatus {
        self.thread.join().unwrap()
    }
}

fn say(socket: &OwnedFd, request: &Request<'_>) {
    protocol::send(socket.as_fd(), request.encode(), &[], true).unwrap();
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Attached { tty: bool },
    Taken,
    Gone,
    Output,
    Gap,
    Exited(u8),
    Other(String),
}

/// A client that speaks the protocol and keeps what it is sent.
struct Client {
    socket: OwnedFd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    gaps: usize,
    buffer: Vec<u8>,
}

impl Client {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, stdout: Vec::new(), stderr: Vec::new(), gaps: 0, buffer: vec![0; MAX_PACKET] }
    }

    /// `None`: the shim closed.
    fn next(&mut self) -> Option<Heard> {
        let mut fds = Vec::new();
        let packet = match protocol::receive(self.socket.as_fd(), &mut self.buffer, &mut fds) {
            Ok(packet) => packet,
            Err(Error::Gone) => return None,
            Err(e) => panic!("{e}"),
        };
        Some(match Reply::decode(packet).unwrap() {
            Reply::Attached { tty } => Heard::Attached { tty },
            Reply::StdinTaken => Heard::Taken,
            Reply::StdinGone => Heard::Gone,
            Reply::Stdout(bytes) => {
                self.stdout.extend_from_slice(bytes);
                Heard::Output
            }
            Reply::Stderr(bytes) => {
                self.stderr.extend_from_slice(bytes);
                Heard::Output
            }
            Reply::Gap { from, to } => {
                self.gaps += 1;
                let end = blocks(fds[0].as_fd(), from, to, |block| {
                    for line in block.split_inclusive(|b| *b == b'\n') {
                        let record = Record::parse(line).unwrap();
                        match record.stream {
                            Stream::Stdout => self.stdout.extend_from_slice(record.bytes),
                            Stream::Stderr => self.stderr.extend_from_slice(record.bytes),
                        }
                    }
                    Ok(true)
                });
                assert_eq!(end.unwrap(), to);
                Heard::Gap
            }
            Reply::Exited { code } => Heard::Exited(code),
            other => Heard::Other(format!("{other:?}")),
        })
    }

    /// Reads to the end: the exit code.
    fn finish(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some(heard) = self.next() {
            if let Heard::Exited(n) = heard {
                code = Some(n);
            }
        }
        code
    }

    /// Reads until stdout holds `text`.
    fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            assert!(self.next().is_some(), "ended with {:?}", String::from_utf8_lossy(&self.stdout));
        }
    }

    fn type_in(&self, bytes: &[u8]) {
        say(&self.socket, &Request::Stdin(bytes));
    }
}

#[test]
fn output_and_exit_code_reach_the_first_client_and_the_log() {
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start("echo out; echo err >&2; exit 3", Options { first, ..Options::default() });
    let mut client = c.first();
    assert_eq!(client.finish(), Some(3));
    assert_eq!((client.stdout, client.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    let log = c.log();
    assert!(log.contains("out\n") && log.contains("err\n") && log.len() == 8, "{log:?}");
    assert_eq!(c.end(), WaitStatus::Exited(3));
}

#[test]
fn death_by_a_signal_that_a_client_asked_for() {
    let c = Container::start("sleep 1000", Options::default());
    let waiting = c.connect();
    say(&waiting, &Request::Wait);
    client::kill(c.connect(), libc::SIGTERM).unwrap();
    assert_eq!(Client::new(waiting).finish(), Some(143));
    assert_eq!(c.end(), WaitStatus::Signaled(libc::SIGTERM));
}

#[test]
fn streams_that_were_not_asked_for_do_not_come() {
    let c = Container::start("read x; echo out; echo err >&2", Options { stdin: true, ..Options::default() });
    let mut only_err = c.attach(Attach { stdin: false, stdout: false, stderr: true });
    let mut all = c.attach(ALL);
    all.type_in(b"go\n");
    assert_eq!((all.finish(), only_err.finish()), (Some(0), Some(0)));
    assert_eq!((only_err.stdout, only_err.stderr), (b"".to_vec(), b"err\n".to_vec()));
    assert_eq!((all.stdout, all.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    c.end();
}

#[test]
fn stdin_comes_from_any_client_and_ends_with_the_one_that_had_it() {
    let first = Some(ALL);
    let options = Options { stdin: true, stdin_once: true, first, ..Options::default() };
    let mut c = Container::start("cat", options);
    let mut first = c.first();
    let second = c.attach(ALL);
    second.type_in(b"from the second\n");
    first.until("from the second\n");
    first.type_in(b"from the first\n");
    first.until("from the first\n");
    // What was sent before the end arrives before the end.
    first.type_in(b"last\n");
    say(&first.socket, &Request::StdinClosed);
    assert_eq!(first.finish(), Some(0));
    assert_eq!(first.stdout, b"from the second\nfrom the first\nlast\n");
    c.end();
}

#[test]
fn without_stdin_once_the_container_keeps_its_stdin() {
    let c = Container::start("cat", Options { stdin: true, ..Options::default() });
    let mut one = c.attach(ALL);
    one.type_in(b"one\n");
    one.until("one\n");
    say(&one.socket, &Request::StdinClosed);
    drop(one);
    let mut two = c.attach(ALL);
    two.type_in(b"two\n");
    two.until("two\n");
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    assert_eq!(two.finish(), Some(137));
    c.end();
}

#[test]
fn a_container_that_does_not_read_holds_up_nobody() {
    let script = "trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    let mut c = Container::start(script, Options { stdin: true, first: Some(ALL), ..Options::default() });
    let mut client = c.first();
    let full = vec![b'x'; MAX_DATA];
    client.type_in(&full);
    while client.next() != Some(Heard::Taken) {}
    // The pipe is full by this, so the next packet is not taken; the signal gets through all the same.
    client.type_in(&full);
    client.until("ready");
    say(&client.socket, &Request::Signal(libc::SIGUSR1));
    assert_eq!(client.finish(), Some(9));
    assert_eq!(client.stdout, b"ready\ngot it\n");
    c.end();
}

#[test]
fn a_client_that_does_not_wait_for_its_turn_is_dropped() {
    let c = Container::start("sleep 1000", Options { stdin: true, ..Options::default() });
    let mut rude = c.attach(ALL);
    for _ in 0..3 {
        let _ = protocol::send(rude.socket.as_fd(), Request::Stdin(&[b'x'; MAX_DATA]).encode(), &[], true);
    }
    assert_eq!(rude.finish(), None);
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
}

#[test]
fn a_closed_stdin_is_told() {
    let mut c = Container::start(
        "exec <&-; echo closed; sleep 1000",
        Options { stdin: true, first: Some(ALL), ..Options::default() },
    );
    let mut client = c.first();
    client.until("closed");
    client.type_in(b"x");
    assert_eq!(client.next(), Some(Heard::Gone));
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    assert_eq!(client.finish(), Some(137));
    c.end();
}

#[test]
fn a_slow_client_loses_nothing_and_holds_up_neither_the_others_nor_the_end() {
    const LINES: usize = 2_000_000;
    let script = format!("read x; seq {LINES}; seq 3 >&2");
    let c = Container::start(&script, Options { stdin: true, ..Options::default() });
    let mut slow = c.attach(Attach { stdin: false, ..ALL });
    let mut fast = c.attach(ALL);
    fast.type_in(b"go\n");
    assert_eq!(fast.finish(), Some(0));
    let dir = c.dir.path().to_owned();
    let Container { thread, dir: guard, .. } = c;
    // The server is through although the slow client has not read a byte; even the log's name is gone.
    assert_eq!(thread.join().unwrap(), WaitStatus::Exited(0));
    drop(guard);
    assert!(!dir.exists());
    assert_eq!(slow.finish(), Some(0));
    assert!(slow.gaps > 0, "the flood fitted into the socket");
    let expected: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    assert!(slow.stdout == expected.as_bytes(), "{} of {} bytes", slow.stdout.len(), expected.len());
    assert!(fast.stdout == expected.as_bytes(), "{} of {} bytes", fast.stdout.len(), expected.len());
    assert_eq!(slow.stderr, b"1\n2\n3\n");
}

#[test]
fn two_hundred_megabytes_arrive_whole_in_little_memory() {
    let script = "exec head -c 200000000 /dev/zero";
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start(script, Options { first, ..Options::default() });
    let mut client = c.first();
    let mut total = 0;
    let mut code = None;
    while let Some(heard) = client.next() {
        // Now and then it looks away for longer than the socket has room.
        if total % 7 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        total += client.stdout.len();
        assert!(client.stdout.iter().all(|b| *b == 0));
        client.stdout.clear();
        if let Heard::Exited(n) = heard {
            code = Some(n);
        }
    }
    assert_eq!((total, code), (200_000_000, Some(0)));
    c.end();
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_shim() {
    let began = Instant::now();
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start("(sleep 5; echo late) & echo soon", Options { first, ..Options::default() });
    let mut client = c.first();
    assert_eq!(client.finish(), Some(0));
    assert_eq!(client.stdout, b"soon\n");
    assert!(began.elapsed() < Duration::from_secs(4));
    c.end();
}

#[test]
fn a_terminal_has_a_size_echoes_and_ends() {
    let script = "read a; stty size; read b; exit 4";
    let options = Options { tty: true, stdin: true, ..Options::default() };
    let c = Container::start(script, options);
    let socket = c.connect();
    say(&socket, &Request::Attach(ALL));
    let mut client = Client::new(socket);
    assert_eq!(client.next(), Some(Heard::Attached { tty: true }));
    say(&client.socket, &Request::Resize { rows: 33, cols: 101 });
    client.type_in(b"x\n");
    client.until("33 101\r\n");
    client.type_in(b"y\n");
    assert_eq!(client.finish(), Some(4));
    assert!(c.log().contains("33 101\r\n"));
    c.end();
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_comes_back() {
    let script = "t=$(tty); exec <&- >&- 2>&-; sleep 0.4; exec >$t; echo back; sleep 0.3";
    let c = Container::start(script, Options { tty: true, ..Options::default() });
    let mut client = c.attach(ALL);
    assert_eq!(client.finish(), Some(0));
    assert_eq!(client.stdout, b"back\r\n");
    c.end();
}

#[test]
fn nonsense_ends_only_the_conversation_with_those_who_talk_it() {
    let c = Container::start("read x; exit 5", Options { stdin: true, ..Options::default() });
    for packet in [&[0_u8][..], &[255, 1, 2], &[1, b'{'], &[3], &[2, b'x'], &[8]] {
        let socket = c.connect();
        socket::send(&socket, &[IoSlice::new(packet)], &[], true).unwrap();
        assert_eq!(Client::new(socket).finish(), None, "{packet:?}");
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    let socket = c.connect();
    protocol::send(socket.as_fd(), Request::Exec.encode(), &[null.as_fd(); 4], true).unwrap();
    assert!(matches!(Client::new(socket).next(), Some(Heard::Other(s)) if s.contains("exec request")));
    let good = c.attach(ALL);
    good.type_in(b"go\n");
    assert_eq!(c.end(), WaitStatus::Exited(5));
}

/// What the descriptors of this process stand for, by how many of each; other tests run beside this one.
fn descriptors_of(kind: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = all.filter_map(|e| std::fs::read_link(e.ok()?.path()).ok());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for link in links {
        let name = link.to_string_lossy().split(':').next().unwrap().to_owned();
        *kinds.entry(name).or_default() += 1;
    }
    kinds.get(kind).copied().unwrap_or(0)
}

#[test]
fn ten_thousand_clients_come_and_go_and_leave_nothing() {
    static ROUNDS: AtomicUsize = AtomicUsize::new(0);
    let c = Container::start("cat", Options { stdin: true, ..Options::default() });
    let before = descriptors_of("socket");
    for n in 0..10_000 {
        let socket = c.connect();
        match n % 4 {
            0 => {}
            1 => say(&socket, &Request::Wait),
            2 => say(&socket, &Request::Attach(ALL)),
            _ => {
                say(&socket, &Request::Attach(ALL));
                say(&socket, &Request::Stdin(b"x\n"));
            }
        }
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    // A round trip behind all of them: the server has seen them go.
    let mut last = c.attach(ALL);
    last.type_in(b"end\n");
    last.until("end\n");
    drop(last);
    let patience = Instant::now();
    while descriptors_of("socket") > before + 40 {
        assert!(patience.elapsed() < Duration::from_secs(5), "{} sockets", descriptors_of("socket"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(c.log().matches("x\n").count(), 2500);
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
}
