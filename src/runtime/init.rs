//! The container's first process, from the fork to the exec: the plan, executed step by step.
//!
//! Everything here runs in a forked child of the shim that has one thread, is root of the user namespace (or on its
//! way to be that of one of the container's own: [`inner`]), and already is in its new namespaces. Every step either
//! succeeds or ends the process with one [`Failure`].

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::handshake::{self, Failure, ProcessEnd, ShimEnd, Step};
use super::mounts::Helpers;
use super::plan::{Namespace, Plan, UMASK};
use super::{account, clocks, dev, inner, mounts, program, protect, reaper, rootfs, texts};
use crate::sys::process::{self, Child, Fork};
use crate::sys::{self, Context, link, mount, path, pty};

/// Namespaces of other containers, for every [`Namespace::Joined`] of the plan.
#[derive(Debug, Default)]
pub struct Joins {
    pub network: Option<OwnedFd>,
    /// For [`Namespace::New`]: one that was made beforehand, its loopback up, so that nobody waits for it.
    pub made_network: Option<OwnedFd>,
    pub pid: Option<OwnedFd>,
    pub ipc: Option<OwnedFd>,
    pub uts: Option<OwnedFd>,
    /// The mount namespace that goes with `ipc`: its `/dev/shm` is shared too.
    pub shm: Option<OwnedFd>,
}

impl Joins {
    fn all(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.network, &self.made_network, &self.pid, &self.ipc, &self.uts, &self.shm]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
    }

    /// Those that a process enters itself, with their flags and names.
    pub(super) fn by_setns(&self) -> impl Iterator<Item = (&OwnedFd, i32, &'static str)> {
        let wanted = [
            (&self.network, libc::CLONE_NEWNET, "network"),
            (&self.made_network, libc::CLONE_NEWNET, "network"),
            (&self.ipc, libc::CLONE_NEWIPC, "ipc"),
            (&self.uts, libc::CLONE_NEWUTS, "uts"),
        ];
        wanted.into_iter().filter_map(|(fd, flag, name)| Some((fd.as_ref()?, flag, name)))
    }
}

/// The process's side of stdio.
#[derive(Debug)]
pub enum ProcessStdio {
    /// Without stdin it reads `/dev/null`.
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    /// A terminal is opened in the container's own devpts, of this size (rows, columns) where it is known.
    Terminal { size: Option<(u16, u16)> },
}

/// What is needed besides the plan.
#[derive(Debug)]
pub struct Surroundings {
    /// The user namespace that the plan wants, where it wants one of the container's own.
    pub user: Option<OwnedFd>,
    /// A directory of the host under which the root is attached in the container's mount namespace.
    pub attach: PathBuf,
    /// The root, where the plan says that it is handed over.
    pub root: Option<OwnedFd>,
    pub joins: Joins,
    pub stdio: ProcessStdio,
}

/// Forks the first process. It gets ready at once and executes its program after [`ShimEnd::go`].
pub fn start(plan: &Plan, surroundings: Surroundings) -> sys::Result<(Child, ShimEnd)> {
    let (shim, own) = handshake::pair()?;
    let flags = clone_flags(plan, &surroundings.joins);
    let forked = match (&surroundings.user, &surroundings.joins.pid) {
        (Some(user), _) => process::fork_from(|| inner::go(user, plan, &surroundings), flags),
        (None, Some(pid)) => process::fork_into(pid, flags),
        (None, None) => process::fork(flags),
    };
    match forked? {
        Fork::Parent(child) => Ok((child, shim)),
        Fork::Child => {
            drop(shim);
            let Err(failure) = run(plan, surroundings, &own);
            own.failed(failure);
            process::exit_now(125)
        }
    }
}

fn clone_flags(plan: &Plan, joins: &Joins) -> u64 {
    let n = &plan.namespaces;
    let wanted = [
        (if joins.made_network.is_some() { Namespace::Joined } else { n.network }, libc::CLONE_NEWNET),
        (n.pid, libc::CLONE_NEWPID),
        (n.ipc, libc::CLONE_NEWIPC),
        (n.uts, libc::CLONE_NEWUTS),
        (n.cgroup, libc::CLONE_NEWCGROUP),
    ];
    let flags =
        wanted.iter().filter(|(n, _)| *n == Namespace::New).fold(libc::CLONE_NEWNS, |all, (_, f)| all | f);
    u64::from(flags.cast_unsigned())
}

