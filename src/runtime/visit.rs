//! A container's root as its files are seen by a job that copies them: the root file system and the user's binds,
//! in a mount namespace of the job's own. Nothing of the container runs here, and nothing in it can change what is
//! mounted.
//!
//! What the container mounts for itself (`/proc`, `/dev`, tmpfs, whatever its processes add) is not there, as with
//! docker. The root of one that runs is a copy of its mount, so no file system is mounted twice. Targets of binds are
//! found by descriptor inside the root, so a link that a container swaps meanwhile leads nowhere else.
//!
//! The calling process has one thread, is root of the user namespace, sets itself apart first ([`set_apart`]), and ends
//! with its errand.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::handshake::{Failure, Step};
use super::plan::{Rootfs, UMASK};
use super::rootfs;
use crate::sys::mount::{self, READ_ONLY};
use crate::sys::path::{self, Make};
use crate::sys::{Context, process, userns};

/// File systems of the kernel's, linux/magic.h: procfs, devpts, sysfs, cgroup2, mqueue.
const KERNELS: [i64; 5] = [mount::PROC, mount::DEVPTS, 0x6265_6572, 0x6367_7270, 0x1980_0202];

/// Whether a directory shows what the kernel makes up, of which there is nothing to copy.
pub fn is_kernels(dir: &OwnedFd) -> bool {
    mount::fs_type(dir).is_ok_and(|kind| KERNELS.contains(&kind))
}

/// The pidfd of the process `pid` that began at `start`, in clock ticks since boot. `None` when it has ended.
pub fn process(pid: u32, start: u64) -> Option<OwnedFd> {
    let pidfd = process::open_pid(pid).ok()?;
    (process::start_time(pid) == Some(start)).then_some(pidfd)
}

/// Where the root comes from.
#[derive(Debug)]
pub enum Origin<'a> {
    /// Nothing of the container runs, and nothing will until the visit is over. With the mount of one that is handed
    /// over.
    Mounted(&'a Rootfs, Option<OwnedFd>),
    /// The pidfd of the first process of one that runs. `recursive`: what is mounted below belongs to its root.
    Running { process: &'a OwnedFd, recursive: bool },
}

/// What the user has bound into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub recursive: bool,
    pub read_only: bool,
    /// Mounts below the source are read-only too.
    pub read_only_below: bool,
}

/// Enters a mount namespace of its own: the first step.
pub fn set_apart() -> Result<(), Failure> {
    let doing = "enter a mount namespace";
    // As when the container starts.
    rustix::process::umask(Mode::from_raw_mode(UMASK));
    // A container that shares the host's pids must not look into this process.
    process::undumpable().step(doing)?;
    process::unshare(libc::CLONE_NEWNS).step(doing)
}

/// Enters the user namespace that a container has of its own, given by itself or by the pidfd of a process in it. What
/// mount namespace this process had set itself apart in was another's: before [`set_apart`], or once more before it.
pub fn follow(namespace: &OwnedFd) -> Result<(), Failure> {
    userns::enter_nested(namespace).step("enter the container's user namespace")
}

/// Makes `attach`, a directory of the host, the container's root in this mount namespace. Gives that root.
/// `inner`: the process [followed](follow) into the container's own user namespace, and is to be its root.
pub fn enter(
    origin: Origin<'_>,
    binds: &[Bind],
    read_only: bool,
    attach: &Path,
    inner: bool,
) -> Result<OwnedFd, Failure> {
    // With the ids of the user, whose paths they are.
    let attach = path::open_directory(attach).step("attach the root")?;
    let trees = binds.iter().map(take).collect::<Result<Vec<_>, _>>()?;
    let origin = match origin {
        Origin::Mounted(rootfs @ Rootfs::Directory { path }, None) => {
            let tree = mount::clone_tree(CWD, path, true).step("use the root file system")?;
            Origin::Mounted(rootfs, Some(tree))
        }
        origin => origin,
    };
    if inner {
        userns::become_own_root().step("become the container's root")?;
    }
    let root = match origin {
        Origin::Mounted(rootfs, handed) => rootfs::assemble(rootfs, handed, &attach)?,
        Origin::Running { process, recursive } => {
            let copied = copy_root(process, recursive)?;
            mount::attach(&copied, &attach).step("attach the root")?;
            mount::set_propagation(&copied, libc::MS_PRIVATE, true).step("make the root private")?;
            copied
        }
    };
    for (bind, tree) in binds.iter().zip(&trees) {
        place(&root, tree, bind).map_err(|failure| about(bind, failure))?;
    }
    if read_only {
        mount::set_attributes(&root, READ_ONLY, false).step("make the root read-only")?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&root, ".", flags, Mode::empty()).step("open the root")
}

/// Makes the working directory of a container that has never run, as its start will. That it cannot be made is for
/// whoever looks for it there to say.
pub fn make_working_directory(root: &OwnedFd, path: &Path) {
    let _ = path::make_in(root, path, Make::Directory);
}

/// Writes what was written below `root` to whoever serves it. Not to the disk.
pub fn flush(root: &OwnedFd) -> crate::sys::Result<()> {
    retry_on_intr(|| rustix::fs::syncfs(root)).op("write back")
}

/// A detached copy of its root: a mount can be copied only from within its namespace.
fn copy_root(process: &OwnedFd, recursive: bool) -> Result<OwnedFd, Failure> {
    let doing = "enter the container's mount namespace";
    let own = process::own_namespace("mnt").step(doing)?;
    process::enter(process, libc::CLONE_NEWNS).step(doing)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).op_on("open", "/");
    let copied = root.and_then(|root| mount::clone_tree(root, "", recursive));
    process::enter(own, libc::CLONE_NEWNS).step(doing)?;
    copied.step("copy the container's root mount")
}

fn about(bind: &Bind, mut failure: Failure) -> Failure {
    failure.message = format!("bind {}: {}", bind.target.display(), failure.message);
    failure
}

fn take(bind: &Bind) -> Result<OwnedFd, Failure> {
    mount::clone_tree(CWD, &bind.source, bind.recursive)
        .step("source")
        .map_err(|failure| about(bind, failure))
}

fn place(root: impl AsFd, tree: &OwnedFd, bind: &Bind) -> Result<(), Failure> {
    if bind.read_only {
        mount::set_attributes(tree, READ_ONLY, bind.read_only_below).step("options")?;
    }
    mount::set_propagation(tree, libc::MS_PRIVATE, true).step("propagation")?;
    let stat = rustix::fs::fstat(tree).op("stat").step("source")?;
    let make = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Make::Directory,
        _ => Make::EmptyFile,
    };
    let target = path::make_in(root, &bind.target, make).step("target")?;
    mount::attach(tree, &target).step("target")
}
