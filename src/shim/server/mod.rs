//! The shim's loop: output to log and clients, input from clients, signals, exec, and the end.
//!
//! # Theory of operation
//!
//! One thread, one poll(2), no descriptor that blocks. What the container prints is read a pipe's worth at a
//! time into the one buffer there is, appended to the log, and offered to every attached client as one packet.
//! A packet is taken whole or not at all. The client that has no room for it is *lagging*: from then on nothing
//! is kept for it but the offset in the log where its gap begins. When its socket has room again it is sent the
//! bounds of the gap and the log file itself, reads the missing output there, at its own pace, and is served
//! live again. So a slow client loses nothing, costs no memory and holds up neither the container nor the others
//! nor the shim's end: even one that stands still gets its last gap and the exit code into its socket, where
//! room is kept for them, and finishes from the log file, which it holds open, after shim and container are gone.
//! (What a full disk kept out of the log is lost for those who lag at that moment, and for nobody else.)
//!
//! Input is the other way round: a client sends one packet and waits until the container took it, so its own
//! signals and sizes never queue behind a container that does not read.
//!
//! The end: when the first process has been reaped, the streams are read until end of file. Processes that
//! survive it (they can where the pid namespace is shared) may keep them open, so that is waited for only for
//! [`GRACE`].
//!
//! `exec` is not in the data path: its client holds the other ends of its pipes, or the pty master. The server
//! hears from the process until its program runs (a container can stop it on its way, and holds up nobody but
//! that client with it), then watches it and passes on its exit code. A terminal that its client left is read on, into
//! nothing, lest the process stands still.

mod clients;
mod ended;
mod execs;
mod outputs;
mod stdin;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use self::clients::{Client, Owed, Role, Token, is_ours};
use self::execs::Execs;
use self::outputs::Outputs;
use self::stdin::{Fate, Stdin};
use super::error::Result;
use super::log::Writer;
use super::network::way::Way;
use super::protocol::{self, Attach, Failure, MAX_DATA, MAX_PACKET, Reply, Request};
use super::spawn::refused;
use crate::runtime::handshake::ShimEnd;
use crate::sys::process::{self, WaitStatus};
use crate::sys::socket::{self, Received};
use crate::sys::{self, Context};

pub use self::ended::Ended;

/// How long output is waited for after the first process has ended.
const GRACE: Duration = Duration::from_millis(200);

/// How soon something that cannot be polled now is tried again: a terminal that nobody has open, a listener for
/// whose next connection there is no descriptor.
const RETRY: Duration = Duration::from_millis(100);
/// How long nothing has to happen until the shim gives back what it does not need for waiting.
const SETTLING: Duration = Duration::from_millis(300);

/// The container's stdio, as its shim holds it.
#[derive(Debug)]
pub enum Stdio {
    /// `-t`. `stdin`: `-i`, what clients type is passed on.
    Pty { master: OwnedFd, stdin: bool },
    /// The read ends of stdout and stderr, and the write end of stdin with `-i`.
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
}

/// The command that started the container, once it has been sent `Started`.
#[derive(Debug)]
pub struct FirstClient {
    pub socket: OwnedFd,
    pub attach: Attach,
}

/// A process that is to be added by `exec`: a child of this process, which the server reaps.
#[derive(Debug)]
pub struct ExecForked {
    pub pid: u32,
    pub pidfd: OwnedFd,
    /// Where it says how it gets on. It has been told to go.
    pub talk: ShimEnd,
    /// How long it may take until its program runs. Then it is killed.
    pub patience: Duration,
}

/// What the server needs to have done by those who know containers.
pub trait Handler {
    /// A signal to the container's first process.
    fn signal(&mut self, signal: i32) -> std::result::Result<(), Failure>;

    /// Forks one more process, and does not wait for it. `request` is the JSON that `client::exec_session` was
    /// given; `stdio` holds stdin, stdout and stderr, or nothing when the request wants a tty.
    fn exec(&mut self, request: &[u8], stdio: Vec<OwnedFd>) -> std::result::Result<ExecForked, Failure>;

    /// A change of its networks, by the JSON that `client::change_network` was given.
    fn network(&mut self, request: &[u8], way: &mut Way) -> std::result::Result<(), Failure>;
}

