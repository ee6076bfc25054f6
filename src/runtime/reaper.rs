//! `--init`: kelp itself as the container's PID 1. It passes signals on to the program, reaps whatever is
//! orphaned, and ends as the program ends.

use std::convert::Infallible;

use super::handshake::{Failure, ProcessEnd, Step};
use super::program::{self, Ready};
use crate::sys::process::{self, WaitStatus};
use crate::sys::signal;

/// Forks; the child executes the program, this process becomes the reaper.
pub(super) fn fork_program(ready: Ready<'_>, shim: &ProcessEnd) -> Result<Infallible, Failure> {
    // Before the fork, so that no SIGCHLD can be missed; exec undoes it in the child.
    signal::block_all().step("block signals")?;
    match process::fork_filtered().step("fork the program")? {
        None => {
            take_foreground();
            if let Err(e) = process::die_with_parent() {
                return Err(Failure::own("prctl", e));
            }
            Err(ready.exec(shim))
        }
        Some(pid) => {
            let code = match release_everything().and_then(|()| reap_until(pid)) {
                Ok(status) => status.code(),
                Err(_) => 125,
            };
            process::exit_now(code)
        }
    }
}

/// A process group of its own, in the foreground of the terminal if there is one: ctrl-c is for the program.
fn take_foreground() {
    let own = rustix::process::getpid();
    if rustix::process::setpgid(None, None).is_ok() && rustix::termios::isatty(rustix::stdio::stdin()) {
        // SIGTTOU is blocked here, so this cannot stop us.
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
    }
}

/// The program alone decides when its output ends and when the shim learns of its exec.
fn release_everything() -> Result<(), Failure> {
    use std::os::fd::AsFd;
    // The shim's own command line names places of the host.
    let _ = process::retitle(c"kelp-init");
    let null = program::null()?;
    program::place_stdio([null.as_fd(), null.as_fd(), null.as_fd()])?;
    std::mem::forget(null);
    process::close_from(3).step("close descriptors")
}

fn reap_until(program: u32) -> Result<WaitStatus, Failure> {
    loop {
        let signal = signal::wait().step("wait for a signal")?;
        if signal != libc::SIGCHLD {
            // Gone already: its end is about to be seen.
            let _ = process::kill(program, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = process::try_wait_any() {
            if pid == program {
                return Ok(status);
            }
        }
    }
}
