//! A child in this process's memory, until it executes another program.
//!
//! Requires, as every fork here, that the calling process has one thread.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::process::Child;
use super::{Context, Error, Result};

/// The stack of a child that shares memory. Only what is touched costs.
const CHILD_STACK: usize = 512 << 10;

/// vfork(2) on a stack of its own, and in a session of its own: `child` runs in this process's memory while this
/// process waits, until it executes another program, or returns an exit code because it could not. What it allocates,
/// and what it changes, is this process's; descriptors, credentials and namespaces are its own.
///
/// A fork copies the page tables, and then page after page; and where its child is put behind the parent that goes
/// on, it waits for a millisecond. Here it goes on at once, and the parent is woken on another processor.
pub fn spawn(child: &mut dyn FnMut() -> u8) -> Result<Child> {
    // A terminal's signal to both would stop the child, for which its parent would wait without being stopped itself.
    let signals = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).op("block signals")?;
    let spawned = clone(&mut || {
        let _ = rustix::process::setsid();
        let _ = signals.thread_set_mask();
        child()
    });
    signals.thread_set_mask().op("unblock signals")?;
    spawned
}

fn clone(mut child: &mut dyn FnMut() -> u8) -> Result<Child> {
    extern "C" fn begin(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: clone hands over a pointer to its argument, and waits while it is used here.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut() -> u8>() };
        libc::c_int::from(child())
    }
    let mut pidfd: RawFd = -1;
    let mut stack: Vec<u128> = Vec::with_capacity(CHILD_STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end.cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let child = std::ptr::from_mut(&mut child).cast();
    // SAFETY: with CLONE_VFORK the kernel resumes this process only when the child has left its memory, so nothing
    // is used by two at once, and stack, child and pidfd outlive their use. top is aligned to 16 bytes.
    let pid = unsafe { libc::clone(begin, top, flags, child, &raw mut pidfd) };
    if pid == -1 {
        return Err(Error::last("clone"));
    }
    // SAFETY: the kernel stored a fresh descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid: u32::try_from(pid).unwrap_or_default(), pidfd })
}
