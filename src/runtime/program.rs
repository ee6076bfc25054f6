//! The last steps of every process of a container, the first one and those of `exec`: from root of the user
//! namespace inside the finished root to the user's program.
//!
//! Order matters. The root's own files are read before privilege is given up. A seccomp filter needs either
//! CAP_SYS_ADMIN or no_new_privs, so without the latter it is loaded while the former is still there; its
//! default profile lets the calls that follow pass. What the program may inherit is said explicitly: stdin,
//! stdout, stderr, and nothing else (CVE-2024-21626).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::handshake::{Failure, FailureKind, ProcessEnd, Step, UNMAPPED};
use super::plan::{Capabilities, Process, Rlimit};
use super::user::{self, Identity};
use crate::sys::path::{self, Make};
use crate::sys::{Context, process, seccomp, signal};

/// `PATH` of a program whose environment has none.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process that is ready but for its exec.
pub(super) struct Ready<'a> {
    process: &'a Process,
    env: Vec<CString>,
}

/// Does everything up to the exec. `/` is the container's root; stdio is in place.
pub(super) fn prepare(process: &Process) -> Result<Ready<'_>, Failure> {
    let root = open_root()?;
    let identity = user::resolve(&root, &process.user, &process.additional_groups)
        .map_err(|e| Failure::own("user", e))?;
    enter_cwd(&root, process)?;
    limits(&process.rlimits)?;
    own_stdio(&identity);
    bound_capabilities(process.capabilities.bounding)?;
    if let Some(filter) = process.seccomp.as_deref().filter(|_| !process.no_new_privileges) {
        seccomp::load_filter(filter).step("load the seccomp filter")?;
    }
    become_user(&identity)?;
    keep_capabilities(process.capabilities, identity.uid)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    process::die_with_parent().step("prctl")?;
    let env = environment(process, &identity);
    Ok(Ready { process, env })
}

impl Ready<'_> {
    /// Executes the program; returns only the reason why it does not run.
    pub(super) fn exec(self, shim: &ProcessEnd) -> Failure {
        match self.last_steps(shim) {
            Ok(()) => run_program(&self.process.args, &self.env),
            Err(failure) => failure,
        }
    }

    fn last_steps(&self, shim: &ProcessEnd) -> Result<(), Failure> {
        shim.wait_for_go().step("start")?;
        signal::reset();
        process::cloexec_from(3).step("close what is not the container's")?;
        if self.process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
            if let Some(filter) = &self.process.seccomp {
                seccomp::load_filter(filter).step("load the seccomp filter")?;
            }
        }
        Ok(())
    }
}

fn open_root() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).step("open the root")
}

fn enter_cwd(root: &OwnedFd, process: &Process) -> Result<(), Failure> {
    let cwd = process.cwd.as_path();
    let doing = format!("enter the working directory {}", cwd.display());
    let found =
        if process.create_cwd { path::make_in(root, cwd, Make::Directory) } else { path::find_in(root, cwd) };
    let dir = found.step(&doing).map_err(|f| {
        // docker's reading: the command cannot be invoked there.
        Failure { kind: FailureKind::CannotInvoke, ..f }.with_hint("choose another one with -w")
    })?;
    rustix::process::fchdir(dir).step(&doing)?;
    // A directory outside the root has no path: the kernel says "(unreachable)".
    let real = rustix::process::getcwd(Vec::new()).step(&doing)?;
    if real.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure::own(&doing, "it is outside the root"))
    }
}

fn limits(limits: &[Rlimit]) -> Result<(), Failure> {
    limits.iter().try_for_each(|limit| {
        crate::sys::limits::set(limit.resource, limit.soft, limit.hard).step("set a resource limit")
    })
}

/// The program may reopen its stdio by `/dev/stdout`, so pipes and terminals become its own. What is somebody
/// else's (`/dev/null`) stays as it is.
fn own_stdio(identity: &Identity) {
    use rustix::fs::FileType;
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let uid = Some(Uid::from_raw(identity.uid));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => {
                let _ = rustix::fs::fchown(fd, uid, Some(Gid::from_raw(identity.gid)));
            }
            // The group of a terminal is tty's.
            FileType::CharacterDevice if rustix::termios::isatty(fd) => {
                let _ = rustix::fs::fchown(fd, uid, None);
            }
            _ => {}
        }
    }
}

fn bound_capabilities(keep: u64) -> Result<(), Failure> {
    for number in 0..64u32 {
        if keep & (1 << number) != 0 {
            continue;
        }
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more capabilities.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e).step("drop a capability"),
        }
    }
    Ok(())
}

