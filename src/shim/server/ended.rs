//! The last words: the container has ended, and those who are attached or wait hear how.

use std::os::fd::OwnedFd;

use super::clients::{Client, Role, is_ours};
use crate::shim::log::Writer;
use crate::sys::process::WaitStatus;
use crate::sys::socket;

/// The first process has ended and all output is in the log; the clients do not know yet.
#[derive(Debug)]
pub struct Ended {
    pub status: WaitStatus,
    /// Somebody was heard to want its end, or this process did: SIGKILL was sent from here.
    pub killed: bool,
    pub(super) listener: OwnedFd,
    pub(super) clients: Vec<Client>,
    pub(super) log: Writer,
}

impl Ended {
    /// Tells every client that is attached or waits, and closes their sockets. Does not wait for them. An exec'd
    /// process that is not reaped yet was killed with its namespace.
    pub fn tell(mut self, code: u8) {
        while let Ok(Some(socket)) = socket::accept(&self.listener) {
            // Whatever it came to ask, this is the answer.
            if is_ours(&socket) {
                self.clients.push(Client::new(0, socket, Role::New));
            }
        }
        for client in &mut self.clients {
            match client.role {
                Role::Attached(_) => client.end(code, Some(&self.log)),
                Role::New | Role::Waiting => client.end(code, None),
                Role::Exec => client.end(WaitStatus::Signaled(libc::SIGKILL).code(), None),
            }
        }
    }
}
