//! From a command to a shim: the new process, the user namespace, and the re-execution from a read-only mount.
//!
//! A shim is started before there is anything for it to do: while it becomes a process of its own, the command looks
//! up the image and makes the container. Then the command hands the container over; one that changes its mind closes
//! the socket, and the shim ends without a trace.
//!
//! The calling process has one thread. The child leaves its session and terminal, becomes root of the user's
//! namespace, takes a mount namespace of its own, and executes this same program from a detached read-only
//! mount, with the client's socket and nothing else. While a fresh namespace's maps are still being written the
//! exec would cost the child its capabilities, so they are made ambient first.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::network::ahead::Guess;
use super::protocol::{self, Failure, Reply, Request};
use super::{ROLE, Result};
use crate::error::{Hint, chain};
use crate::store::id::ContainerId;
use crate::store::lock::LifeLock;
use crate::store::userns::{self, Entered, Patience};
use crate::store::{self, Layout};
use crate::sys::process::{self, Child, Fork};
use crate::sys::{self, Context, vfork};

/// The numbers under which a shim finds what it inherits.
pub(super) const FIRST_CLIENT: RawFd = 3;
/// The read-only mount that the shim is executed from.
pub(super) const PROGRAM: RawFd = 4;
/// Only while a fresh user namespace waits to be published.
pub(super) const USERNS_LOCK: RawFd = 5;
/// Above all that are placed, low enough for a host that allows few.
pub(super) const OUT_OF_THE_WAY: RawFd = 16;

/// A shim that waits for its container. Dropped, it ends.
#[derive(Debug)]
pub struct Waiting(OwnedFd);

/// Starts a shim for the container `id`, which need not exist yet, and which will most likely want the network of
/// `guess`. Why there is no shim is told by [`Waiting::launch`].
pub fn spawn(layout: &Layout, id: &ContainerId, guess: Guess) -> Result<Waiting> {
    let (ours, theirs) = protocol::pair()?;
    // The shim is nobody's child for long: this command ends, or does not wait for it.
    let Child { .. } = vfork::spawn(&mut || {
        // Out of the way of the numbers that are laid out for the shim: what fails after that is told as well.
        let client = rustix::io::fcntl_dupfd_cloexec(&theirs, OUT_OF_THE_WAY);
        let client = client.as_ref().unwrap_or(&theirs);
        let own = Newborn { layout, id, guess, client };
        match own.become_shim(Patience::None) {
            Ok(WouldWait) => own.wait_elsewhere(),
            Err(failure) => own.fail(failure),
        }
    })?;
    Ok(Waiting(ours))
}

/// A process that is to be a shim.
struct Newborn<'a> {
    layout: &'a Layout,
    id: &'a ContainerId,
    guess: Guess,
    client: &'a OwnedFd,
}

/// There is no shim yet: another process is making the user's namespace.
struct WouldWait;

impl Newborn<'_> {
    /// In a process that has its memory to itself: the command does not wait for anybody's namespace.
    fn wait_elsewhere(&self) -> u8 {
        match process::fork(0) {
            Ok(Fork::Parent(_)) => 0,
            Ok(Fork::Child) => match self.become_shim(Patience::Endless) {
                Ok(WouldWait) => process::exit_now(125),
                Err(failure) => process::exit_now(self.fail(failure)),
            },
            Err(e) => self.fail(refused("fork", &e)),
        }
    }

    fn fail(&self, failure: Failure) -> u8 {
        let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
        125
    }

    /// Returns only when there is no shim.
    fn become_shim(&self, patience: Patience) -> std::result::Result<WouldWait, Failure> {
        let Self { layout, id, guess, client } = self;
        process::leave_terminal().map_err(|e| refused("leave the terminal", &e))?;
        let entered = userns::enter_shared(layout.root(), patience).map_err(|e| refused_by_store(&e))?;
        let (writers, lock) = match entered {
            None => return Ok(WouldWait),
            Some(Entered::Joined) => (Vec::new(), None),
            Some(Entered::Created(pending)) => (pending.writers, pending.lock),
        };
        process::unshare(libc::CLONE_NEWNS).map_err(|e| refused("make a mount namespace", &e))?;
        if !writers.is_empty() {
            keep_capabilities_across_exec().map_err(|e| refused("keep capabilities", &e))?;
        }
        let program = sys::program::own_program().map_err(|e| refused("prepare to execute kelp", &e))?;
        let args = arguments(layout, id, *guess, &writers)?;
        let program = lay_out(&program, client, lock.as_ref()).map_err(|e| refused("hand over", &e))?;
        Err(refused("execute kelp as a shim", &process::exec_fd(&program, &args, &[])))
    }
}

