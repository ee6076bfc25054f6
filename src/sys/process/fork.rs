//! Forks, of this process and from within other namespaces.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{enter, exit_now, signal, wait_pid};
use crate::sys::{Error, Result, socket};

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    Parent(Child),
    Child,
}

/// A child of this process: its pid and a descriptor that cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    pub pid: u32,
    pub pidfd: OwnedFd,
}

impl Child {
    /// Kills it and reaps it, if neither has happened before.
    pub fn kill(&self) {
        let _ = signal(&self.pidfd, libc::SIGKILL);
        let _ = wait_pid(self.pid);
    }
}

/// Forks, with the new namespaces of `flags` (`CLONE_NEW*`, 0 for none). See clone(2).
pub fn fork(flags: u64) -> Result<Fork> {
    clone(flags, libc::SIGCHLD)
}

/// Forks a process that is not a child of this one but of its parent, which outlives it as it would any other.
pub fn fork_sibling() -> Result<Fork> {
    clone(libc::CLONE_PARENT as u64, 0)
}

/// Forks into another pid namespace, a namespace descriptor or a pidfd. The child is this process's own.
///
/// setns(2) to a pid namespace concerns children only, and a process without privilege over its own cannot take
/// it back: so a process in between does it.
pub fn fork_into(pid_namespace: impl AsFd, flags: u64) -> Result<Fork> {
    fork_from(|| enter(pid_namespace, libc::CLONE_NEWPID), flags)
}

/// Forks from where `go` leads. The child is this process's own: a process in between goes there, and forks its own
/// sibling.
pub fn fork_from(go: impl FnOnce() -> Result<()>, flags: u64) -> Result<Fork> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    match fork(0)? {
        Fork::Parent(between) => {
            drop(theirs);
            let mut bytes = [0u8; 4];
            let mut fds = Vec::new();
            let got = socket::receive(&ours, &mut bytes, &mut fds, true)?;
            wait_pid(between.pid)?;
            let number = i32::from_ne_bytes(bytes);
            match (got, fds.pop()) {
                (Some(socket::Received::Packet(4)), Some(pidfd)) => {
                    Ok(Fork::Parent(Child { pid: number.cast_unsigned(), pidfd }))
                }
                (Some(socket::Received::Packet(4)), None) => {
                    Err(Error::new("enter the container's namespaces", number))
                }
                _ => Err(Error::new("enter the container's namespaces", libc::ECHILD)),
            }
        }
        Fork::Child => {
            drop(ours);
            let forked = go().and_then(|()| clone(flags | libc::CLONE_PARENT as u64, 0));
            let (number, pidfd) = match forked {
                Ok(Fork::Child) => return Ok(Fork::Child),
                Ok(Fork::Parent(child)) => (child.pid.cast_signed(), Some(child.pidfd)),
                Err(e) => (e.errno(), None),
            };
            let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
            let _ = socket::send(&theirs, &[IoSlice::new(&number.to_ne_bytes())], &fds, true);
            exit_now(0)
        }
    }
}

fn clone(flags: u64, exit_signal: i32) -> Result<Fork> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(exit_signal.cast_unsigned());
    // SAFETY: without CLONE_VM the child gets a copy of this address space and, with no stack given, goes on
    // at this very point on its copy of the stack, as after fork(2); args and pidfd outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let pid = match pid {
        -1 if Error::last("clone3").is(libc::ENOSYS) => {
            // Filters of other containers say that there is no clone3, because they cannot look into its arguments.
            let old_style = args.flags | args.exit_signal;
            // SAFETY: as above; the third argument is where CLONE_PIDFD stores the descriptor.
            unsafe { libc::syscall(libc::SYS_clone, old_style, 0, &raw mut pidfd, 0, 0) }
        }
        pid => pid,
    };
    match pid {
        -1 => Err(Error::last("clone")),
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: the kernel stored a fresh descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Child { pid: u32::try_from(pid).unwrap_or_default(), pidfd }))
        }
    }
}

/// fork(2) by the C library, whose system call every seccomp filter for programs allows; clone3 is commonly
/// refused. The child's pid, `None` in the child.
pub fn fork_filtered() -> Result<Option<u32>> {
    // SAFETY: this process has one thread, as `process` requires.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last("fork")),
        0 => Ok(None),
        pid => Ok(Some(pid.cast_unsigned())),
    }
}
