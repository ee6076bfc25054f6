//! One process for good, where its pid may come to mean another: pidfds, start times, and signals to it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{Fork, enter, exit_now, fork, namespace, wait_pid};
use crate::sys::{Context, Error, Result, read_small};

/// A pidfd for any process.
pub fn open_pid(pid: u32) -> Result<OwnedFd> {
    let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) else {
        return Err(Error::new("pidfd_open", libc::ESRCH));
    };
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).op("pidfd_open")
}

/// Sends a signal through a pidfd. A process that has ended already is no error.
pub fn signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: pidfd_send_signal(2) with a null siginfo is kill(2) on a descriptor that is open.
    let rc = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, null, 0) };
    match rc {
        0 => Ok(()),
        _ => match Error::last("pidfd_send_signal") {
            e if e.is(libc::ESRCH) => Ok(()),
            e => Err(e),
        },
    }
}

/// kill(2) by number, for one's own children that have not been waited for.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: kill(2) takes numbers.
    let rc = unsafe { libc::kill(pid.cast_signed(), signal) };
    if rc == 0 { Ok(()) } else { Err(Error::last("kill")) }
}

/// Clock ticks since boot at which `pid` started: field 22 of `/proc/PID/stat`, see proc_pid_stat(5). With the pid
/// it names one process for good. `None` when there is no such process, or only its remains.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = read_small(format!("/proc/{pid}/stat").as_ref()).ok()?;
    // The command's name stands in parentheses and may contain anything, parentheses too.
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| alive)
}

/// Kills the process `pid` if it still is the one that began at `start`, and waits up to `patience` until it has
/// ended. One of another user id than ours is reached from inside its own user namespace.
pub fn kill_named(pid: u32, start: u64, patience: Duration) -> Result<()> {
    let Ok(pidfd) = open_pid(pid) else { return Ok(()) };
    if start_time(pid) != Some(start) {
        return Ok(());
    }
    if signal(&pidfd, libc::SIGKILL).is_err() {
        kill_from_inside(pid, &pidfd)?;
    }
    readable_within(&pidfd, Some(patience)).map(|_| ())
}

fn kill_from_inside(pid: u32, pidfd: &OwnedFd) -> Result<()> {
    let namespace = namespace(pid, "user")?;
    match fork(0)? {
        Fork::Parent(child) => wait_pid(child.pid).map(|_| ()),
        Fork::Child => {
            let done = enter(namespace, libc::CLONE_NEWUSER).and_then(|()| signal(pidfd, libc::SIGKILL));
            exit_now(u8::from(done.is_err()))
        }
    }
}

/// Whether `fd` becomes readable (of a pidfd: its process ends) within `patience`; `None` waits for ever.
pub fn readable_within(fd: impl AsFd, patience: Option<Duration>) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let end = patience.map(|p| Instant::now() + p);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.op("poll")? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_pid_is_not_killed() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let start = start_time(child.id()).unwrap();
        kill_named(child.id(), start + 1, Duration::ZERO).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        kill_named(child.id(), start, Duration::from_secs(10)).unwrap();
        assert_eq!(start_time(child.id()), None, "only its remains are left");
        assert!(!child.wait().unwrap().success());
    }
}
