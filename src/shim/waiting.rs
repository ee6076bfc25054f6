//! A shim before it has a container: from its first instruction until a command hands one over.
//!
//! Nothing exists yet that could be lost. When the command closes the socket instead, or dies, the shim ends.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::life::Shim;
use super::protocol::{self, Failure, Reply, Request};
use super::spawn::{self, refused, refused_by_store};
use crate::store::Layout;
use crate::store::id::ContainerId;
use crate::store::userns::Pending;
use crate::sys::{process, signal};

/// What a shim knows from birth.
#[derive(Debug)]
pub(super) struct Newborn {
    layout: Layout,
    id: ContainerId,
    /// Processes that write the id maps of a fresh user namespace; empty when one was joined.
    writers: Vec<u32>,
    client: OwnedFd,
}

impl Newborn {
    /// Takes over what [`spawn::spawn`] placed. `None`: this is no shim that kelp started.
    pub(super) fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let root = PathBuf::from(args.next()?);
        let id = args.next()?.into_string().ok()?.parse().ok()?;
        let writers = args.map(|pid| pid.to_str()?.parse().ok()).collect::<Option<_>>()?;
        let client = process::inherited(spawn::FIRST_CLIENT)?;
        Some(Self { layout: Layout::new(root), id, writers, client })
    }

    /// Waits for the container, and stays with it.
    pub(super) fn run(self) {
        let _ = rustix::thread::set_name(c"kelp-shim");
        process::ignore_sigpipe();
        let _ = signal::ignore_file_size_signal();
        match self.settle() {
            Ok(()) => {
                if let Some(shim) = self.receive() {
                    shim.run();
                }
            }
            Err(failure) => {
                let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
            }
        }
    }

    /// A fresh user namespace has its maps from here on, and is there for others to join.
    fn settle(&self) -> Result<(), Failure> {
        process::undumpable().map_err(|e| refused("protect the shim", &e))?;
        if self.writers.is_empty() {
            return Ok(());
        }
        let lock = process::inherited(spawn::USERNS_LOCK);
        let pending = Pending { writers: self.writers.clone(), lock };
        pending.finish(self.layout.root()).map_err(|e| refused_by_store(&e))?;
        spawn::settle_capabilities().map_err(|e| refused("settle capabilities", &e))
    }

    /// `None` when there is nothing to start after all.
    fn receive(self) -> Option<Shim> {
        let mut buffer = vec![0; protocol::MAX_PACKET];
        let mut fds = Vec::new();
        let packet = protocol::receive(self.client.as_fd(), &mut buffer, &mut fds).ok()?;
        let Ok(Request::Launch) = Request::decode(packet) else { return None };
        let (life, bundle) = (fds.pop()?, fds.pop()?);
        let Self { layout, id, client, .. } = self;
        let dir = layout.container_dir(&id);
        Some(Shim { layout, id, dir, bundle, client, life })
    }
}