/// Everything the loop works on.
pub struct Running<'a> {
    /// Of the container's first process, a child of this process, not yet reaped.
    pub pidfd: OwnedFd,
    /// A process that the container cannot live without: when it ends, the first process is killed.
    pub needs: Option<OwnedFd>,
    /// Who carries its packets: replaced when it ends, or else the first process is killed.
    pub carrier: &'a mut Way,
    pub stdio: Stdio,
    /// From [`listen`].
    pub listener: OwnedFd,
    pub first: Option<FirstClient>,
    pub log: Writer,
    pub handler: &'a mut dyn Handler,
    /// The container's stdin ends with that of the first client that had it (pipes only).
    pub stdin_once: bool,
}

impl fmt::Debug for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("stdio", &self.stdio).finish_non_exhaustive()
    }
}

/// Makes `dir/shim.sock`, mode 0600, listening, close-on-exec. One that a dead shim left is replaced: call it with
/// the life lock held.
pub fn listen(dir: &Path) -> Result<OwnedFd> {
    Ok(socket::listen(dir, super::client::SOCKET)?)
}

/// Serves until the first process has ended, is reaped, and its output is read to the end (or, if somebody else
/// keeps the pipes open, for a moment longer). Never waits for a client. SIGPIPE and SIGXFSZ must be ignored.
pub fn serve(running: Running<'_>) -> Result<Ended> {
    let mut server = Server::new(running)?;
    let status = loop {
        server.round()?;
        if let Some((status, since)) = server.ended
            && (server.nothing_to_come() || since.elapsed() > GRACE)
        {
            break status;
        }
    };
    server.log.finish();
    let Server { killed, listener, clients, log, .. } = server;
    Ok(Ended { status, killed, listener, clients, log })
}

struct Server<'a> {
    pidfd: OwnedFd,
    /// `None` when it has ended, too.
    needs: Option<OwnedFd>,
    carrier: &'a mut Way,
    /// It is lost for good, and not watched any more.
    given_up: bool,
    /// See [`Ended`].
    killed: bool,
    /// Set when the first process has been reaped.
    ended: Option<(WaitStatus, Instant)>,
    outputs: Outputs,
    stdin: Stdin,
    stdin_once: bool,
    listener: OwnedFd,
    /// No connection can be accepted at the moment.
    full: bool,
    clients: Vec<Client>,
    next_token: Token,
    execs: Execs,
    log: Writer,
    handler: &'a mut dyn Handler,
    /// One packet: its kind, then as much as one read brings. Made when first needed.
    buffer: Vec<u8>,
    /// Nothing has happened for [`SETTLING`].
    settled: bool,
}

/// What a ready descriptor stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Pidfd,
    Needs,
    Carrier,
    Listener,
    Output(usize),
    Stdin,
    Client(usize),
    Exec(usize),
}

impl<'a> Server<'a> {
    fn new(running: Running<'a>) -> Result<Self> {
        let Running { pidfd, needs, carrier, stdio, listener, first, log, handler, stdin_once } = running;
        let (outputs, stdin) = match stdio {
            Stdio::Pty { master, stdin } => {
                let way =
                    if stdin { Stdin::pty(process::duplicate(master.as_fd())?) } else { Stdin::pipe(None) };
                (Outputs::terminal(master)?, way)
            }
            Stdio::Pipes { stdin, stdout, stderr } => {
                for fd in stdin.iter() {
                    rustix::io::ioctl_fionbio(fd, true).op("FIONBIO")?;
                }
                (Outputs::pipes(stdout, stderr)?, Stdin::pipe(stdin))
            }
        };
        let first = first.map(|f| Client::new(0, f.socket, Role::Attached(f.attach)));
        Ok(Self {
            pidfd,
            needs,
            carrier,
            given_up: false,
            killed: false,
            ended: None,
            outputs,
            stdin,
            stdin_once,
            listener,
            full: false,
            clients: first.into_iter().collect(),
            next_token: 1,
            execs: Execs::default(),
            log,
            handler,
            buffer: Vec::new(),
            settled: false,
        })
    }

    /// Whether the end of everything has been seen.
    fn nothing_to_come(&self) -> bool {
        self.outputs.have_ended() && self.execs.is_empty()
    }

    /// Waits until something happens, and deals with all that has.
    fn round(&mut self) -> Result<()> {
        for (source, events) in self.poll()? {
            match source {
                Source::Pidfd => self.reap()?,
                Source::Needs => {
                    self.needs = None;
                    self.kill();
                }
                Source::Carrier => self.replace_carrier(),
                Source::Listener => self.accept(),
                Source::Output(at) => self.pump(at),
                Source::Stdin => self.feed(),
                Source::Client(at) => self.serve_client(at, events),
                Source::Exec(at) => self.execs.ready(at, &mut self.clients)?,
            }
        }
        self.execs.expire(&mut self.clients);
        self.forget();
        Ok(())
    }

