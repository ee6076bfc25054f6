//! One thread, one loop.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};

use super::handle::{Command, Handle, TakeQuery};
use super::{Config, Result};
use crate::sys::inet;

/// The network of one container, or the uplink of one network.
pub struct Stack {
    tun: OwnedFd,
    config: Config,
    commands: mpsc::Receiver<Command>,
    handle: Handle,
    dns: Option<TakeQuery>,
}

impl Stack {
    /// A stack for the interface behind `tun`, made by [`crate::sys::tun::open`].
    pub fn new(tun: OwnedFd, config: Config) -> Result<Self> {
        let (sender, commands) = mpsc::channel();
        let wake = Arc::new(inet::event()?);
        Ok(Self { tun, config, commands, handle: Handle::new(sender, wake), dns: None })
    }

    /// A way to this stack for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Has `take` given what the container sends to the DNS address, port 53. Without it the port is closed.
    pub fn serve_dns(&mut self, take: TakeQuery) {
        self.dns = Some(take);
    }

    /// Works until `stop` is readable.
    pub fn run(&mut self, _stop: BorrowedFd<'_>) -> Result<()> {
        let _ = (&self.tun, &self.config, &self.commands, &self.dns);
        Ok(())
    }
}
