//! What attach and exec have in common: our terminal, our signals, our stdin.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::AttachOptions;
use super::sink::Sink;
use crate::error::ExitStatus;
use crate::shim::error::{Error, Result};
use crate::shim::protocol::MAX_DATA;
use crate::shim::terminal::{self, Matcher, RawMode};
use crate::sys;
use crate::sys::signal::Signals;

/// What is passed on to the container (without a tty). Left to act on ourselves: what suspends and continues
/// us, what a fault of our own raises, and what cannot be caught.
const PROXIED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGPWR,
];

/// What ends us while the terminal is raw: it is put right first.
const FATAL: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// So many SIGINT and SIGTERM are meant for us.
const INSISTENT: u32 = 3;

/// What a signal means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To be sent on.
    Signal(i32),
    /// The terminal has this many rows and columns.
    Size(u16, u16),
}

/// What a read of our stdin brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// There is something in [`Session::input`].
    Some,
    Nothing,
    End,
    DetachKeys,
}

/// This process's side of an attachment. Dropping it puts terminal and signals right.
#[derive(Debug)]
pub(super) struct Session {
    // Order matters: the terminal is put right while signals are still held back.
    raw: Option<RawMode>,
    signals: Option<Signals>,
    matcher: Option<Matcher>,
    sizes: bool,
    /// How often we were asked to end.
    asked: u32,
    pub(super) stdout: Sink,
    pub(super) stderr: Sink,
    /// What is to be passed on of what was typed: at most a packet.
    pub(super) input: Vec<u8>,
    buffer: Vec<u8>,
}

impl Session {
    pub(super) fn begin(options: &AttachOptions) -> Result<Self> {
        let raw = options.tty && options.stdin && terminal::stdin_is_terminal();
        let sizes = options.tty && terminal::size().is_some();
        let mut caught = Vec::new();
        if sizes {
            caught.push(libc::SIGWINCH);
        }
        if raw {
            caught.extend(FATAL);
        } else if options.sig_proxy && !options.tty {
            caught.extend(PROXIED);
        }
        let signals = if caught.is_empty() { None } else { Some(Signals::take(&caught)?) };
        Ok(Self {
            raw: if raw { Some(RawMode::enter()?) } else { None },
            signals,
            matcher: options.tty.then(|| Matcher::new(&options.detach_keys)),
            sizes,
            asked: 0,
            stdout: Sink::new(rustix::stdio::stdout()),
            stderr: Sink::new(rustix::stdio::stderr()),
            input: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Our own terminal and signals are what they were; what is left is to print.
    pub(super) fn release(&mut self) {
        self.raw = None;
        self.signals = None;
    }

    /// Whether output can still be passed on: `false` once nobody reads our stdout any more, an error when a write
    /// failed for another reason (a full disk). That nobody reads our stderr is no reason to leave.
    pub(super) fn output_open(&self) -> Result<bool> {
        for (sink, name) in [(&self.stdout, "standard output"), (&self.stderr, "standard error")] {
            match sink.failed() {
                None | Some(Errno::PIPE) => {}
                Some(e) => return Err(sys::Error::with_subject("write to", name, e.raw_os_error()).into()),
            }
        }
        Ok(self.stdout.failed().is_none())
    }

    /// Waits until our stdout and stderr have taken everything.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.release();
        while !(self.stdout.idle() && self.stderr.idle()) {
            let out = self.stdout.wants_room().map(|fd| (true, fd, PollFlags::OUT));
            let err = self.stderr.wants_room().map(|fd| (false, fd, PollFlags::OUT));
            let watched: Vec<_> = out.into_iter().chain(err).collect();
            for is_stdout in poll(&watched, None)? {
                if is_stdout { self.stdout.drain() } else { self.stderr.drain() }
            }
        }
        self.output_open().map(|_| ())
    }

    /// The size to begin with.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        if self.sizes { terminal::size() } else { None }
    }

    pub(super) fn signal_fd(&self) -> Option<BorrowedFd<'_>> {
        self.signals.as_ref().map(AsFd::as_fd)
    }

    /// All that came by signal. A signal that is to end us does.
    pub(super) fn signalled(&mut self) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        while let Some(signal) = self.signals.as_ref().map_or(Ok(None), Signals::next)? {
            if signal == libc::SIGWINCH {
                told.extend(terminal::size().map(|(rows, cols)| Told::Size(rows, cols)));
            } else if self.raw.is_some() {
                self.raw = None;
                sys::signal::die_of(signal)?;
            } else {
                self.asked += u32::from(matches!(signal, libc::SIGINT | libc::SIGTERM));
                told.push(Told::Signal(signal));
            }
        }
        Ok(told)
    }

    /// docker's way out for who is attached to a process that hears nothing: the third time ends us, and the process
    /// runs on. To be asked when what [`Self::signalled`] gave has been sent on.
    pub(super) fn may_stay(&self) -> Result<()> {
        if self.asked < INSISTENT {
            return Ok(());
        }
        Err(Error::Refused {
            status: ExitStatus::Failed,
            message: format!("got {INSISTENT} SIGTERM/SIGINTs, forcefully exiting"),
            hint: Some("the container runs on: `kelp kill` ends it whatever it does".into()),
            taken: None,
        })
    }

    /// One read of our stdin, which poll(2) has announced, into [`Self::input`].
    pub(super) fn read_stdin(&mut self) -> Typed {
        // A held-back detach key may come on top, and both must fit into a packet.
        self.buffer.resize(MAX_DATA - 64, 0);
        let read = match rustix::io::read(rustix::stdio::stdin(), &mut self.buffer[..]) {
            Ok(0) => return Typed::End,
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Typed::Nothing,
            // EIO of a terminal that is not ours any more, EBADF of a closed stdin: nothing will come.
            Err(_) => return Typed::End,
        };
        self.input.clear();
        let typed = &self.buffer[..read];
        let detach = match &mut self.matcher {
            Some(matcher) => matcher.filter(typed, &mut self.input),
            None => {
                self.input.extend_from_slice(typed);
                false
            }
        };
        match (detach, self.input.is_empty()) {
            (true, _) => Typed::DetachKeys,
            (false, true) => Typed::Nothing,
            (false, false) => Typed::Some,
        }
    }
}

/// poll(2) over descriptors of which each has a name. `None` waits for ever.
pub(super) fn poll<T: Copy>(
    watched: &[(T, BorrowedFd<'_>, PollFlags)],
    timeout: Option<std::time::Duration>,
) -> Result<Vec<T>> {
    let mut fds: Vec<_> =
        watched.iter().map(|(_, fd, events)| PollFd::from_borrowed_fd(*fd, *events)).collect();
    let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(sys::Error::new("poll", e.raw_os_error()).into()),
    }
    Ok(watched
        .iter()
        .zip(&fds)
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|((name, ..), _)| *name)
        .collect())
}
