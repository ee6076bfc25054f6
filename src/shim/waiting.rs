//! A shim before it has a container: from its first instruction until a command hands one over.
//!
//! Nothing exists yet that could be lost. When the command closes the socket instead, or dies, the shim ends.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::life::{Shim, explain_namespace};
use super::network::ahead::{self, Ahead, Guess};
use super::protocol::{self, Failure, Reply, Request};
use super::spawn::{self, refused, refused_by_store};
use crate::store::Layout;
use crate::store::container::boot_id;
use crate::store::id::ContainerId;
use crate::store::userns::Pending;
use crate::sys::{self, process, signal};

/// What a shim knows from birth.
#[derive(Debug)]
pub(super) struct Newborn {
    layout: Layout,
    id: ContainerId,
    /// Processes that write the id maps of a fresh user namespace; none when one was joined, or when its map has a
    /// single id.
    writers: Vec<u32>,
    /// Held while a fresh user namespace waits to be published.
    userns_lock: Option<OwnedFd>,
    guess: Guess,
    client: OwnedFd,
    /// Held until the end, see [`spawn::PROGRAM`].
    program: OwnedFd,
}

/// What can be had before the container is known, and is not waited for when it is.
#[derive(Debug)]
pub(super) struct Ready {
    pub boot_id: String,
    /// Clock ticks since boot at which this process started.
    pub started: u64,
    /// The group of terminals: docker's 5, tty, where the map has one.
    pub tty_gid: u32,
    /// The network namespace that it will want by all appearances.
    pub network: Option<Ahead>,
}

impl Newborn {
    /// Takes over what [`spawn::spawn`] placed. `None`: this is no shim that kelp started.
    pub(super) fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let root = PathBuf::from(args.next()?);
        let id = args.next()?.into_string().ok()?.parse().ok()?;
        let guess = Guess::of_word(args.next()?.to_str()?)?;
        let writers = args.map(|pid| pid.to_str()?.parse().ok()).collect::<Option<_>>()?;
        let client = process::inherited(spawn::FIRST_CLIENT)?;
        let program = process::inherited(spawn::PROGRAM)?;
        // All of them now: a number that was not handed over will soon be something else's.
        let userns_lock = process::inherited(spawn::USERNS_LOCK);
        Some(Self { layout: Layout::new(root), id, writers, userns_lock, guess, client, program })
    }

    /// Waits for the container, and stays with it.
    pub(super) fn run(mut self) {
        let _ = rustix::thread::set_name(c"kelp-shim");
        signal::ignore_sigpipe();
        let _ = signal::ignore_file_size_signal();
        let made = process::undumpable()
            .map_err(|e| refused("protect the shim", &e))
            // Needs no ids, so it is made while those are still being written.
            .and_then(|()| self.network())
            .and_then(|network| self.settle().and_then(|()| ready(network)));
        match made {
            Ok(ready) => {
                if let Some((shim, bundle)) = self.receive(ready) {
                    shim.run(bundle);
                }
            }
            Err(failure) => {
                let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
            }
        }
    }

    fn network(&self) -> Result<Option<Ahead>, Failure> {
        ahead::begin(self.guess).map_err(|e| explain_namespace(&e))
    }

    /// A fresh user namespace has its maps from here on, and is there for others to join.
    fn settle(&mut self) -> Result<(), Failure> {
        // The lock tells, not the writers: a map of a single id has none, and waits to be published all the same.
        let Some(lock) = self.userns_lock.take() else { return Ok(()) };
        let pending = Pending { writers: self.writers.clone(), lock: Some(lock) };
        pending.finish(self.layout.root()).map_err(|e| refused_by_store(&e))?;
        spawn::settle_capabilities().map_err(|e| refused("settle capabilities", &e))
    }

    /// The container's life and settings. `None` when there is nothing to start after all.
    fn receive(self, ready: Ready) -> Option<(Shim, OwnedFd)> {
        let mut buffer = Vec::new();
        let mut fds = Vec::new();
        let packet = protocol::receive(self.client.as_fd(), &mut buffer, &mut fds).ok()?;
        let Ok(Request::Launch) = Request::decode(packet) else { return None };
        let (life, bundle) = (fds.pop()?, fds.pop()?);
        let Self { layout, id, client, program, .. } = self;
        let dir = layout.container_dir(&id);
        Some((Shim { layout, id, dir, client, life, program, ready }, bundle))
    }
}

fn ready(network: Option<Ahead>) -> Result<Ready, Failure> {
    let tty_gid = match sys::userns::IdMap::of_process(std::process::id()) {
        Ok(map) if map.has_gid(5) => 5,
        _ => 0,
    };
    let started = process::start_time(std::process::id()).unwrap_or_default();
    let boot_id = boot_id().map_err(|e| refused_by_store(&e))?;
    Ok(Ready { boot_id, started, tty_gid, network })
}
