//! One more process in a running container: what `exec` starts.
//!
//! Forked by the shim, which runs from a read-only mount and already is in the user namespace, into the
//! container's pid namespace; the process enters the other namespaces itself and then does as the first one
//! did. It is undumpable until its exec, so the container cannot look into it meanwhile.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::handshake::{self, Failure, ProcessEnd, ShimEnd, Step};
use super::init::{self, ProcessStdio};
use super::plan::{Namespace, Namespaces, Process};
use super::{inner, program};
use crate::sys::process::{self, Child, Fork};
use crate::sys::{self, Context, mount};

/// The container to join.
#[derive(Debug)]
pub struct Target<'a> {
    /// The pidfd of its first process.
    pub first: &'a OwnedFd,
    pub namespaces: &'a Namespaces,
}

/// Forks the process. It executes its program after [`ShimEnd::go`].
pub fn start(target: &Target<'_>, program: &Process, stdio: ProcessStdio) -> sys::Result<(Child, ShimEnd)> {
    let (shim, own) = handshake::pair()?;
    let forked = match target.namespaces.pid {
        Namespace::Host => process::fork(0),
        Namespace::New | Namespace::Joined => process::fork_into(target.first, 0),
    };
    match forked? {
        Fork::Parent(child) => Ok((child, shim)),
        Fork::Child => {
            drop(shim);
            let Err(failure) = run(target, program, stdio, &own);
            own.failed(failure);
            process::exit_now(125)
        }
    }
}

fn run(
    target: &Target<'_>,
    program: &Process,
    stdio: ProcessStdio,
    shim: &ProcessEnd,
) -> Result<Infallible, Failure> {
    process::die_with_parent().step("prctl")?;
    init::leave_shim(shim, &stdio, std::iter::once(target.first.as_fd()))?;
    rustix::process::setsid().step("setsid")?;
    // Held open across the change of root: the container's own may be anything.
    let null = program::null()?;
    inner::follow(target.first, target.namespaces, namespace_flags(target.namespaces), &stdio)
        .step("enter the container")?;
    match stdio {
        ProcessStdio::Pipes { stdin, stdout, stderr } => {
            let stdin = stdin.as_ref().unwrap_or(&null);
            program::place_stdio([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        }
        ProcessStdio::Terminal { size } => {
            let devpts = container_devpts().step("open the container's /dev/pts")?;
            init::open_terminal(&devpts, size, shim)?;
        }
    }
    let ready = program::prepare(program)?;
    Err(ready.exec(shim))
}

fn namespace_flags(namespaces: &Namespaces) -> i32 {
    let all = [
        (namespaces.network, libc::CLONE_NEWNET),
        (namespaces.ipc, libc::CLONE_NEWIPC),
        (namespaces.uts, libc::CLONE_NEWUTS),
        (namespaces.cgroup, libc::CLONE_NEWCGROUP),
        (namespaces.time, libc::CLONE_NEWTIME),
    ];
    all.iter().filter(|(n, _)| *n != Namespace::Host).fold(libc::CLONE_NEWNS, |flags, (_, f)| flags | f)
}

/// The container may have mounted something else there: only a devpts will do.
fn container_devpts() -> sys::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let devpts = rustix::fs::open("/dev/pts", flags, Mode::empty()).op_on("open", "/dev/pts")?;
    match mount::fs_type(&devpts)? {
        mount::DEVPTS => Ok(devpts),
        _ => Err(sys::Error::with_subject("open", "/dev/pts", libc::ENODEV)),
    }
}
