//! One TCP connection of the container's: queries one after the other, each answered before the next is read.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;

use super::lookup::{IDLE, framed, unframed};
use super::message::LONGEST;
use crate::sys::inet;

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub socket: OwnedFd,
    /// Who asks.
    pub client: IpAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Its query is being looked up.
    busy: bool,
    /// Not moved by single bytes: whoever sends a query sends it at once.
    deadline: Instant,
}

/// What a connection wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing before something happens.
    Nothing,
    /// An answer to this message.
    Answer(Vec<u8>),
    /// To be closed.
    End,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd, client: IpAddr, now: Instant) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self { socket, client, input, output, sent: 0, busy: false, deadline: now + IDLE }
    }

    /// When it is closed for want of anything to do. A lookup ends by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.busy).then_some(self.deadline)
    }

    /// Goes as far as it can.
    pub(super) fn ready(&mut self, buffer: &mut [u8]) -> Wants {
        while self.sent < self.output.len() {
            match inet::send(&self.socket, &self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => return Wants::Nothing,
                Err(_) => return Wants::End,
            }
        }
        if self.busy {
            return Wants::Nothing;
        }
        (self.output, self.sent) = (Vec::new(), 0);
        loop {
            if let Some(query) = unframed(&self.input) {
                let query = query.to_vec();
                self.input.drain(..2 + query.len());
                self.busy = true;
                return Wants::Answer(query);
            }
            let room = (2 + LONGEST).saturating_sub(self.input.len()).min(buffer.len());
            match inet::receive(&self.socket, &mut buffer[..room]) {
                Ok(0) => return Wants::End,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(Errno::AGAIN) => return Wants::Nothing,
                Err(_) => return Wants::End,
            }
        }
    }

    /// The answer to what it wanted; [`Self::ready`] sends it.
    pub(super) fn answer(&mut self, answer: &[u8], now: Instant) {
        (self.output, self.sent, self.busy) = (framed(answer), 0, false);
        self.deadline = now + IDLE;
    }
}
