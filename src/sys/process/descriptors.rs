//! Descriptors by their numbers, on the way through fork and exec.
//!
//! What is closed or placed by number may be somebody's [`OwnedFd`]: whoever calls promises that it is not used or
//! dropped any more.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::{Context, Error, Result};

/// A pipe, close-on-exec: what is written to the second end is read from the first.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).op("pipe")
}

/// A duplicate with its own lifetime.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().op("dup")
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC closes nothing.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if rc == 0 { Ok(()) } else { Err(Error::last("close_range")) }
}

/// Makes `fd` the descriptor number `to`, inherited across exec.
pub fn place(fd: impl AsFd, to: RawFd) -> Result<()> {
    let from = fd.as_fd().as_raw_fd();
    let rc = if from == to {
        // SAFETY: fcntl on a number that is open.
        unsafe { libc::fcntl(to, libc::F_SETFD, 0) }
    } else {
        // SAFETY: `to` is one of the low numbers that the caller lays out for exec, and that no owned descriptor
        // of this process stands for any more.
        unsafe { libc::dup2(from, to) }
    };
    if rc < 0 { Err(Error::last("dup2")) } else { Ok(()) }
}

/// Takes ownership of a descriptor that exec handed over under a known number, and makes it close-on-exec.
/// `None` when that number is not open.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl on a number has no effect on memory; EBADF means that it is not open.
    let rc = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: called once for each number at the start of a re-executed role, before anything else is opened,
    // so the number is the descriptor that the parent placed there and nobody owns it.
    (rc == 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on. Only for a process that goes on without its owned descriptors and
/// ends in [`exit_now`](super::exit_now): values that own one of them must never be used or dropped again.
pub fn close_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX)
}

/// Closes every descriptor above 2 except `kept`, under the promise of [`close_from`].
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: close_range(2) on numbers; what owned them is never touched again, as the callers promise.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if rc == 0 { Ok(()) } else { Err(Error::last("close_range")) }
}

/// Closes a descriptor by number, if it is open. Only right before an exec, when no owned value will be used
/// again.
pub fn close_number(number: RawFd) {
    // SAFETY: close(2) on a number; what may have owned it is never touched again, as the caller promises.
    unsafe { libc::close(number) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{WaitStatus, exit_now, fork_filtered, wait_pid};

    #[test]
    fn only_what_is_kept_stays_open() {
        let fds: Vec<OwnedFd> = (0..4).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let Some(child) = fork_filtered().unwrap() else {
            let closed = close_all_but(&[fds[2].as_fd(), fds[0].as_fd()]);
            let open = |fd: &OwnedFd| rustix::io::fcntl_getfd(fd).is_ok();
            let right = open(&fds[0]) && !open(&fds[1]) && open(&fds[2]) && !open(&fds[3]);
            exit_now(u8::from(closed.is_err() || !right))
        };
        assert_eq!(wait_pid(child).unwrap(), WaitStatus::Exited(0));
        assert!(fds.iter().all(|fd| rustix::io::fcntl_getfd(fd).is_ok()));
    }
}