impl Waiting {
    /// Hands over the container, whose record says that it is launched: the JSON of a [`super::launch::Bundle`], and
    /// its life. The answer, `Started` or `Failed`, comes on
    /// the returned socket.
    pub fn launch(self, life: LifeLock, bundle: &[u8]) -> Result<OwnedFd> {
        let bundle = protocol::file_of(bundle)?;
        let fds = [bundle.as_fd(), life.as_fd()];
        match protocol::send(self.0.as_fd(), Request::Launch.encode(), &fds, true) {
            // It could not become one, and has said why.
            Ok(_) | Err(super::Error::Gone) => Ok(self.0),
            Err(e) => Err(e),
        }
    }
}

/// Inheritable and ambient: what a program without any claim of its own keeps, capabilities(7).
fn keep_capabilities_across_exec() -> sys::Result<()> {
    let own = rustix::thread::capabilities(None).op("capget")?;
    let sets = CapabilitySets { inheritable: own.permitted, ..own };
    rustix::thread::set_capabilities(None, sets).op("capset")?;
    for bit in own.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(bit, true).op("raise an ambient capability")?;
    }
    Ok(())
}

/// Gives back what only the exec needed.
pub(super) fn settle_capabilities() -> sys::Result<()> {
    rustix::thread::clear_ambient_capability_set().op("clear ambient capabilities")?;
    let own = rustix::thread::capabilities(None).op("capget")?;
    let sets = CapabilitySets { inheritable: CapabilitySet::empty(), ..own };
    rustix::thread::set_capabilities(None, sets).op("capset")
}

/// The store's root, the container's id, which network is guessed, and the pids of the processes that write the id
/// maps.
fn arguments(
    layout: &Layout,
    id: &ContainerId,
    guess: Guess,
    writers: &[u32],
) -> std::result::Result<Vec<CString>, Failure> {
    let mut words =
        vec![OsStr::new(ROLE), layout.root().as_os_str(), OsStr::new(id.as_str()), OsStr::new(guess.word())];
    let pids: Vec<String> = writers.iter().map(u32::to_string).collect();
    words.extend(pids.iter().map(OsStr::new));
    let word =
        |w: &OsStr| CString::new(w.as_bytes()).map_err(|_| refused_text("the store's path has a NUL in it"));
    words.into_iter().map(word).collect()
}

/// Puts what the shim inherits at its numbers and closes the rest on exec. Returns the program's descriptor.
fn lay_out(program: &OwnedFd, client: &OwnedFd, lock: Option<&OwnedFd>) -> sys::Result<OwnedFd> {
    // First out of the way of the low numbers, which some of these may have themselves.
    let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, OUT_OF_THE_WAY).op("dup");
    let (program, client) = (high(program)?, high(client)?);
    let lock = lock.map(high).transpose()?;
    process::cloexec_from(3)?;
    process::place(&client, FIRST_CLIENT)?;
    // Closing it dissolves the mount, for which the kernel waits for all processors: not on the way of a start.
    process::place(&program, PROGRAM)?;
    match lock {
        Some(lock) => process::place(&lock, USERNS_LOCK)?,
        None => process::close_number(USERNS_LOCK),
    }
    Ok(program)
}

pub(super) fn refused(doing: &str, cause: &dyn std::error::Error) -> Failure {
    Failure { status: 125, message: format!("cannot {doing}: {}", chain(cause)), hint: None, taken: None }
}

fn refused_text(text: &str) -> Failure {
    Failure { status: 125, message: text.into(), hint: None, taken: None }
}

pub(super) fn refused_by_store(error: &store::Error) -> Failure {
    Failure { status: 125, message: chain(error), hint: error.hint(), taken: None }
}
