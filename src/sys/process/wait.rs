//! The ends of children: awaited, reaped, and read as the shell reads them.

use crate::sys::{Context, Error, Result};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitStatus {
    Exited(u8),
    Signaled(i32),
}

impl WaitStatus {
    /// The shell's number: the exit code, or 128 + the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Signaled(signal) => Some(signal),
        }
    }

    fn from_raw(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(255)))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Signaled(libc::WTERMSIG(status)))
        } else {
            None
        }
    }
}

/// Waits until a child has ended, and leaves it to be reaped.
pub fn await_end(pid: u32) -> Result<()> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let pid = Pid::from_raw(pid.cast_signed()).ok_or_else(|| Error::new("waitid", libc::ESRCH))?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options)).op("waitid").map(|_| ())
}

/// Waits for one child to end.
pub fn wait_pid(pid: u32) -> Result<WaitStatus> {
    loop {
        if let Some((_, status)) = wait_raw(pid.cast_signed(), 0)? {
            return Ok(status);
        }
    }
}

/// Any child that has ended; `None` when none has. ECHILD when there are no children at all.
pub fn try_wait_any() -> Result<Option<(u32, WaitStatus)>> {
    wait_raw(-1, libc::WNOHANG)
}

/// Blocks until any child has ended.
pub fn wait_any() -> Result<(u32, WaitStatus)> {
    loop {
        if let Some(ended) = wait_raw(-1, 0)? {
            return Ok(ended);
        }
    }
}

fn wait_raw(pid: i32, options: i32) -> Result<Option<(u32, WaitStatus)>> {
    let mut status = 0;
    loop {
        // SAFETY: status is a valid place for an int.
        let got = unsafe { libc::waitpid(pid, &raw mut status, options) };
        match got {
            -1 => match Error::last("waitpid") {
                e if e.is(libc::EINTR) => {}
                e => return Err(e),
            },
            0 => return Ok(None),
            got => return Ok(WaitStatus::from_raw(status).map(|s| (got.cast_unsigned(), s))),
        }
    }
}

/// The pids of this process's children, ended ones included.
pub fn children() -> Result<Vec<u32>> {
    let path = "/proc/thread-self/children";
    let text = std::fs::read_to_string(path).op_on("read", path)?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}
