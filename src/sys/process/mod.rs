//! Processes: fork and clone3, exec, pidfds, waiting, and what a process is to its parent and its terminal.
//!
//! Everything that forks here requires that the calling process has one thread: the child goes on running Rust
//! code, and a lock held by another thread at the moment of the fork would never be released in it.

mod descriptors;
mod fork;
mod namespace;
mod pidfd;
mod wait;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use super::{Context, Error, Result};

pub use descriptors::{
    cloexec_from, close_all_but, close_from, close_number, duplicate, inherited, pipe, place,
};
pub use fork::{Child, Fork, fork, fork_filtered, fork_from, fork_into, fork_sibling};
pub use namespace::{enter, namespace, own_namespace, thread_namespace, unshare};
pub use pidfd::{kill, kill_named, open_pid, readable_within, signal, start_time};
pub use wait::{WaitStatus, await_end, children, try_wait_any, wait_any, wait_pid};

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

/// Ends this process at once: no destructors, no exit handlers. For forked children.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit(2) is always allowed.
    unsafe { libc::_exit(i32::from(code)) }
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
