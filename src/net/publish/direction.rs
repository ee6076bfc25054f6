//! One direction of a connection: bytes from one socket into another, through a pipe, without being looked at.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::sys::inet;

/// The most bytes that a pipe is to hold, and that one call moves: the more at once, the less often the two ends are
/// woken. All pipes of a user together may be 64 MiB, so only the first ones are large.
const PIPE: usize = 256 << 10;
const LARGE: usize = 1 << 20;
const LARGE_ONES: usize = 8;
/// Pipes that are kept for the next one who needs one.
const SPARE: usize = 16;
/// Calls in a row before others have their turn.
const TURN: usize = 32;

/// Pipes that nobody uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: Vec<Pipe>,
    /// Shared by all that are large.
    large: Rc<()>,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes that it is to hold.
    size: usize,
    _large: Option<Rc<()>>,
}

impl Pipes {
    fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.spare.pop() {
            return Ok(pipe);
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let large = Rc::strong_count(&self.large) <= LARGE_ONES;
        if large && rustix::pipe::fcntl_setpipe_size(&write, LARGE).is_ok() {
            return Ok(Pipe { read, write, size: LARGE, _large: Some(Rc::clone(&self.large)) });
        }
        // Where the user's pipes have used up what they may, it stays small.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE);
        Ok(Pipe { read, write, size: PIPE, _large: None })
    }

    /// It is empty.
    fn give_back(&mut self, pipe: Pipe) {
        if self.spare.len() < SPARE {
            self.spare.push(pipe);
        }
    }
}

/// The state of one direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Only while there is something in it.
    pipe: Option<Pipe>,
    /// Bytes in it.
    held: usize,
    /// Bytes that the receiver got.
    given: u64,
    /// The sender sends no more.
    ended: bool,
    /// The receiver knows that.
    told: bool,
}

/// How far a direction got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// As far as it can now.
    Blocked,
    /// It could go on, but others wait.
    Paused,
    /// To its end.
    Done,
}

impl Direction {
    /// Whether something waits for the receiver to take more.
    pub(super) fn is_held_up(&self) -> bool {
        self.held > 0
    }

    /// How far it got before.
    pub(super) fn rests(&self) -> Moved {
        if self.told { Moved::Done } else { Moved::Blocked }
    }

    /// Bytes that the receiver got so far.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Moves what can be moved. An error is the connection's end.
    pub(super) fn pump(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<Moved, Errno> {
        if self.told {
            return Ok(Moved::Done);
        }
        let mut pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => pipes.take()?,
        };
        let moved = self.turn(from, to, &mut pipe);
        if self.held == 0 {
            pipes.give_back(pipe);
        } else {
            self.pipe = Some(pipe);
        }
        moved
    }

    fn turn(&mut self, from: &OwnedFd, to: &OwnedFd, pipe: &mut Pipe) -> Result<Moved, Errno> {
        for _ in 0..TURN {
            // A slot of a pipe holds up to 32 KiB of a socket's bytes, not the page that its size counts with.
            let room = if self.ended { 0 } else { pipe.size.saturating_sub(self.held) };
            let taken = if room == 0 { None } else { splice(from, &pipe.write, room)? };
            match taken {
                Some(0) => self.ended = true,
                Some(n) => self.held += n,
                None => {}
            }
            let given = if self.held == 0 { None } else { splice(&pipe.read, to, self.held)? };
            self.held -= given.unwrap_or(0).min(self.held);
            self.given += given.unwrap_or(0) as u64;
            if self.ended && self.held == 0 {
                // The receiver may have closed already.
                let _ = inet::shutdown_write(to);
                self.told = true;
                return Ok(Moved::Done);
            }
            if taken.is_none() && given.is_none() {
                return Ok(Moved::Blocked);
            }
        }
        Ok(Moved::Paused)
    }
}

/// `None`: nothing can be moved now.
fn splice(from: &OwnedFd, to: &OwnedFd, length: usize) -> Result<Option<usize>, Errno> {
    loop {
        match rustix::pipe::splice(from, None, to, None, length, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Ok(n) => return Ok(Some(n)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_pipes_are_large() {
        let mut pipes = Pipes::default();
        let mut all: Vec<Pipe> = (0..LARGE_ONES + 2).map(|_| pipes.take().unwrap()).collect();
        let large = |all: &[Pipe]| all.iter().filter(|pipe| pipe.size == LARGE).count();
        assert!(large(&all) <= LARGE_ONES && all.last().unwrap().size == PIPE);
        // One that went makes room for another.
        all.retain(|pipe| pipe.size == PIPE);
        all.push(pipes.take().unwrap());
        assert!(large(&all) <= 1);
    }

    #[test]
    fn bytes_and_the_end_arrive_in_order_and_a_reader_that_rests_costs_a_pipe() {
        let (sender, from) = inet::stream_pair().unwrap();
        let (to, receiver) = inet::stream_pair().unwrap();
        let (mut direction, mut pipes) = (Direction::default(), Pipes::default());
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (mut at, mut got, mut buffer) = (0, Vec::new(), vec![0; 100_000]);
        while got.len() < sent.len() {
            while at < sent.len() {
                match inet::send(&sender, &sent[at..]) {
                    Ok(n) => at += n,
                    Err(_) => break,
                }
                direction.pump(&from, &to, &mut pipes).unwrap();
            }
            direction.pump(&from, &to, &mut pipes).unwrap();
            assert!(direction.held <= LARGE);
            while let Ok(n) = inet::receive(&receiver, &mut buffer) {
                got.extend_from_slice(&buffer[..n]);
            }
        }
        assert!(got == sent && direction.pipe.is_none() && !direction.told);
        // Not by closing: a process that another test forks at this moment may have the descriptor too.
        inet::shutdown_write(&sender).unwrap();
        assert_eq!(direction.pump(&from, &to, &mut pipes).unwrap(), Moved::Done);
        assert_eq!(inet::receive(&receiver, &mut buffer), Ok(0));
        assert!(inet::send(&receiver, b"the other direction is open").is_ok());
    }
}
