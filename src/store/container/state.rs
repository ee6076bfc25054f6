//! `state.json`: what the shim says of itself, and what else the kernel knows of a process.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::ShimState;
use crate::store::id::ContainerId;
use crate::store::{Error, Layout, Result, atomic};
use crate::sys::Context;

/// The state is a dozen short fields.
const LIMIT: u64 = 64 << 10;
/// To which it is filled up with blanks, so that every state of a container is as long as the others: one write of
/// less than a page then puts one in the place of another, and no reader sees half of it.
const LENGTH: usize = 1024;

impl Layout {
    /// Replaces `state.json`. For the container's shim alone. A container that has filled the disk can have its end
    /// written down all the same: over what is there, which needs no more room.
    pub fn write_state(&self, id: &ContainerId, state: &ShimState) -> Result<()> {
        let path = self.state_path(id);
        let mut bytes = serde_json::to_vec(state)
            .map_err(|e| Error::Malformed { path: path.clone(), reason: e.to_string() })?;
        bytes.resize(bytes.len().max(LENGTH), b' ');
        match atomic::write(&path, &bytes) {
            Err(full) if full.is_disk_full() => overwrite(&path, &bytes).map_err(|_| full),
            other => other,
        }
    }

    /// `None` when the container has not run since its last `mark_launched`.
    pub fn read_state(&self, id: &ContainerId) -> Result<Option<ShimState>> {
        let path = self.state_path(id);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => std::fs::File::from(other.op_on("open", &path)?),
        };
        let mut bytes = Vec::with_capacity(1024);
        file.take(LIMIT).read_to_end(&mut bytes).op_on("read", &path)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::Malformed { path, reason: e.to_string() })
    }

    pub(super) fn forget_state(&self, id: &ContainerId) -> Result<()> {
        let path = self.state_path(id);
        match fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Ok(Err(e).op_on("remove", &path)?),
        }
    }

    fn state_path(&self, id: &ContainerId) -> PathBuf {
        self.container_dir(id).join("state.json")
    }
}

fn overwrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::empty()).op_on("open", path)?;
    Ok(std::fs::File::from(file).write_all_at(bytes, 0).op_on("write", path)?)
}

/// The kernel's id of this boot.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).op_on("read", path)?.trim().to_owned())
}
