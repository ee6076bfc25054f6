//! One connection: what it asked for, what it is owed, and how it is kept from holding up anybody else.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::shim::error::Result;
use crate::shim::log::{Stream, Writer};
use crate::shim::protocol::{self, Attach, Reply};
use crate::sys::socket;

/// Names a connection; never used twice.
pub(super) type Token = u64;

/// Bytes that may wait in a client's socket while it is served, and when it is told the last words. The
/// difference is what makes room for those: the kernel lets one packet overshoot, and doubles both.
const ROOM: usize = 64 * 1024;
const LAST_ROOM: usize = 208 * 1024;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has not said so yet.
    New,
    Attached(Attach),
    Waiting,
    /// A process that it had started.
    Exec,
}

/// The answer to a `Stdin` packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    Taken,
    Gone,
}

/// Whether the other end belongs to the container's owner. In the user's namespace the owner is its root.
pub(super) fn is_ours(socket: &OwnedFd) -> bool {
    let own = rustix::process::geteuid().as_raw();
    socket::peer_uid(socket).is_ok_and(|uid| uid == own || uid == 0)
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) token: Token,
    pub(super) socket: OwnedFd,
    pub(super) role: Role,
    /// Where in the log the output begins that did not fit into the socket.
    lag: Option<u64>,
    owed: Option<Owed>,
    /// It has closed; what it sent before is still to be read.
    deaf: bool,
    /// To be forgotten at the end of the round.
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(token: Token, socket: OwnedFd, role: Role) -> Self {
        // Without it the last words may not fit, and the client learns the end from the store.
        let _ = socket::set_send_buffer(&socket, ROOM);
        Self { token, socket, role, lag: None, owed: None, deaf: false, gone: false }
    }

    /// Whether it waits for room in its socket.
    pub(super) fn wants_room(&self) -> bool {
        !self.deaf && (self.lag.is_some() || self.owed.is_some())
    }

    fn wants(&self, stream: Stream) -> bool {
        match (self.role, stream) {
            (Role::Attached(a), Stream::Stdout) => a.stdout,
            (Role::Attached(a), Stream::Stderr) => a.stderr,
            _ => false,
        }
    }

    /// Output: `packet` is ready to send and stands in the log from `logged` on.
    pub(super) fn output(&mut self, stream: Stream, packet: &[u8], logged: u64) {
        if self.gone || self.deaf || self.lag.is_some() || !self.wants(stream) {
            return;
        }
        match socket::send(&self.socket, &[IoSlice::new(packet)], &[], false) {
            Ok(true) => {}
            Ok(false) => self.lag = Some(logged),
            Err(_) => self.deaf = true,
        }
    }

    /// A reply that must fit, since the client's socket is as good as empty at that point.
    pub(super) fn reply(&mut self, reply: &Reply<'_>, fds: &[BorrowedFd<'_>]) {
        match protocol::send(self.socket.as_fd(), reply.encode(), fds, false) {
            Ok(true) => {}
            Ok(false) => self.gone = true,
            // It has closed; what it sent before that still counts.
            Err(_) => self.deaf = true,
        }
    }

    /// The answer to all that this client came for: the socket closes behind it.
    pub(super) fn last_reply(&mut self, reply: &Reply<'_>) {
        self.reply(reply, &[]);
        self.gone = true;
    }

    /// The answer to a `Stdin` packet, now or as soon as there is room.
    pub(super) fn owe(&mut self, owed: Owed, log: &Writer) {
        self.owed = Some(owed);
        self.catch_up(log);
    }

    /// Sends what it is owed, as far as there is room.
    pub(super) fn catch_up(&mut self, log: &Writer) {
        if self.try_catch_up(log).is_err() {
            self.deaf = true;
        }
    }

    fn try_catch_up(&mut self, log: &Writer) -> Result<()> {
        if let Some(from) = self.lag {
            let gap = Reply::Gap { from, to: log.end() };
            if from < log.end() && !protocol::send(self.socket.as_fd(), gap.encode(), &[log.file()], false)? {
                return Ok(());
            }
            self.lag = None;
        }
        if let Some(owed) = self.owed {
            let reply = match owed {
                Owed::Taken => Reply::StdinTaken,
                Owed::Gone => Reply::StdinGone,
            };
            if protocol::send(self.socket.as_fd(), reply.encode(), &[], false)? {
                self.owed = None;
            }
        }
        Ok(())
    }

    /// The last words: what is missing of the output, and the exit code.
    pub(super) fn end(&mut self, code: u8, log: Option<&Writer>) {
        let _ = socket::set_send_buffer(&self.socket, LAST_ROOM);
        if let Some(log) = log {
            self.catch_up(log);
        }
        self.last_reply(&Reply::Exited { code });
    }
}
