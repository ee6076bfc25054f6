//! The processes that write a new namespace's maps from outside it.
//!
//! They are forked before the caller enters its namespace, wait for the word, write, and end. Their exit
//! statuses are collected by the caller's pid, which may meanwhile have executed another program.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Extent, MapKind, Wanted};
use crate::sys::process::{self, Fork, WaitStatus};
use crate::sys::{Context, Error, Result};

/// Forked and waiting writers.
#[derive(Debug)]
pub struct Writers {
    /// Closed to let the writers begin.
    begin: OwnedFd,
    pids: Vec<u32>,
}

impl Writers {
    /// Forks what the wanted map needs. A single-id map needs nobody: the caller writes it by [`write_single`].
    pub fn prepare(wanted: &Wanted) -> Result<Self> {
        let target = std::process::id();
        let (wait, begin) = process::pipe()?;
        let mut pids = Vec::new();
        match (&wanted.helpers, wanted.map.kind) {
            (_, MapKind::Single) => {}
            (Some((uid_helper, gid_helper)), _) => {
                pids.push(fork_helper(&wait, &begin, uid_helper, target, &wanted.map.uids)?);
                pids.push(fork_helper(&wait, &begin, gid_helper, target, &wanted.map.gids)?);
            }
            (None, _) => {
                pids.push(fork_direct(&wait, &begin, target, "uid_map", &wanted.map.uids)?);
                pids.push(fork_direct(&wait, &begin, target, "gid_map", &wanted.map.gids)?);
            }
        }
        Ok(Self { begin, pids })
    }

    /// The caller is in its new namespace: the writers may write. Returns the pids to wait for.
    pub fn begin(self, wanted: &Wanted) -> Result<Vec<u32>> {
        drop(self.begin);
        if wanted.map.kind == MapKind::Single {
            write_single(wanted)?;
        }
        if wanted.helpers.is_none() {
            // What follows makes the caller undumpable, and its files in /proc then belong to a root that writers
            // within an outer user namespace are not.
            for pid in &self.pids {
                process::await_end(*pid)?;
            }
        }
        Ok(self.pids)
    }

    /// Collects one writer. The error says which program failed.
    pub fn finish(pid: u32) -> Result<()> {
        match process::wait_pid(pid)? {
            WaitStatus::Exited(0) => Ok(()),
            WaitStatus::Exited(errno) if errno < 126 => Err(Error::new("write id map", i32::from(errno))),
            _ => Err(Error::new("run newuidmap and newgidmap", libc::EPERM)),
        }
    }
}

/// One's own single-id map may be written from within, once setgroups(2) is given up.
fn write_single(wanted: &Wanted) -> Result<()> {
    write_proc("/proc/self/setgroups", "deny")?;
    write_map("/proc/self/uid_map", &wanted.map.uids)?;
    write_map("/proc/self/gid_map", &wanted.map.gids)
}

/// Writes one map of a namespace whose ids this process may set.
pub(super) fn write_map(path: &str, extents: &[Extent]) -> Result<()> {
    write_proc(path, &lines(extents))
}

fn lines(extents: &[Extent]) -> String {
    extents.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect()
}

fn write_proc(path: &str, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).open(path).op_on("open", path)?;
    // The kernel takes a map in one write only.
    file.write_all(text.as_bytes()).op_on("write", path)
}

fn fork_writer(wait: &OwnedFd, begin: &OwnedFd, job: impl FnOnce() -> Result<()>) -> Result<u32> {
    match process::fork(0)? {
        Fork::Parent(child) => Ok(child.pid),
        Fork::Child => {
            let code = match after_word(wait, begin).and_then(|()| job()) {
                Ok(()) => 0,
                Err(e) => u8::try_from(e.errno()).unwrap_or(125).min(125),
            };
            process::exit_now(code)
        }
    }
}

/// Blocks until every other holder of the pipe's write end has closed it. The caller's death is such a close
/// too: the write then fails, its namespace being gone.
fn after_word(wait: &OwnedFd, begin: &OwnedFd) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: closes this forked child's copy of the write end by number; the owned value is never dropped
    // here, because this process ends in exit_now or exec.
    unsafe { libc::close(begin.as_raw_fd()) };
    let mut byte = [0u8; 1];
    rustix::io::retry_on_intr(|| rustix::io::read(wait, &mut byte)).op("read")?;
    Ok(())
}

fn fork_direct(wait: &OwnedFd, begin: &OwnedFd, target: u32, file: &str, map: &[Extent]) -> Result<u32> {
    let path = format!("/proc/{target}/{file}");
    let text = lines(map);
    fork_writer(wait, begin, || write_proc(&path, &text))
}

fn fork_helper(wait: &OwnedFd, begin: &OwnedFd, helper: &Path, target: u32, map: &[Extent]) -> Result<u32> {
    let number = |n: u32| CString::new(n.to_string()).map_err(|_| Error::new("newuidmap", libc::EINVAL));
    let path =
        CString::new(helper.as_os_str().as_bytes()).map_err(|_| Error::new("newuidmap", libc::EINVAL))?;
    let mut args = vec![path.clone(), number(target)?];
    for extent in map {
        args.extend([number(extent.inside)?, number(extent.outside)?, number(extent.count)?]);
    }
    fork_writer(wait, begin, || Err(process::exec(&path, &args, &[])))
}
