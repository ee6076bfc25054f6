//! What the container may not read or write of the kernel: masked and read-only paths, and the sysctls that the
//! plan sets, through a procfs that nothing in the image can have replaced.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::dev;
use super::handshake::{Failure, Step};
use super::mounts;
use crate::sys::mount::{self, FsContext};
use crate::sys::path;
use crate::sys::{self, Context};

/// Hides `paths`; those that do not exist need no hiding.
pub(super) fn mask(root: &OwnedFd, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut empty = None;
    for path in paths {
        let Some(target) = existing(root, path)? else { continue };
        let stat = rustix::fs::fstat(&target).step("mask a path")?;
        let cover = match (FileType::from_raw_mode(stat.st_mode), &empty) {
            // One empty directory covers them all: a bind is made faster than a file system.
            (FileType::Directory, Some(empty)) => mount::clone_tree(empty, "", false).step("mask a path")?,
            (FileType::Directory, None) => {
                mounts::tmpfs(Some(0), 0o555)?.mount(mount::READ_ONLY).step("mask a path")?
            }
            // The host's node, checked: an image's own /dev/null may be anything (CVE-2025-31133).
            _ => dev::host_device("null", 1, 3)?,
        };
        mount::attach(&cover, &target).step("mask a path")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Only what is attached can be bound again.
            empty.get_or_insert(cover);
        }
    }
    Ok(())
}

/// `None` only when there is nothing: what cannot be looked at is not left open.
fn existing(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match path::find_in(root, path) {
        Err(e) if matches!(e.errno(), libc::ENOENT | libc::ENOTDIR) => Ok(None),
        found => found.map(Some).step("protect a path"),
    }
}

pub(super) fn read_only(root: &OwnedFd, paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let Some(target) = existing(root, path)? else { continue };
        let copy = mount::clone_tree(&target, "", true).step("make a path read-only")?;
        mount::set_attributes(&copy, mount::READ_ONLY, true).step("make a path read-only")?;
        mount::attach(&copy, &target).step("make a path read-only")?;
    }
    Ok(())
}

/// Writes sysctls, those in `optional` where it is possible, through `proc`, the root of the container's own procfs,
/// before any part of it is read-only. Must be called before the root is pivoted to.
pub(super) fn sysctls(
    settings: &[(String, String)],
    optional: &[String],
    proc: Option<OwnedFd>,
) -> Result<(), Failure> {
    if settings.is_empty() {
        return Ok(());
    }
    let proc = proc.map_or_else(private_proc, Ok).step("open /proc/sys")?;
    for (name, value) in settings {
        let written = match name.as_str() {
            // Its file belongs to the host's root, the name to the namespace's.
            "kernel.domainname" => rustix::system::setdomainname(value.as_bytes()).op("set the domain name"),
            _ => set_sysctl(&proc, name, value),
        };
        match written {
            // In another container that hides parts of /proc from us, /proc/sys is read-only.
            Err(_) if optional.contains(name) => {}
            written => written.step(&format!("set sysctl {name}={value}"))?,
        }
    }
    Ok(())
}

/// A procfs of our own that is mounted nowhere; inside another container only the host's may be had.
fn private_proc() -> sys::Result<OwnedFd> {
    match FsContext::open("proc").and_then(|proc| proc.mount(0)) {
        Ok(proc) => Ok(proc),
        Err(_) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let proc = rustix::fs::open("/proc", flags, Mode::empty()).op_on("open", "/proc")?;
            match mount::fs_type(&proc)? == mount::PROC {
                true => Ok(proc),
                false => Err(sys::Error::with_subject("open", "/proc", libc::ENODEV)),
            }
        }
    }
}

fn set_sysctl(proc: &OwnedFd, name: &str, value: &str) -> sys::Result<()> {
    let relative = Path::new("sys").join(name.replace('.', "/"));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat2(proc, &relative, flags, Mode::empty(), resolve).op_on("open", &relative)?;
    std::fs::File::from(file).write_all(value.as_bytes()).op_on("write", &relative)
}
