//! `exec`: a process in a running container, with pipes or a terminal of its own that lead straight to us.
//!
//! The shim starts the process and says how it ended; not a byte of what it prints passes through the shim. We make
//! the pipes and send the container's ends; a terminal is made inside and its master sent to us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::session::{Session, Told, Typed, poll};
use super::{AttachOptions, Ending, UNEXPECTED, not_running, send};
use crate::shim::error::{Error, Result};
use crate::shim::log::Stream;
use crate::shim::protocol::{self, MAX_DATA, Reply, Request};
use crate::sys::{Context, process};

/// How long output is waited for after the process has ended, where others keep its pipes open.
const GRACE: Duration = Duration::from_millis(200);

/// The descriptors of a new process and our ends of them.
struct Stdio {
    /// stdin, stdout, stderr.
    theirs: Vec<OwnedFd>,
    to: Option<OwnedFd>,
    from: Vec<(Stream, OwnedFd)>,
}

impl Stdio {
    fn pipes(options: &AttachOptions) -> Result<Self> {
        let mut theirs = Vec::with_capacity(3);
        let mut from = Vec::new();
        let mut to = None;
        if options.stdin {
            let (read, write) = process::pipe()?;
            // Ours alone: the other end is another open file.
            rustix::io::ioctl_fionbio(&write, true).op("FIONBIO")?;
            theirs.push(read);
            to = Some(write);
        } else {
            theirs.push(null()?);
        }
        for (stream, wanted) in [(Stream::Stdout, options.stdout), (Stream::Stderr, options.stderr)] {
            if wanted {
                let (read, write) = process::pipe()?;
                theirs.push(write);
                from.push((stream, read));
            } else {
                theirs.push(null()?);
            }
        }
        Ok(Self { theirs, to, from })
    }
}

fn null() -> Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .op_on("open", "/dev/null")?)
}

/// Sends the request and waits until the process runs: the pty's master, if it has one.
fn start(socket: &OwnedFd, request: &[u8], theirs: Vec<OwnedFd>) -> Result<Option<OwnedFd>> {
    let request = protocol::file_of(request)?;
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(&request).chain(&theirs).map(AsFd::as_fd).collect();
    protocol::send(socket.as_fd(), Request::Exec.encode(), &fds, true)?;
    drop(theirs);
    let mut buffer = Vec::new();
    let mut fds = Vec::new();
    match Reply::decode(protocol::receive(socket.as_fd(), &mut buffer, &mut fds)?)? {
        Reply::ExecStarted { tty, .. } => {
            let master = fds.pop();
            if tty == master.is_some() { Ok(master) } else { Err(UNEXPECTED) }
        }
        Reply::Failed(failure) => Err(failure.into()),
        Reply::Exited { .. } => Err(not_running()),
        _ => Err(UNEXPECTED),
    }
}

/// Starts a process by `request` (JSON for the shim's `Handler::exec`) and joins this process's stdio to it until
/// it ends. Streams that `options` does not take are `/dev/null`. A start that fails is [`Error::Refused`] with
/// docker's status. stdio is pipes unless `options.tty`.
pub fn exec_session(socket: OwnedFd, request: &[u8], options: &AttachOptions) -> Result<Ending> {
    let mut stdio = if options.tty {
        Stdio { theirs: Vec::new(), to: None, from: Vec::new() }
    } else {
        Stdio::pipes(options)?
    };
    let master = start(&socket, request, std::mem::take(&mut stdio.theirs))?;
    let session = Session::begin(options)?;
    let mut exec = Exec {
        socket,
        session,
        stdin_open: options.stdin,
        to: stdio.to,
        from: stdio.from,
        master,
        sent: 0,
        exited: None,
        buffer: vec![0; MAX_DATA],
    };
    exec.take_terminal(options)?;
    loop {
        if let Some(ending) = exec.round()? {
            exec.session.flush()?;
            return Ok(ending);
        }
    }
}

/// As [`exec_session`], detached: returns as soon as the process runs.
pub fn exec_detached(socket: OwnedFd, request: &[u8], tty: bool) -> Result<()> {
    let theirs = if tty { Vec::new() } else { vec![null()?, null()?, null()?] };
    start(&socket, request, theirs).map(|_| ())
}

struct Exec {
    socket: OwnedFd,
    session: Session,
    stdin_open: bool,
    /// Where our stdin goes, until one of the two sides ends.
    to: Option<OwnedFd>,
    from: Vec<(Stream, OwnedFd)>,
    master: Option<OwnedFd>,
    /// How much of [`Session::input`] is through.
    sent: usize,
    exited: Option<(u8, Instant)>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Socket,
    Stdin,
    Room,
    Output(usize),
    Signals,
    Stdout,
    Stderr,
}

