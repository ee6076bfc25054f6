//! Processes: fork and clone3, exec, pidfds, waiting.
//!
//! Everything that forks here requires that the calling process has one thread: the child goes on running Rust
//! code, and a lock held by another thread at the moment of the fork would never be released in it.

use std::ffi::{CStr, CString};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::{Context, Error, Result, socket};

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
    // SAFETY: this process has one thread, as the module requires.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last("fork")),
        0 => Ok(None),
        pid => Ok(Some(pid.cast_unsigned())),
    }
}

/// Makes this process nobody's: a session of its own, no terminal, `/` as its directory, nothing on stdio.
pub fn leave_terminal() -> Result<()> {
    use rustix::fs::{Mode, OFlags};
    match rustix::process::setsid() {
        // It leads one already.
        Err(rustix::io::Errno::PERM) | Ok(_) => {}
        Err(e) => return Err(e).op("setsid"),
    }
    rustix::process::chdir("/").op("chdir /")?;
    let null =
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).op("open /dev/null")?;
    (0..3).try_for_each(|number| place(&null, number))
}

/// Ends this process at once: no destructors, no exit handlers. For forked children.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) is always allowed.
    unsafe { libc::_exit(i32::from(code)) }
}

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
        match wait_raw(pid.cast_signed(), 0)? {
            Some((_, status)) => return Ok(status),
            None => continue,
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

/// A pidfd for any process.
pub fn open_pid(pid: u32) -> Result<OwnedFd> {
    let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) else {
        return Err(Error::new("pidfd_open", libc::ESRCH));
    };
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).op("pidfd_open")
}

/// Clock ticks since boot at which `pid` started: field 22 of `/proc/PID/stat`, see proc_pid_stat(5). With the pid
/// it names one process for good. `None` when there is no such process, or only its remains.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = super::read_small(format!("/proc/{pid}/stat").as_ref()).ok()?;
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

/// execve(2); returns only on failure.
pub fn exec(path: &CStr, args: &[CString], env: &[CString]) -> Error {
    let argv = pointers(args);
    let envp = pointers(env);
    // SAFETY: both arrays are null-terminated and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Error::last("execve")
}

/// Executes the file behind a descriptor; returns only on failure.
pub fn exec_fd(fd: impl AsFd, args: &[CString], env: &[CString]) -> Error {
    let argv = pointers(args);
    let envp = pointers(env);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: as in `exec`; the empty path with AT_EMPTY_PATH names the descriptor itself.
    unsafe {
        libc::execveat(fd, c"".as_ptr(), argv.as_ptr().cast(), envp.as_ptr().cast(), libc::AT_EMPTY_PATH)
    };
    Error::last("execveat")
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The namespace behind `/proc/PID/ns/NAME`.
pub fn namespace(pid: u32, name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/{pid}/ns/{name}"))
}

/// One's own, whatever pid `/proc` knows this process by.
pub fn own_namespace(name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/self/ns/{name}"))
}

/// The calling thread's.
pub fn thread_namespace(name: &str) -> Result<OwnedFd> {
    open_namespace(format!("/proc/thread-self/ns/{name}"))
}

fn open_namespace(path: String) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).op_on("open", path)
}

/// setns(2) with `CLONE_NEW*` flags, on a namespace or a pidfd.
pub fn enter(fd: impl AsFd, flags: i32) -> Result<()> {
    // SAFETY: setns(2) takes a descriptor and flags; this process has one thread, as the module requires.
    let rc = unsafe { libc::setns(fd.as_fd().as_raw_fd(), flags) };
    if rc == 0 { Ok(()) } else { Err(Error::last("setns")) }
}

/// unshare(2) with `CLONE_NEW*` flags.
pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: only namespace flags are passed, so no memory or descriptor table comes apart.
    let rc = unsafe { libc::unshare(flags) };
    if rc == 0 { Ok(()) } else { Err(Error::last("unshare")) }
}

/// Puts every signal back to its default action and unblocks all: a program must not inherit ours.
pub fn reset_signals() {
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

/// The parent's death kills this process. Cleared by a change of ids, so set after it.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .op("prctl PDEATHSIG")
}

/// As [`die_with_parent`], of a parent that may have died since the fork: then this process ends here.
pub fn die_with(parent: u32) {
    // Where the kernel refuses, the parent's end is noticed at the end of the work.
    let _ = die_with_parent();
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    if now != parent {
        exit_now(0);
    }
}

/// No other process of this user may look into this one or borrow its descriptors.
pub fn undumpable() -> Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .op("prctl DUMPABLE")
}

/// Orphaned descendants become children of this process.
pub fn adopt_orphans() -> Result<()> {
    // SAFETY: prctl with integers only.
    let rc = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if rc == 0 { Ok(()) } else { Err(Error::last("prctl SUBREAPER")) }
}

/// A duplicate with its own lifetime.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().op("dup")
}

/// Closes every descriptor from `first` on. Only for a process that goes on without its owned descriptors and
/// ends in [`exit_now`]: values that own one of them must never be used or dropped again.
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

/// Blocks every signal and returns the set for [`wait_signal`].
pub fn block_all_signals() -> Result<()> {
    let set = full_set();
    // SAFETY: set is initialised; the old mask is not asked for.
    let rc = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    if rc == 0 { Ok(()) } else { Err(Error::last("sigprocmask")) }
}

/// Waits for the next signal; all must be blocked.
pub fn wait_signal() -> Result<i32> {
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

/// kill(2) by number, for one's own children that have not been waited for.
pub fn kill(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: kill(2) takes numbers.
    let rc = unsafe { libc::kill(pid.cast_signed(), signal) };
    if rc == 0 { Ok(()) } else { Err(Error::last("kill")) }
}

/// Closes a descriptor by number, if it is open. Only right before an exec, when no owned value will be used
/// again.
pub fn close_number(number: RawFd) {
    // SAFETY: close(2) on a number; what may have owned it is never touched again, as the caller promises.
    unsafe { libc::close(number) };
}

/// The pids of this process's children, ended ones included.
pub fn children() -> Result<Vec<u32>> {
    let path = "/proc/thread-self/children";
    let text = std::fs::read_to_string(path).op_on("read", path)?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Overwrites this process's command line, which `/proc/PID/cmdline` shows, and its name. What does not fit is
/// cut; nothing of the old one is left.
pub fn retitle(title: &CStr) -> Result<()> {
    let _ = rustix::thread::set_name(title);
    let stat = std::fs::read_to_string("/proc/self/stat").op_on("read", "/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 48 and 49, arg_start and arg_end; the first one after the name is number 3.
    let address = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<usize>().ok()).unwrap_or(0);
    let (start, end) = (address(48), address(49));
    if start == 0 || end <= start {
        return Err(Error::new("find the command line", libc::ENOENT));
    }
    // SAFETY: the kernel says that the arguments of this process lie there, in its own writable stack; they were
    // copied before and nothing refers to them.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    area.fill(0);
    let bytes = title.to_bytes();
    let length = bytes.len().min(area.len() - 1);
    area[..length].copy_from_slice(&bytes[..length]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
