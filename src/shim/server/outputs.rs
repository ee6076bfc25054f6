//! The container's output streams: two pipes, or its terminal, which has a size too. None of them blocks.
//!
//! A terminal that nobody has open reads as an error until somebody opens it again. While the first process lives
//! that is no end: the stream sleeps, and is tried again later.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::shim::error::Result;
use crate::shim::log::Stream;
use crate::sys::Context;

#[derive(Debug)]
pub(super) struct Outputs {
    streams: Vec<Output>,
    terminal: bool,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    fd: OwnedFd,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Asleep,
    Ended,
}

impl Outputs {
    pub(super) fn terminal(master: OwnedFd) -> Result<Self> {
        Self::new(vec![(Stream::Stdout, master)], true)
    }

    pub(super) fn pipes(stdout: OwnedFd, stderr: OwnedFd) -> Result<Self> {
        Self::new(vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)], false)
    }

    fn new(streams: Vec<(Stream, OwnedFd)>, terminal: bool) -> Result<Self> {
        for (_, fd) in &streams {
            rustix::io::ioctl_fionbio(fd, true).op("FIONBIO")?;
        }
        let open = |(stream, fd)| Output { stream, fd, state: State::Open };
        Ok(Self { streams: streams.into_iter().map(open).collect(), terminal })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether nothing will come any more.
    pub(super) fn have_ended(&self) -> bool {
        self.streams.iter().all(|o| o.state == State::Ended)
    }

    /// What to poll for output, by the index that [`Self::read`] takes.
    pub(super) fn watched(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let open = self.streams.iter().enumerate().filter(|(_, o)| o.state == State::Open);
        open.map(|(at, o)| (at, o.fd.as_fd()))
    }

    pub(super) fn any_asleep(&self) -> bool {
        self.streams.iter().any(|o| o.state == State::Asleep)
    }

    pub(super) fn wake(&mut self) {
        for output in self.streams.iter_mut().filter(|o| o.state == State::Asleep) {
            output.state = State::Open;
        }
    }

    /// One read: the stream, and how many bytes it brought. `alive`: the first process has not ended.
    pub(super) fn read(&mut self, at: usize, buffer: &mut [u8], alive: bool) -> Option<(Stream, usize)> {
        let output = &mut self.streams[at];
        match rustix::io::read(&output.fd, buffer) {
            Ok(n) if n > 0 => return Some((output.stream, n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: no process has the terminal open.
            Err(_) if alive && self.terminal => output.state = State::Asleep,
            Ok(_) | Err(_) => output.state = State::Ended,
        }
        None
    }

    /// The size of the terminal, if it is one.
    pub(super) fn resize(&self, rows: u16, cols: u16) {
        if let Some(master) = self.streams.first().filter(|_| self.terminal) {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal of the wrong size still works.
            let _ = rustix::termios::tcsetwinsize(&master.fd, size);
        }
    }
}
