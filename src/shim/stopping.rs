//! Ending a container from outside: whether its first process can receive a signal at all, and waiting with a limit.

use std::path::Path;
use std::time::Duration;

use super::{Result, client};
use crate::sys::process;

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

/// How often, and how long after one another, a thread that is busy is looked at: a fifth of a second in all.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(4);

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

/// A thread that is on a CPU may be about to wait for the signal, so it is looked at again: mostly it has only just
/// begun. One that never rests keeps its grace.
fn thread_may_receive(thread: &Path, signal: i32) -> bool {
    for _ in 0..LOOKS {
        match look_at(thread, signal) {
            Sight::MayReceive => return true,
            Sight::CannotReceive => return false,
            Sight::Busy => std::thread::sleep(PAUSE),
        }
    }
    true
}

enum Sight {
    MayReceive,
    CannotReceive,
    Busy,
}

fn look_at(thread: &Path, signal: i32) -> Sight {
    let Ok(status) = std::fs::read_to_string(thread.join("status")) else { return Sight::MayReceive };
    let bit = 1u64 << (signal - 1).clamp(0, 63);
    let mask = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    match (mask("SigCgt:"), mask("SigBlk:")) {
        (Some(caught), Some(blocked)) if (caught | blocked) & bit == 0 => {}
        _ => return Sight::MayReceive,
    }
    match std::fs::read_to_string(thread.join("syscall")) {
        Ok(call) => match call.split_whitespace().next() {
            Some(SIGTIMEDWAIT) | None => Sight::MayReceive,
            Some("running") => Sight::Busy,
            Some(_) => Sight::CannotReceive,
        },
        Err(_) => Sight::MayReceive,
    }
}

/// Waits until the container whose directory this is has ended. `None` when `patience` ends first.
pub fn wait_for_end(container: &Path, patience: Option<Duration>) -> Result<Option<u8>> {
    let socket = client::connect(container)?;
    client::request_wait(&socket);
    match process::readable_within(&socket, patience)? {
        true => client::receive_exit(socket).map(Some),
        false => Ok(None),
    }
}

/// Kills a process of a container, or its shim, when asking did not help: `start` (clock ticks since boot) says
/// that it still is the same one.
pub fn kill_named(pid: u32, start: u64) -> Result<()> {
    Ok(process::kill_named(pid, start, Duration::from_secs(5))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    /// A python that has come to the last statement of its script.
    fn settled(before: &str, last: &str) -> std::process::Child {
        let script = format!("import signal, time; {before}; print(flush=True); {last}");
        let mut child = Command::new("python3").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        child
    }

    #[test]
    fn only_a_process_without_any_way_to_hear_is_deaf() {
        let cases = [
            ("pass", "time.sleep(9)", Reach::Dropped),
            ("signal.signal(15, lambda *a: None)", "time.sleep(9)", Reach::Perhaps),
            ("signal.pthread_sigmask(0, {15})", "signal.sigwait({15})", Reach::Perhaps),
            ("signal.pthread_sigmask(0, {15})", "time.sleep(9)", Reach::Perhaps),
            ("signal.signal(15, signal.SIG_IGN)", "time.sleep(9)", Reach::Dropped),
        ];
        for (before, last, expected) in cases {
            let mut child = settled(before, last);
            let found = reach(child.id(), libc::SIGTERM);
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found, expected, "{before}; {last}");
        }
    }
}
