//! The container's `/dev`: a tmpfs with the host's harmless nodes bound in, links, and nothing else.
//!
//! A user namespace can make no device nodes, so each one is the host's, taken by descriptor and checked for
//! its number before it is used.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::handshake::{Failure, Step};
use super::mounts;
use super::plan::Plan;
use crate::sys::mount;

/// Name, major, minor: the nodes of the OCI runtime spec's default devices.
const NODES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

pub(super) fn tmpfs() -> Result<OwnedFd, Failure> {
    mounts::tmpfs(Some(64 << 20), 0o755)?.mount(mount::NO_SUID).step("tmpfs")
}

/// Fills an attached `/dev`. The directories are for mounts that follow.
pub(super) fn populate(dev: &OwnedFd, plan: &Plan) -> Result<(), Failure> {
    for (name, major, minor) in NODES {
        node(dev, name, *major, *minor)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, dev, *name).step("link in /dev")?;
    }
    for name in ["pts", "shm", "mqueue"] {
        let target = Path::new("/dev").join(name);
        if !plan.mounts.iter().any(|mount| mount.target == target) {
            continue;
        }
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).step("make a directory in /dev")?;
    }
    if plan.process.terminal {
        place(dev, "console")?;
    }
    Ok(())
}

fn place(dev: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666)).step("make a node in /dev")
}

fn node(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> Result<(), Failure> {
    let device = host_device(name, major, minor)?;
    let target = place(dev, name)?;
    mount::attach(&device, &target).step("bind a device")
}

/// A detached mount of one device node of the host.
pub(super) fn host_device(name: &str, major: u32, minor: u32) -> Result<OwnedFd, Failure> {
    let path = Path::new("/dev").join(name);
    let device = mount::clone_tree(CWD, &path, false).step("bind a device")?;
    if mounts::is_device(&device, major, minor) {
        Ok(device)
    } else {
        Err(Failure::own(
            "bind a device",
            format!("the host's {} is not the device {major}:{minor}", path.display()),
        ))
    }
}

/// Puts the terminal's slave at `/dev/console`, where the root has a `/dev` of ours.
pub(super) fn console(root: &OwnedFd, slave: &OwnedFd) -> Result<(), Failure> {
    let Ok(target) = crate::sys::path::find_in(root, "/dev/console") else { return Ok(()) };
    let console = mount::clone_tree(slave, "", false).step("bind /dev/console")?;
    mount::attach(&console, &target).step("bind /dev/console")
}
