//! Signals: read instead of interrupting, ignored, and put back to what a program expects.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Context, Error, Result};

/// Some signals, held back from this thread and read from a descriptor until this is dropped. In a process with
/// more than one thread the others must block them too.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Numbers that are no classic signal are EINVAL.
    pub fn take(signals: &[i32]) -> Result<Self> {
        let mut set = SigSet::empty();
        for n in signals {
            set.add(Signal::try_from(*n).op("signalfd")?);
        }
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).op("signalfd")?;
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).op("sigmask")?;
        Ok(Self { fd, before })
    }

    /// The next signal that has arrived, `None` when none has.
    pub fn next(&self) -> Result<Option<i32>> {
        let info = self.fd.read_signal().op("signalfd")?;
        Ok(info.map(|i| i.ssi_signo.cast_signed()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What arrived too late to be acted upon must not hit whoever comes next.
        while let Ok(Some(_)) = self.next() {}
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Dies of a signal as one does who has no handler for it. Returns only if the signal does not kill.
pub fn die_of(signal: i32) -> Result<()> {
    let signal = Signal::try_from(signal).op("raise")?;
    // SAFETY: SIG_DFL is a valid action for every signal.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.op("signal")?;
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_unblock().op("sigmask")?;
    nix::sys::signal::raise(signal).op("raise")
}

/// SIGXFSZ ignored: a file that may not grow is an error where it is written.
pub fn ignore_file_size_signal() -> Result<()> {
    // SAFETY: SIG_IGN is a valid action for SIGXFSZ.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(Error::last("signal")) } else { Ok(()) }
}

/// Puts every signal back to its default action and unblocks all: a program must not inherit ours.
pub fn reset() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid action; numbers that may not be changed give EINVAL, which is harmless.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is plain data; sigemptyset makes it a valid empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: set is valid for writes.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// SIGPIPE ignored: a write to a closed pipe is an error where it happens.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN is a valid action for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks every signal, for [`wait`].
pub fn block_all() -> Result<()> {
    let set = full_set();
    // SAFETY: set is initialised; the old mask is not asked for.
    let rc = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    if rc == 0 { Ok(()) } else { Err(Error::last("sigprocmask")) }
}

/// Waits for the next signal; all must be blocked.
pub fn wait() -> Result<i32> {
    let set = full_set();
    loop {
        // SAFETY: set is initialised; no details are asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        match signal {
            -1 => match Error::last("sigwaitinfo") {
                e if e.is(libc::EINTR) => {}
                e => return Err(e),
            },
            signal => return Ok(signal),
        }
    }
}

fn full_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigfillset makes it valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: set is valid for writes.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}