fn run(plan: &Plan, mut surroundings: Surroundings, shim: &ProcessEnd) -> Result<Infallible, Failure> {
    process::die_with_parent().step("prctl")?;
    // The working directory and the targets of mounts are for all users of the container, whatever the umask of who
    // starts it.
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    // It is there already.
    let inner = surroundings.user.take().is_some();
    let others = surroundings.joins.all().chain(surroundings.root.as_ref().map(AsFd::as_fd));
    leave_shim(shim, &surroundings.stdio, others)?;
    rustix::process::setsid().step("setsid")?;
    if !inner {
        join(&surroundings.joins)?;
    }
    if plan.namespaces.time == Namespace::New {
        clocks::enter_new(&plan.clock_offsets)?;
    }
    name_and_network(plan, surroundings.joins.made_network.is_some(), shim)?;
    let shm = surroundings.joins.shm.as_ref().map(shared_memory).transpose()?;
    let Surroundings { attach, root, stdio, .. } = surroundings;
    let attach = path::open_directory(&attach).step("attach the root")?;
    let (root, binds) = if inner { inner::take_hosts(plan, root)? } else { (root, None) };
    let texts = texts::prepare(plan, &attach)?;
    let helpers = Helpers { shim, shm, texts, binds };
    let root = rootfs::assemble(&plan.rootfs, root, &attach)?;
    if let Some(account) = &plan.account {
        account::add(&root, account).into_iter().for_each(|warning| helpers.shim.warn(warning));
    }
    let root = build_root(plan, root, &helpers, stdio)?;
    if !inner {
        oom_score(plan.process.oom_score_adj)?;
    }
    mount::set_propagation(&root, libc::MS_PRIVATE, false).step("make the root private")?;
    mount::pivot(&root).step("enter the root")?;
    drop(root);
    let ready = program::prepare(&plan.process)?;
    if plan.init {
        return reaper::fork_program(ready, shim);
    }
    Err(ready.exec(shim))
}

/// Closes what is the shim's alone (its lock, its clients, other processes' pipes), before anything of the
/// container is near enough to look.
pub(super) fn leave_shim<'a>(
    talk: &ProcessEnd,
    stdio: &ProcessStdio,
    others: impl Iterator<Item = BorrowedFd<'a>>,
) -> Result<(), Failure> {
    let mut kept: Vec<BorrowedFd<'_>> = others.collect();
    kept.push(talk.as_fd());
    if let ProcessStdio::Pipes { stdin, stdout, stderr } = stdio {
        kept.extend(stdin.iter().chain([stdout, stderr]).map(AsFd::as_fd));
    }
    process::close_all_but(&kept).step("close what is the shim's")
}

fn join(joins: &Joins) -> Result<(), Failure> {
    for (fd, flag, name) in joins.by_setns() {
        process::enter(fd, flag).step(&format!("join the other container's {name} namespace"))?;
    }
    Ok(())
}

fn name_and_network(plan: &Plan, network_is_up: bool, shim: &ProcessEnd) -> Result<(), Failure> {
    if let Some(name) = plan.hostname.as_deref().filter(|_| plan.namespaces.uts == Namespace::New) {
        match rustix::system::sethostname(name.as_bytes()) {
            // This process is root of the namespace: only a filter forbids it, podman's default for one.
            Err(Errno::PERM) if plan.optional_hostname => shim.warn(
                "the outer container's seccomp profile lets nobody set a host name: the container has the outer one's",
            ),
            set => set.step("set the host name").map_err(|failure| {
                failure.with_hint("an outer container's seccomp profile may forbid it; leave out --hostname, or use --uts host")
            })?,
        }
    }
    if plan.namespaces.network == Namespace::New && !network_is_up {
        link::loopback_up().step("start the loopback interface")?;
    }
    Ok(())
}

