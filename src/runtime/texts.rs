//! Files that the plan brings along as text (`/etc/hosts` and its like), in one small tmpfs.
//!
//! They live in memory, not beside the container on disk: they are made anew at every start. The tmpfs lies where the
//! root will be attached over it, so that the container sees the files and nothing of where they are.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::handshake::{Failure, Step};
use super::mounts;
use super::plan::{MountSource, Plan};
use crate::sys::mount::{self, NO_DEV, NO_EXEC, NO_SUID};

/// What a container may write to these files on top of their texts, in bytes.
const ROOM: u64 = 4 << 20;

/// Detached mounts of the plan's texts, in its order. `attach` is the directory that the root will cover.
pub(super) fn prepare(plan: &Plan, attach: &OwnedFd) -> Result<Vec<OwnedFd>, Failure> {
    let texts: Vec<&str> = plan
        .mounts
        .iter()
        .filter_map(|m| if let MountSource::Text(text) = &m.source { Some(text.as_str()) } else { None })
        .collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let doing = "make the files of /etc";
    let size = texts.iter().map(|t| t.len() as u64).sum::<u64>() + ROOM;
    let tmpfs = mounts::tmpfs(Some(size), 0o755)?.mount(NO_SUID | NO_DEV | NO_EXEC).step(doing)?;
    mount::attach(&tmpfs, attach).step(doing)?;
    let file = |(number, text): (usize, &&str)| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&tmpfs, number.to_string(), flags, Mode::empty()).step(doing)?;
        // Whatever the umask: every user of the container reads them.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).step(doing)?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).step(doing)?;
        mount::clone_tree(&file, "", false).step(doing)
    };
    texts.iter().enumerate().map(file).collect()
}
