//! Ending a container from outside: whether its first process can receive a signal at all, waiting with a limit,
//! and what is left when a shim was lost.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Result, client};
use crate::sys::{Context, process};

/// Whether a signal can reach PID 1 of a pid namespace. The kernel drops one that it has no handler for; a mask
/// that cannot be read, or a process that may yet wait for the signal, is [`Reach::Perhaps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Dropped,
    Perhaps,
}

/// `rt_sigtimedwait`: while a process sits in it, `/proc` shows neither a handler nor a block.
#[cfg(target_arch = "x86_64")]
const SIGTIMEDWAIT: &str = "128";
#[cfg(not(target_arch = "x86_64"))]
const SIGTIMEDWAIT: &str = "137";

/// Judges the process `pid` of the host's pid namespace, all threads.
pub fn reach(pid: u32, signal: i32) -> Reach {
    // These two are never dropped by a mask: they do not ask the process.
    if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
        return Reach::Perhaps;
    }
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Reach::Perhaps };
    let mut seen = false;
    for thread in threads.flatten() {
        seen = true;
        if thread_may_receive(&thread.path(), signal) {
            return Reach::Perhaps;
        }
    }
    if seen { Reach::Dropped } else { Reach::Perhaps }
}

fn thread_may_receive(thread: &Path, signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(thread.join("status")) else { return true };
    let bit = 1u64 << (signal - 1).clamp(0, 63);
    let mask = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    match (mask("SigCgt:"), mask("SigBlk:")) {
        (Some(caught), Some(blocked)) if (caught | blocked) & bit == 0 => {}
        _ => return true,
    }
    // "running" while it is on a CPU: then it may be about to wait.
    match std::fs::read_to_string(thread.join("syscall")) {
        Ok(call) => matches!(call.split_whitespace().next(), Some(SIGTIMEDWAIT | "running") | None),
        Err(_) => true,
    }
}

/// Waits until the container whose directory this is has ended. `None` when `patience` ends first.
pub fn wait_for_end(container: &Path, patience: Option<Duration>) -> Result<Option<u8>> {
    let socket = client::connect(container)?;
    client::request_wait(&socket);
    match readable_within(&socket, patience)? {
        true => client::receive_exit(socket).map(Some),
        false => Ok(None),
    }
}

fn readable_within(socket: &OwnedFd, patience: Option<Duration>) -> Result<bool> {
    let end = patience.map(|p| Instant::now() + p);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.op("poll")? > 0),
        }
    }
}

/// Kills a first process whose shim is gone: `start` (clock ticks since boot) says that it still is the same one.
/// One of another user id than ours is reached from inside its own user namespace.
pub fn kill_lost(pid: u32, start: u64) -> Result<()> {
    let Ok(pidfd) = process::open_pid(pid) else { return Ok(()) };
    if process::start_time(pid) != Some(start) {
        return Ok(());
    }
    if process::signal(&pidfd, libc::SIGKILL).is_err() {
        kill_from_inside(pid, &pidfd)?;
    }
    // Its namespaces and mounts go with it, in a moment.
    readable_within(&pidfd, Some(Duration::from_secs(5)))?;
    Ok(())
}

fn kill_from_inside(pid: u32, pidfd: &OwnedFd) -> Result<()> {
    let namespace = process::namespace(pid, "user")?;
    match process::fork(0)? {
        process::Fork::Parent(child) => {
            process::wait_pid(child.pid)?;
            Ok(())
        }
        process::Fork::Child => {
            let done = process::enter(namespace, libc::CLONE_NEWUSER)
                .and_then(|()| process::signal(pidfd, libc::SIGKILL));
            process::exit_now(u8::from(done.is_err()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn settled(script: &str) -> std::process::Child {
        let child = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        child
    }

    #[test]
    fn only_a_process_without_any_way_to_hear_is_deaf() {
        let cases = [
            ("import time; time.sleep(9)", Reach::Dropped),
            ("import signal,time; signal.signal(15, lambda *a: None); time.sleep(9)", Reach::Perhaps),
            ("import signal; signal.pthread_sigmask(0, {15}); signal.sigwait({15})", Reach::Perhaps),
            ("import signal,time; signal.pthread_sigmask(0, {15}); time.sleep(9)", Reach::Perhaps),
            ("import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(9)", Reach::Dropped),
        ];
        for (script, expected) in cases {
            let mut child = settled(script);
            let found = reach(child.id(), libc::SIGTERM);
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found, expected, "{script}");
        }
    }
}