/// A detached copy of another container's `/dev/shm`: a mount can be copied only from within its namespace.
fn shared_memory(theirs: &OwnedFd) -> Result<OwnedFd, Failure> {
    let doing = "share the other container's /dev/shm";
    let own = process::own_namespace("mnt").step(doing)?;
    process::enter(theirs, libc::CLONE_NEWNS).step(doing)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, "/dev/shm", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let tree = opened.op_on("open", "/dev/shm").and_then(|dir| mount::clone_tree(dir, "", false));
    process::enter(own, libc::CLONE_NEWNS).step(doing)?;
    tree.step(doing)
}

/// Furnishes the root.
fn build_root(
    plan: &Plan,
    root: OwnedFd,
    helpers: &Helpers<'_>,
    stdio: ProcessStdio,
) -> Result<OwnedFd, Failure> {
    let mounted = mounts::all(plan, &root, helpers)?;
    protect::sysctls(&plan.sysctls, &plan.optional_sysctls, mounted.proc)?;
    take_stdio(stdio, &root, mounted.devpts.as_ref(), helpers.shim)?;
    protect::mask(&root, &plan.masked_paths)?;
    protect::read_only(&root, &plan.readonly_paths)?;
    if plan.rootfs_read_only {
        mount::set_attributes(&root, mount::READ_ONLY, false).step("make the root read-only")?;
    }
    Ok(root)
}

fn take_stdio(
    stdio: ProcessStdio,
    root: &OwnedFd,
    devpts: Option<&OwnedFd>,
    shim: &ProcessEnd,
) -> Result<(), Failure> {
    match stdio {
        ProcessStdio::Pipes { stdin, stdout, stderr } => {
            let stdin = stdin.map_or_else(|| own_null(root).map_or_else(program::null, Ok), Ok)?;
            program::place_stdio([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
        }
        ProcessStdio::Terminal { size } => {
            let devpts = devpts.ok_or_else(|| Failure::own("terminal", "the plan has no devpts"))?;
            let slave = open_terminal(devpts, size, shim)?;
            dev::console(root, &slave)
        }
    }
}

/// The null device in the container's own `/dev`, which has a name there; the host's has none once the root is
/// entered. `None` where the image or a mount put anything else in its place, which is not opened. Found without
/// links, inside the root, and opened again by what was found.
fn own_null(root: &OwnedFd) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let found = rustix::fs::openat2(root, "dev/null", flags, Mode::empty(), resolve).ok()?;
    if !mounts::is_device(&found, 1, 3) {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty()).ok()
}

/// Opens a terminal in a devpts, hands its master to the shim, and makes the slave stdio and controlling
/// terminal of this session.
pub(super) fn open_terminal(
    devpts: &OwnedFd,
    size: Option<(u16, u16)>,
    shim: &ProcessEnd,
) -> Result<OwnedFd, Failure> {
    let master = pty::open_master(devpts).step("open a terminal")?;
    let slave = pty::open_slave(&master).step("open a terminal")?;
    if let Some((rows, cols)) = size {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).step("size the terminal")?;
    }
    pty::control(&slave).step("take the terminal")?;
    program::place_stdio([slave.as_fd(), slave.as_fd(), slave.as_fd()])?;
    shim.terminal(master).step("hand over the terminal")?;
    Ok(slave)
}

/// Lowering the score needs a privilege that a user does not have on the host.
pub(super) fn oom_score(score: Option<i32>) -> Result<(), Failure> {
    use std::io::Write;
    let Some(score) = score else { return Ok(()) };
    let path = "/proc/self/oom_score_adj";
    let write = || -> sys::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).op_on("open", path)?;
        file.write_all(score.to_string().as_bytes()).op_on("write", path)
    };
    write().map_err(|e| match e.errno() {
        libc::EACCES | libc::EPERM => {
            Failure::own(&format!("set --oom-score-adj {score}"), "permission denied")
                .with_hint("only a privileged process may lower the score below its present one")
        }
        _ => Failure::own("set --oom-score-adj", e),
    })
}
