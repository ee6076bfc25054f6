//! An attachment: our stdio joined to the container's through its shim.
//!
//! One packet of output is in hand at a time: as long as our own stdout has not taken it, nothing more is read
//! from the shim, which then keeps no more for us than a place in the log.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;

use super::session::{Session, Told, Typed, poll};
use super::{AttachOptions, Ending, UNEXPECTED, send};
use crate::shim::error::{Error, Result};
use crate::shim::log::{self, Stream};
use crate::shim::protocol::{self, Reply, Request};

/// Where our stdin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// A packet is on its way into the container.
    Sent,
    Over,
}

/// Output that is to be read from the log.
#[derive(Debug)]
struct Gap {
    file: OwnedFd,
    from: u64,
    to: u64,
}

struct Attachment<'a> {
    socket: OwnedFd,
    options: &'a AttachOptions,
    session: Session,
    input: Input,
    gap: Option<Gap>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Socket,
    Stdin,
    Signals,
    Stdout,
    Stderr,
}

/// Joins this process's stdio to the container's until it ends or the user detaches. For a socket of
/// [`super::request_attach`], or the first client's after `receive_started`. Ends with [`Error::Gone`] when the shim
/// dies.
pub fn attach_session(socket: OwnedFd, options: &AttachOptions) -> Result<Ending> {
    let session = Session::begin(options)?;
    let input = if options.stdin { Input::Open } else { Input::Over };
    let mut attachment = Attachment { socket, options, session, input, gap: None, buffer: Vec::new() };
    if let Some((rows, cols)) = attachment.session.size() {
        attachment.tell(&Request::Resize { rows, cols })?;
    }
    loop {
        if let Some(ending) = attachment.round()? {
            return Ok(ending);
        }
    }
}

impl Attachment<'_> {
    fn round(&mut self) -> Result<Option<Ending>> {
        let idle = self.session.stdout.idle() && self.session.stderr.idle();
        if idle && self.gap.is_some() {
            self.read_gap()?;
        }
        for source in self.wait()? {
            let ending = match source {
                Source::Socket => self.packet()?,
                Source::Stdin => self.typed()?,
                Source::Signals => {
                    self.signalled()?;
                    None
                }
                Source::Stdout => {
                    self.session.stdout.drain();
                    None
                }
                Source::Stderr => {
                    self.session.stderr.drain();
                    None
                }
            };
            if ending.is_some() {
                self.session.flush()?;
                return Ok(ending);
            }
        }
        Ok((!self.session.output_open()?).then_some(Ending::OutputClosed))
    }

    fn wait(&self) -> Result<Vec<Source>> {
        let mut watched = Vec::with_capacity(5);
        let session = &self.session;
        let idle = session.stdout.idle() && session.stderr.idle();
        if idle && self.gap.is_none() {
            watched.push((Source::Socket, self.socket.as_fd(), PollFlags::IN));
        }
        if self.input == Input::Open {
            watched.push((Source::Stdin, rustix::stdio::stdin(), PollFlags::IN));
        }
        watched.extend(session.signal_fd().map(|fd| (Source::Signals, fd, PollFlags::IN)));
        watched.extend(session.stdout.wants_room().map(|fd| (Source::Stdout, fd, PollFlags::OUT)));
        watched.extend(session.stderr.wants_room().map(|fd| (Source::Stderr, fd, PollFlags::OUT)));
        // In the middle of a gap nothing is waited for, unless our own stdout has no room.
        let timeout = (idle && self.gap.is_some()).then_some(std::time::Duration::ZERO);
        poll(&watched, timeout)
    }

    /// One packet from the shim.
    fn packet(&mut self) -> Result<Option<Ending>> {
        let mut fds = Vec::new();
        let packet = protocol::receive(self.socket.as_fd(), &mut self.buffer, &mut fds)?;
        match Reply::decode(packet)? {
            Reply::Stdout(bytes) => self.session.stdout.write(bytes),
            Reply::Stderr(bytes) => self.session.stderr.write(bytes),
            Reply::Gap { from, to } => {
                let file = fds.pop().ok_or(UNEXPECTED)?;
                self.gap = Some(Gap { file, from, to });
            }
            Reply::StdinTaken if self.input == Input::Sent => self.input = Input::Open,
            Reply::StdinTaken => {}
            Reply::StdinGone => self.input = Input::Over,
            Reply::Attached { .. } => {}
            Reply::Exited { code } => return Ok(Some(Ending::Exited(code))),
            Reply::Failed(failure) => return Err(failure.into()),
            _ => return Err(UNEXPECTED),
        }
        Ok(None)
    }

    /// The next block of the output that is to be found in the log. Neighbours of one stream are written at once: each
    /// write of a line would wake up a reader who waits.
    fn read_gap(&mut self) -> Result<()> {
        let Some(gap) = &mut self.gap else { return Ok(()) };
        let (session, options) = (&mut self.session, self.options);
        let at = log::blocks(gap.file.as_fd(), gap.from, gap.to, |block| {
            let mut run = (Stream::Stdout, Vec::with_capacity(block.len()));
            for record in block.split_inclusive(|b| *b == b'\n').filter_map(log::Record::parse) {
                if record.stream != run.0 {
                    pass(session, options, &run);
                    run.0 = record.stream;
                    run.1.clear();
                }
                run.1.extend_from_slice(record.bytes);
            }
            pass(session, options, &run);
            Ok(false)
        })?;
        if at == gap.from || at >= gap.to {
            self.gap = None;
        } else {
            gap.from = at;
        }
        Ok(())
    }

    fn typed(&mut self) -> Result<Option<Ending>> {
        let typed = self.session.read_stdin();
        if !self.session.input.is_empty() && matches!(typed, Typed::Some | Typed::DetachKeys) {
            let input = std::mem::take(&mut self.session.input);
            self.tell(&Request::Stdin(&input))?;
            self.session.input = input;
            self.input = Input::Sent;
        }
        match typed {
            Typed::DetachKeys => return Ok(Some(Ending::Detached)),
            Typed::End => {
                self.input = Input::Over;
                self.tell(&Request::StdinClosed)?;
            }
            Typed::Some | Typed::Nothing => {}
        }
        Ok(None)
    }

    fn signalled(&mut self) -> Result<()> {
        for told in self.session.signalled()? {
            match told {
                Told::Signal(signal) => self.tell(&Request::Signal(signal))?,
                Told::Size(rows, cols) => self.tell(&Request::Resize { rows, cols })?,
            }
        }
        self.session.may_stay()
    }

    /// A shim that is gone already has left its last words in the socket, so this is not the place to stop.
    fn tell(&self, request: &Request<'_>) -> Result<()> {
        match send(&self.socket, request) {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }
}

/// Output of one stream, if it is ours.
fn pass(session: &mut Session, options: &AttachOptions, (stream, bytes): &(Stream, Vec<u8>)) {
    match stream {
        _ if bytes.is_empty() => {}
        Stream::Stdout if options.stdout => session.stdout.write(bytes),
        Stream::Stderr if options.stderr => session.stderr.write(bytes),
        Stream::Stdout | Stream::Stderr => {}
    }
}
