//! A container with a user namespace of its own: what its first process does on the way there, and as whom.
//!
//! All other namespaces are made from inside, so that the container's root is root over them. What lies on the host
//! is reached with the ids of the user, whose paths and binds they are, and only then does the process become the
//! container's root, to whom belongs what is made for the container: tmpfs, terminals, mount points.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::process::{Gid, Uid};

use super::handshake::{Failure, Step};
use super::init::{self, ProcessStdio, Surroundings};
use super::mounts;
use super::plan::{MountSource, Namespaces, Plan, Rootfs};
use crate::sys::userns::{self, Nested};
use crate::sys::{self, mount, process};

/// Detached copies of what the plan binds, in its order.
pub(super) type Binds = RefCell<VecDeque<OwnedFd>>;

/// Leads a process into the namespace: first what only the outer root may.
pub(super) fn go(user: &OwnedFd, plan: &Plan, surroundings: &Surroundings) -> sys::Result<()> {
    for (namespace, flag, _) in surroundings.joins.by_setns() {
        process::enter(namespace, flag)?;
    }
    give(&surroundings.stdio, &plan.namespaces);
    userns::enter_nested(user)
}

/// Where the outer root is nobody inside, its pipes become the container's root's, who gives them to the program.
pub(super) fn give(stdio: &ProcessStdio, namespaces: &Namespaces) {
    let Some(root) = namespaces.user.as_ref().filter(|user| user.outer_root().is_none()) else { return };
    let (Some((uid, gid)), ProcessStdio::Pipes { stdin, stdout, stderr }) = (Nested::own_root(root), stdio)
    else {
        return;
    };
    for fd in stdin.iter().chain([stdout, stderr]) {
        let fifo = rustix::fs::fstat(fd).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo
        });
        if fifo {
            // One that cannot be given can still be used, if not opened again.
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
}

/// Takes from the host what the plan names there, then becomes the container's root. `root` is the one that was
/// handed over, if there is one.
pub(super) fn take_hosts(
    plan: &Plan,
    root: Option<OwnedFd>,
) -> Result<(Option<OwnedFd>, Option<Binds>), Failure> {
    let root = match (&plan.rootfs, root) {
        (Rootfs::Directory { path }, None) => {
            Some(mount::clone_tree(CWD, path, true).step("use the root file system")?)
        }
        (_, root) => root,
    };
    let mut binds = VecDeque::new();
    for mount in &plan.mounts {
        if let MountSource::Bind { source, recursive, .. } = &mount.source {
            let tree = mount::clone_tree(CWD, source, *recursive).map_err(|e| {
                let mut failure = mounts::explain_bind(&e, source, *recursive);
                failure.message = format!("mount {}: {}", mount.target.display(), failure.message);
                failure
            })?;
            binds.push_back(tree);
        }
    }
    // The file is the user's own, as this process is.
    init::oom_score(plan.process.oom_score_adj)?;
    userns::become_own_root().step("become the container's root")?;
    Ok((root, Some(RefCell::new(binds))))
}

/// The next one of them, where there are any.
pub(super) fn next(binds: Option<&Binds>) -> Option<OwnedFd> {
    binds?.borrow_mut().pop_front()
}

/// Leads a process into the namespaces of a running container, `flags` besides the user namespace.
pub(super) fn follow(
    first: impl AsFd,
    namespaces: &Namespaces,
    flags: i32,
    stdio: &ProcessStdio,
) -> sys::Result<()> {
    if namespaces.user.is_none() {
        return process::enter(first, flags);
    }
    give(stdio, namespaces);
    process::enter(first, flags | libc::CLONE_NEWUSER)?;
    userns::become_own_root()
}