    /// Everything that can happen now, and what it is watched for.
    fn watched(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut list = Vec::with_capacity(self.clients.len() + self.execs.len() + 5);
        if self.ended.is_none() {
            list.push((Source::Pidfd, self.pidfd.as_fd(), PollFlags::IN));
        }
        list.extend(self.needs.iter().map(|fd| (Source::Needs, fd.as_fd(), PollFlags::IN)));
        let carriers = if self.given_up { Vec::new() } else { self.carrier.watched() };
        list.extend(carriers.into_iter().map(|fd| (Source::Carrier, fd, PollFlags::IN)));
        if !self.full {
            list.push((Source::Listener, self.listener.as_fd(), PollFlags::IN));
        }
        list.extend(self.outputs.watched().map(|(at, fd)| (Source::Output(at), fd, PollFlags::IN)));
        list.extend(self.stdin.wants_room().map(|fd| (Source::Stdin, fd, PollFlags::OUT)));
        for (at, client) in self.clients.iter().enumerate() {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, client.wants_room());
            list.push((Source::Client(at), client.socket.as_fd(), events));
        }
        list.extend(self.execs.descriptors().map(|(at, fd)| (Source::Exec(at), fd, PollFlags::IN)));
        list
    }

    /// A shim that has nothing to do for a while keeps neither buffer nor program in memory.
    fn settle(&mut self, quiet: bool) {
        if quiet && !self.settled {
            self.buffer = Vec::new();
            sys::memory::release_program();
        }
        self.settled = quiet;
    }

    fn poll(&mut self) -> Result<Vec<(Source, PollFlags)>> {
        let asleep = self.full || self.outputs.any_asleep();
        let left =
            self.ended.map(|(_, since)| GRACE.saturating_sub(since.elapsed()) + Duration::from_millis(1));
        let timeout = match (asleep, left) {
            (true, left) => Some(left.map_or(RETRY, |l| l.min(RETRY))),
            (false, None) if !self.settled => Some(SETTLING),
            (false, left) => left,
        };
        let timeout = timeout.into_iter().chain(self.execs.patience()).min();
        let mut quiet = false;
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let watched = self.watched();
        let mut fds: Vec<_> =
            watched.iter().map(|(_, fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => quiet = ready == 0,
            Err(Errno::INTR) => {}
            Err(e) => return Err(sys::Error::new("poll", e.raw_os_error()).into()),
        }
        let ready = watched.iter().zip(&fds).map(|((source, ..), fd)| (*source, fd.revents()));
        let ready = ready.filter(|(_, events)| !events.is_empty()).collect();
        self.settle(quiet && !asleep && self.ended.is_none());
        if asleep {
            self.full = false;
            self.outputs.wake();
        }
        Ok(ready)
    }

    fn replace_carrier(&mut self) {
        if !self.carrier.renew() {
            self.kill();
            self.given_up = true;
        }
    }

    fn kill(&mut self) {
        self.killed = true;
        let _ = process::signal(&self.pidfd, libc::SIGKILL);
    }

    fn reap(&mut self) -> Result<()> {
        if let Some(status) = reap(&self.pidfd)? {
            self.ended = Some((status, Instant::now()));
        }
        Ok(())
    }

    /// Output: one read, one write to the log, one packet to each client.
    fn pump(&mut self, at: usize) {
        self.buffer.resize(MAX_PACKET, 0);
        let alive = self.ended.is_none();
        let Some((stream, read)) = self.outputs.read(at, &mut self.buffer[1..=MAX_DATA], alive) else {
            return;
        };
        let logged = self.log.end();
        self.log.write(stream, &self.buffer[1..=read]);
        self.buffer[0] = protocol::output_kind(stream);
        for client in &mut self.clients {
            client.output(stream, &self.buffer[..=read], logged);
        }
    }

    /// The container has room in its stdin.
    fn feed(&mut self) {
        let (clients, log) = (&mut self.clients, &self.log);
        self.stdin.drain(|token, fate| {
            if let Some(client) = clients.iter_mut().find(|c| c.token == token) {
                client.owe(owed(fate), log);
            }
        });
    }

    fn accept(&mut self) {
        loop {
            match socket::accept(&self.listener) {
                Ok(Some(socket)) => {
                    if is_ours(&socket) {
                        self.clients.push(Client::new(self.next_token, socket, Role::New));
                        self.next_token += 1;
                    }
                }
                Ok(None) => return,
                Err(_) => {
                    self.full = true;
                    return;
                }
            }
        }
    }

    fn serve_client(&mut self, at: usize, events: PollFlags) {
        if events.contains(PollFlags::OUT) {
            self.clients[at].catch_up(&self.log);
        }
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        self.buffer.resize(MAX_PACKET, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut fds = Vec::new();
        match socket::receive(&self.clients[at].socket, &mut buffer, &mut fds, false) {
            Ok(Some(Received::Packet(length))) => match Request::decode(&buffer[..length]) {
                Ok(request) => self.request(at, &request, fds),
                Err(_) => self.clients[at].gone = true,
            },
            Ok(Some(Received::Closed | Received::Truncated)) | Err(_) => self.clients[at].gone = true,
            Ok(None) => {}
        }
        self.buffer = buffer;
    }

    /// One request. One that makes no sense from this client ends the conversation.
    fn request(&mut self, at: usize, request: &Request<'_>, fds: Vec<OwnedFd>) {
        let role = self.clients[at].role;
        let client = &mut self.clients[at];
        match (role, request) {
            (Role::New, Request::Attach(attach)) => {
                client.reply(&Reply::Attached { tty: self.outputs.is_terminal() }, &[]);
                client.role = Role::Attached(*attach);
            }
            (Role::New, Request::Wait) => client.role = Role::Waiting,
            (Role::New, Request::Kill(signal)) => {
                self.killed |= *signal == libc::SIGKILL;
                let answer = self.handler.signal(*signal);
                client.last_reply(&answer.map_or_else(Reply::Failed, |()| Reply::Done));
            }
            (Role::New, Request::Exec) => self.execs.start(client, fds, self.handler),
            (Role::New, Request::Network) => {
                let changed = change_network(fds, self.handler, self.carrier);
                client.last_reply(&changed.map_or_else(Reply::Failed, |()| Reply::Done));
            }
            (Role::Attached(attach), Request::Stdin(bytes)) if attach.stdin => {
                let token = client.token;
                if self.stdin.holds(token) {
                    // It did not wait for its turn.
                    client.gone = true;
                    return;
                }
                match self.stdin.push(token, bytes) {
                    Fate::Waiting => {}
                    fate => client.owe(owed(fate), &self.log),
                }
            }
            (Role::Attached(attach), Request::StdinClosed) if attach.stdin => self.stdin_ended(),
            (Role::Attached(_), Request::Resize { rows, cols }) => self.outputs.resize(*rows, *cols),
            (Role::Attached(_), Request::Signal(signal)) => {
                self.killed |= *signal == libc::SIGKILL;
                // There is nobody to tell: the process may just have ended.
                let _ = self.handler.signal(*signal);
            }
            (Role::Exec, Request::Signal(signal)) => self.execs.signal(client.token, *signal),
            _ => client.gone = true,
        }
    }

    fn stdin_ended(&mut self) {
        if self.stdin_once {
            self.stdin.close();
        }
    }

    /// Lets go of clients that have left.
    fn forget(&mut self) {
        let mut stdin_left = false;
        let execs = &mut self.execs;
        execs.forget();
        self.clients.retain(|client| {
            if client.gone {
                stdin_left |= matches!(client.role, Role::Attached(a) if a.stdin);
                execs.client_left(client.token);
            }
            !client.gone
        });
        if stdin_left {
            self.stdin_ended();
        }
    }
}

fn change_network(
    mut fds: Vec<OwnedFd>,
    handler: &mut dyn Handler,
    way: &mut Way,
) -> std::result::Result<(), Failure> {
    let doing = "read the change of its networks";
    let file = fds.pop().ok_or_else(|| refused(doing, &sys::Error::new("receive", libc::EBADMSG)))?;
    let json = protocol::read_file(&file).map_err(|e| refused(doing, &e))?;
    handler.network(&json, way)
}

/// The end of a child, if it has ended; it is a zombie no more.
fn reap(pidfd: &OwnedFd) -> Result<Option<WaitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let Some(status) = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).op("waitid")? else {
        return Ok(None);
    };
    let exited = status.exit_status().map(|code| WaitStatus::Exited(u8::try_from(code).unwrap_or(255)));
    Ok(exited.or_else(|| status.terminating_signal().map(WaitStatus::Signaled)))
}

fn owed(fate: Fate) -> Owed {
    if fate == Fate::Gone { Owed::Gone } else { Owed::Taken }
}

#[cfg(test)]
mod tests;
