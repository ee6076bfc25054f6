//! Processes that `exec` added: forked by the handler, heard until their program runs, watched, reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::clients::{Client, Role, Token};
use super::{Handler, reap};
use crate::runtime::handshake::{News, ShimEnd};
use crate::shim::error::Result;
use crate::shim::protocol::{self, Failure, Reply};
use crate::shim::spawn::refused;
use crate::sys::process;

#[derive(Debug)]
struct Exec {
    pid: u32,
    pidfd: OwnedFd,
    pty: Option<OwnedFd>,
    /// `None` once its client has left or knows that the program does not run.
    client: Option<Token>,
    /// `None` once its program runs or is given up.
    getting_ready: Option<GettingReady>,
    reaped: bool,
}

/// Between fork and exec.
#[derive(Debug)]
struct GettingReady {
    talk: ShimEnd,
    deadline: Instant,
}

/// What a descriptor of [`Execs::descriptors`] stands for.
const KINDS: usize = 3;
const PROCESS: usize = 0;
const ORPHANED_PTY: usize = 1;
const TALK: usize = 2;

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

    /// What to poll: of each the process, the terminal that has nobody else to read it, and what it has to say.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.list.iter().enumerate().flat_map(|(at, exec)| {
            let orphan = exec.pty.as_ref().filter(|_| exec.client.is_none());
            let talk = exec.getting_ready.as_ref().map(|g| g.talk.as_fd());
            let process = (PROCESS, exec.pidfd.as_fd());
            let others = [orphan.map(|pty| (ORPHANED_PTY, pty.as_fd())), talk.map(|fd| (TALK, fd))];
            let all = std::iter::once(process).chain(others.into_iter().flatten());
            all.map(move |(kind, fd)| (KINDS * at + kind, fd))
        })
    }

    /// How long it is until [`Self::expire`] has something to do.
    pub(super) fn patience(&self) -> Option<Duration> {
        let deadlines = self.list.iter().filter_map(|e| e.getting_ready.as_ref()).map(|g| g.deadline);
        let left = deadlines.min()?.saturating_duration_since(Instant::now());
        Some(left + Duration::from_millis(1))
    }

    /// Has the process forked that `client` asks for. It is answered when its program runs, or will not.
    pub(super) fn start(&mut self, client: &mut Client, mut fds: Vec<OwnedFd>, handler: &mut dyn Handler) {
        if fds.is_empty() {
            client.gone = true;
            return;
        }
        let request = fds.remove(0);
        let forked = protocol::read_file(&request)
            .map_err(|e| refused("read the exec request", &e))
            .and_then(|json| {
                drop(request);
                handler.exec(&json, fds)
            });
        match forked {
            Ok(forked) => {
                client.role = Role::Exec;
                let deadline = Instant::now() + forked.patience;
                self.list.push(Exec {
                    pid: forked.pid,
                    pidfd: forked.pidfd,
                    pty: None,
                    client: Some(client.token),
                    getting_ready: Some(GettingReady { talk: forked.talk, deadline }),
                    reaped: false,
                });
            }
            Err(failure) => client.last_reply(&Reply::Failed(failure)),
        }
    }

    /// A descriptor of [`Self::descriptors`] is ready.
    pub(super) fn ready(&mut self, number: usize, clients: &mut [Client]) -> Result<()> {
        let Some(exec) = self.list.get_mut(number / KINDS) else { return Ok(()) };
        match number % KINDS {
            ORPHANED_PTY => exec.discard(),
            TALK => exec.hear(clients),
            _ => exec.reap(clients)?,
        }
        Ok(())
    }

    /// Gives up those that took too long.
    pub(super) fn expire(&mut self, clients: &mut [Client]) {
        for exec in &mut self.list {
            if exec.getting_ready.as_ref().is_some_and(|g| g.deadline <= Instant::now()) {
                let late = crate::sys::Error::new("wait for the new process", libc::ETIMEDOUT);
                exec.give_up(refused("start the program", &late), clients);
            }
        }
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

impl Exec {
    fn client<'c>(&self, clients: &'c mut [Client]) -> Option<&'c mut Client> {
        clients.iter_mut().find(|c| Some(c.token) == self.client)
    }

    /// All that the process has said by now.
    fn hear(&mut self, clients: &mut [Client]) {
        while let Some(ready) = &self.getting_ready {
            match ready.talk.try_next() {
                Ok(None) => return,
                // A later process has nothing to warn of that the first one has not.
                Ok(Some(News::Warning(_))) => {}
                Ok(Some(News::Terminal(master))) => self.pty = Some(master),
                Ok(Some(News::Running)) => self.runs(clients),
                Ok(Some(News::Failed(failure))) => self.give_up(cannot_invoke(failure.into()), clients),
                Err(e) => self.give_up(refused("start the program", &e), clients),
            }
        }
    }

    fn runs(&mut self, clients: &mut [Client]) {
        self.getting_ready = None;
        if let Some(client) = self.client(clients) {
            let reply = Reply::ExecStarted { pid: self.pid, tty: self.pty.is_some() };
            let descriptors: Vec<_> = self.pty.iter().map(AsFd::as_fd).collect();
            client.reply(&reply, &descriptors);
        }
    }

    /// The program will not run. What there is of the process is reaped as soon as it is dead.
    fn give_up(&mut self, failure: Failure, clients: &mut [Client]) {
        self.getting_ready = None;
        let _ = process::signal(&self.pidfd, libc::SIGKILL);
        if let Some(client) = self.client(clients) {
            client.last_reply(&Reply::Failed(failure));
        }
        self.client = None;
    }

    fn reap(&mut self, clients: &mut [Client]) -> Result<()> {
        // Its last words come before its end.
        self.hear(clients);
        if let Some(status) = reap(&self.pidfd)? {
            self.reaped = true;
            // Whoever forked at that moment can hold the other end of `talk` a little longer than the process did:
            // one that has ended without a word about a failure ran.
            if self.getting_ready.is_some() {
                self.runs(clients);
            }
            if let Some(client) = self.client(clients) {
                client.end(status.code(), None);
            }
        }
        Ok(())
    }

    /// Reads a terminal that its client left, so that whoever prints there does not stand still.
    fn discard(&mut self) {
        let Some(pty) = &self.pty else { return };
        let mut nowhere = [0; 4096];
        match rustix::io::read(pty, &mut nowhere) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            _ => self.pty = None,
        }
    }
}

/// docker's status where an `exec` cannot start its program, whatever keeps it: an unknown user, too.
fn cannot_invoke(failure: Failure) -> Failure {
    let status = if failure.status == 125 { 126 } else { failure.status };
    Failure { status, ..failure }
}
