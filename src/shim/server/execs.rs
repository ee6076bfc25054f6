//! Processes that `exec` added: started through the handler, watched, reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::clients::{Client, Role, Token};
use super::{Handler, reap};
use crate::shim::error::Result;
use crate::shim::protocol::{Failure, MAX_EXEC_REQUEST, Reply};
use crate::sys::process;

#[derive(Debug)]
struct Exec {
    pidfd: OwnedFd,
    pty: Option<OwnedFd>,
    /// `None` once its client has left.
    client: Option<Token>,
    reaped: bool,
}

#[derive(Debug, Default)]
pub(super) struct Execs {
    list: Vec<Exec>,
}

impl Execs {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What to poll: the processes at even numbers, the terminals that have nobody else to read them at odd ones.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.list.iter().enumerate().flat_map(|(at, exec)| {
            let orphan = exec.pty.as_ref().filter(|_| exec.client.is_none());
            let process = (2 * at, exec.pidfd.as_fd());
            std::iter::once(process).chain(orphan.map(|pty| (2 * at + 1, pty.as_fd())))
        })
    }

    /// Has the process started that `client` asks for, and answers.
    pub(super) fn start(&mut self, client: &mut Client, mut fds: Vec<OwnedFd>, handler: &mut dyn Handler) {
        if fds.is_empty() {
            client.gone = true;
            return;
        }
        let request = fds.remove(0);
        let started = read_request(&request).and_then(|json| {
            drop(request);
            handler.exec(&json, fds)
        });
        match started {
            Ok(started) => {
                let pty = started.pty_master;
                let reply = Reply::ExecStarted { pid: started.pid, tty: pty.is_some() };
                let descriptors: Vec<_> = pty.iter().map(AsFd::as_fd).collect();
                client.reply(&reply, &descriptors);
                client.role = Role::Exec;
                self.list.push(Exec { pidfd: started.pidfd, pty, client: Some(client.token), reaped: false });
            }
            Err(failure) => client.last_reply(&Reply::Failed(failure)),
        }
    }

    /// A descriptor of [`Self::descriptors`] is ready.
    pub(super) fn ready(&mut self, number: usize, clients: &mut [Client]) -> Result<()> {
        let Some(exec) = self.list.get_mut(number / 2) else { return Ok(()) };
        if number % 2 == 1 {
            discard(exec);
            return Ok(());
        }
        if let Some(status) = reap(&exec.pidfd)? {
            exec.reaped = true;
            if let Some(client) = clients.iter_mut().find(|c| Some(c.token) == exec.client) {
                client.end(status.code(), None);
            }
        }
        Ok(())
    }

    pub(super) fn signal(&self, client: Token, signal: i32) {
        if let Some(exec) = self.list.iter().find(|e| e.client == Some(client)) {
            // There is nobody to tell: the process may just have ended.
            let _ = process::signal(&exec.pidfd, signal);
        }
    }

    /// The client is gone, its process goes on.
    pub(super) fn client_left(&mut self, token: Token) {
        for exec in self.list.iter_mut().filter(|e| e.client == Some(token)) {
            exec.client = None;
        }
    }

    /// Drops what has been reaped. Only between two polls, since it changes the numbers.
    pub(super) fn forget(&mut self) {
        self.list.retain(|exec| !exec.reaped);
    }
}

/// Reads a terminal that its client left, so that whoever prints there does not stand still.
fn discard(exec: &mut Exec) {
    let Some(pty) = &exec.pty else { return };
    let mut nowhere = [0; 4096];
    match rustix::io::read(pty, &mut nowhere) {
        Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
        _ => exec.pty = None,
    }
}

/// The request, bounded. It is a file in memory, so reading does not wait.
fn read_request(file: &OwnedFd) -> std::result::Result<Vec<u8>, Failure> {
    let fail =
        |message: &str| Failure { status: 125, message: format!("exec request: {message}"), hint: None };
    let size = rustix::fs::fstat(file).map_or(0, |s| usize::try_from(s.st_size).unwrap_or(0));
    if size == 0 || size > MAX_EXEC_REQUEST {
        return Err(fail("its size is out of bounds"));
    }
    let mut json = vec![0; size];
    let mut have = 0;
    while have < size {
        match rustix::io::pread(file, &mut json[have..], have as u64) {
            Ok(0) => return Err(fail("it is shorter than it says")),
            Ok(n) => have += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(fail(&e.to_string())),
        }
    }
    Ok(json)
}
