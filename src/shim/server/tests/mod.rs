//! Real processes, real sockets: a server in a thread, clients that speak the protocol.

mod crowd;
mod exec;
mod input;
mod output;
mod terminal;

use std::process::{Command, Stdio as Std};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::runtime::handshake::{self, ProcessEnd};
use crate::shim::log::{Record, Stream, blocks};
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
