//! Sockets of the Internet protocols and their options, for a process that relays between them.

use std::os::fd::{AsFd, OwnedFd};

use super::{Context, Result};

/// A non-blocking eventfd.
pub fn event() -> Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).op("eventfd")
}

/// Makes an eventfd readable.
pub fn raise(event: impl AsFd) {
    // Fails only when it is readable already, beyond counting.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Makes an eventfd unreadable until it is raised again.
pub fn lower(event: impl AsFd) {
    let _ = rustix::io::read(event, &mut [0u8; 8]);
}