impl Exec {
    fn take_terminal(&mut self, options: &AttachOptions) -> Result<()> {
        let Some(master) = &self.master else { return Ok(()) };
        // The shim, which shares the open file, is prepared for it.
        rustix::io::ioctl_fionbio(master, true).op("FIONBIO")?;
        if options.stdin {
            self.to = Some(master.try_clone().op("dup")?);
        }
        self.from = vec![(Stream::Stdout, master.try_clone().op("dup")?)];
        if let Some((rows, cols)) = self.session.size() {
            self.resize(rows, cols);
        }
        Ok(())
    }

    fn round(&mut self) -> Result<Option<Ending>> {
        for source in self.wait()? {
            match source {
                Source::Socket => self.packet()?,
                Source::Stdin => {
                    if self.typed() {
                        return Ok(Some(Ending::Detached));
                    }
                }
                Source::Room => self.feed(),
                Source::Output(at) => self.output(at),
                Source::Signals => self.signalled()?,
                Source::Stdout => self.session.stdout.drain(),
                Source::Stderr => self.session.stderr.drain(),
            }
        }
        if let Some((code, since)) = self.exited {
            let read_out = self.from.is_empty() || (self.idle() && since.elapsed() > GRACE);
            if read_out {
                return Ok(Some(Ending::Exited(code)));
            }
        }
        Ok((!self.session.output_open()?).then_some(Ending::OutputClosed))
    }

    fn idle(&self) -> bool {
        self.session.stdout.idle() && self.session.stderr.idle()
    }

    fn wait(&self) -> Result<Vec<Source>> {
        let session = &self.session;
        let mut watched = Vec::with_capacity(7);
        if self.exited.is_none() {
            watched.push((Source::Socket, self.socket.as_fd(), PollFlags::IN));
        }
        let backlog = self.sent < session.input.len();
        match &self.to {
            Some(to) if backlog => watched.push((Source::Room, to.as_fd(), PollFlags::OUT)),
            Some(_) if self.stdin_open => {
                watched.push((Source::Stdin, rustix::stdio::stdin(), PollFlags::IN));
            }
            _ => {}
        }
        for (at, (stream, fd)) in self.from.iter().enumerate() {
            let sink = if *stream == Stream::Stdout { &session.stdout } else { &session.stderr };
            if sink.idle() {
                watched.push((Source::Output(at), fd.as_fd(), PollFlags::IN));
            }
        }
        watched.extend(session.signal_fd().map(|fd| (Source::Signals, fd, PollFlags::IN)));
        watched.extend(session.stdout.wants_room().map(|fd| (Source::Stdout, fd, PollFlags::OUT)));
        watched.extend(session.stderr.wants_room().map(|fd| (Source::Stderr, fd, PollFlags::OUT)));
        let left = self
            .exited
            .filter(|_| self.idle())
            .map(|(_, since)| GRACE.saturating_sub(since.elapsed()) + Duration::from_millis(1));
        poll(&watched, left)
    }

    fn packet(&mut self) -> Result<()> {
        match Reply::decode(protocol::receive(self.socket.as_fd(), &mut self.buffer, &mut Vec::new())?)? {
            Reply::Exited { code } => {
                self.exited = Some((code, Instant::now()));
                Ok(())
            }
            _ => Err(UNEXPECTED),
        }
    }

    /// `true`: the detach keys.
    fn typed(&mut self) -> bool {
        match self.session.read_stdin() {
            Typed::Some => {
                self.sent = 0;
                self.feed();
                false
            }
            Typed::Nothing => false,
            Typed::End => {
                self.stdin_open = false;
                if self.master.is_none() {
                    self.to = None;
                }
                false
            }
            Typed::DetachKeys => {
                self.sent = 0;
                self.feed();
                true
            }
        }
    }

    /// Passes on what was typed, as far as there is room.
    fn feed(&mut self) {
        let Some(to) = &self.to else { return };
        let input = &self.session.input;
        while self.sent < input.len() {
            match rustix::io::write(to, &input[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.to = None;
                    break;
                }
            }
        }
        self.sent = 0;
        self.session.input.clear();
    }

    fn output(&mut self, at: usize) {
        let Some((stream, fd)) = self.from.get(at) else { return };
        match rustix::io::read(fd, &mut self.buffer[..]) {
            Ok(n @ 1..) => {
                let session = &mut self.session;
                let sink = if *stream == Stream::Stdout { &mut session.stdout } else { &mut session.stderr };
                sink.write(&self.buffer[..n]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // End of file, or EIO of a terminal that nobody has open any more. The number of the other stream
            // may change by this, so it is looked at again in the next round.
            Ok(0) | Err(_) => {
                self.from.remove(at);
            }
        }
    }

    fn signalled(&mut self) -> Result<()> {
        for told in self.session.signalled()? {
            match told {
                Told::Signal(signal) => match send(&self.socket, &Request::Signal(signal)) {
                    Ok(()) | Err(Error::Gone) => {}
                    Err(e) => return Err(e),
                },
                Told::Size(rows, cols) => self.resize(rows, cols),
            }
        }
        self.session.may_stay()
    }

    fn resize(&self, rows: u16, cols: u16) {
        if let Some(master) = &self.master {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal of the wrong size still works.
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }
}