fn become_user(identity: &Identity) -> Result<(), Failure> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => {}
        // With a single id setgroups(2) is given up for good, and there is no second group to belong to.
        Err(rustix::io::Errno::PERM) if identity.groups.iter().all(|g| *g == identity.gid) => {}
        Err(e) => return Err(unmapped(e, "groups", format!("{:?}", identity.groups))),
    }
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|e| unmapped(e, "gid", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|e| unmapped(e, "uid", identity.uid))
}

fn unmapped(error: rustix::io::Errno, what: &str, id: impl std::fmt::Display) -> Failure {
    match error {
        rustix::io::Errno::INVAL | rustix::io::Errno::PERM => {
            Failure::own(&format!("become {what} {id}"), UNMAPPED).with_hint(
                "give yourself a larger range in /etc/subuid and /etc/subgid, then stop all containers",
            )
        }
        e => Failure::own(&format!("become {what} {id}"), e),
    }
}

/// uid 0 keeps what the plan grants; every other user has nothing, as the kernel decided when the id changed.
fn keep_capabilities(capabilities: Capabilities, uid: u32) -> Result<(), Failure> {
    let kept = if uid == 0 { capabilities.permitted } else { 0 };
    let kept = CapabilitySet::from_bits_retain(kept);
    rustix::thread::clear_ambient_capability_set().step("clear ambient capabilities")?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).step("set capabilities")
}

fn environment(process: &Process, identity: &Identity) -> Vec<CString> {
    let mut env = process.env.clone();
    if !env.iter().any(|e| e.as_bytes().starts_with(b"HOME=")) {
        let home = [b"HOME=", identity.home.as_bytes()].concat();
        env.extend(CString::new(home).ok());
    }
    env
}

/// execvp(3) on the container's `PATH`, with docker's reading of what went wrong.
fn run_program(args: &[CString], env: &[CString]) -> Failure {
    let Some(name) = args.first() else { return Failure::own("exec", "no command") };
    if name.as_bytes().contains(&b'/') {
        return explain(name, process::exec(name, args, env).errno());
    }
    let path = env.iter().find_map(|e| e.as_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for dir in path.split(|b| *b == b':').filter(|dir| !dir.is_empty()) {
        let Ok(candidate) = CString::new([dir, b"/", name.as_bytes()].concat()) else { continue };
        match process::exec(&candidate, args, env).errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => denied |= !is_directory(&candidate),
            errno => return explain(name, errno),
        }
    }
    if denied { explain(name, libc::EACCES) } else { not_in_path(name) }
}

fn is_directory(path: &CString) -> bool {
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

fn not_in_path(name: &CString) -> Failure {
    let message = format!("exec: \"{}\": executable file not found in $PATH", name.to_string_lossy());
    Failure { kind: FailureKind::NotFound, message, hint: None }
}

fn explain(name: &CString, errno: i32) -> Failure {
    let name_text = name.to_string_lossy();
    let (kind, reason) = match errno {
        libc::ENOENT if path_exists(name) => {
            (FailureKind::NotFound, "its interpreter does not exist".to_string())
        }
        libc::ENOENT | libc::ENOTDIR => {
            (FailureKind::NotFound, format!("stat {name_text}: no such file or directory"))
        }
        libc::EACCES if is_directory(name) => (FailureKind::CannotInvoke, "is a directory".to_string()),
        libc::EACCES => (FailureKind::CannotInvoke, "permission denied".to_string()),
        libc::ENOEXEC => (FailureKind::CannotInvoke, "exec format error".to_string()),
        libc::E2BIG => (FailureKind::CannotInvoke, "argument list too long".to_string()),
        errno => (FailureKind::CannotInvoke, std::io::Error::from_raw_os_error(errno).to_string()),
    };
    Failure { kind, message: format!("exec: \"{name_text}\": {reason}"), hint: None }
}

fn path_exists(path: &CString) -> bool {
    rustix::fs::stat(path.as_c_str()).is_ok()
}

/// Puts three descriptors at 0, 1 and 2.
pub(super) fn place_stdio(fds: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
    for (number, fd) in (0..).zip(fds) {
        process::place(fd, number).step("place stdio")?;
    }
    Ok(())
}

/// `/dev/null` of the host, checked.
pub(super) fn null() -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let null =
        rustix::fs::open("/dev/null", flags, Mode::empty()).op_on("open", "/dev/null").step("stdio")?;
    if super::mounts::is_device(null.as_fd(), 1, 3) {
        Ok(null)
    } else {
        Err(Failure::own("stdio", "/dev/null is not the null device"))
    }
}
