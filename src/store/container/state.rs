//! `state.jsonl`: what the shim says of itself, a line each time, the last one being the truth.
//!
//! Appending is one write: a file that is replaced instead costs an inode, and ext4 writes the new one to the disk
//! before the rename takes effect, which a command would wait for at the end of every container.

use std::io::{Read, Write};
use std::path::PathBuf;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::ShimState;
use crate::store::id::ContainerId;
use crate::store::{Error, Layout, Result};
use crate::sys::Context;

/// In the container's directory. What locks it lives: see [`crate::store::lock`].
pub(in crate::store) const FILE: &str = "state.jsonl";
/// A line is a dozen short fields, and one more for each published port, of which a user may want thousands.
const LIMIT: u64 = 16 << 20;

impl Layout {
    /// Adds a line. For the container's shim alone.
    pub fn write_state(&self, id: &ContainerId, state: &ShimState) -> Result<()> {
        let path = self.state_path(id);
        let mut line = serde_json::to_vec(state)
            .map_err(|e| Error::Malformed { path: path.clone(), reason: e.to_string() })?;
        line.push(b'\n');
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::open(&path, flags, Mode::RUSR | Mode::WUSR).op_on("open", &path)?;
        Ok(std::fs::File::from(file).write_all(&line).op_on("write", &path)?)
    }

    /// The last whole line: one that a full disk cut short was never said. `None` when the container has not run
    /// since its last `mark_launched`.
    pub fn read_state(&self, id: &ContainerId) -> Result<Option<ShimState>> {
        Ok(self.look_in(id, |dir| last_line(dir.join(FILE)))?.flatten())
    }

    /// The file stays: the life lock is on it.
    pub(super) fn forget_state(&self, id: &ContainerId) -> Result<()> {
        let path = self.state_path(id);
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::open(&path, flags, Mode::empty()) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Ok(Err(e).op_on("empty", &path)?),
        }
    }

    fn state_path(&self, id: &ContainerId) -> PathBuf {
        self.container_dir(id).join(FILE)
    }
}

/// `None` when there is no such file; `Some(None)` when nothing was said yet.
fn last_line(path: PathBuf) -> Result<Option<Option<ShimState>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => std::fs::File::from(other.op_on("open", &path)?),
    };
    let mut bytes = Vec::with_capacity(1024);
    file.take(LIMIT).read_to_end(&mut bytes).op_on("read", &path)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(&[][..], |end| &bytes[..end]);
    match whole.rsplit(|b| *b == b'\n').next() {
        None | Some([]) => Ok(Some(None)),
        Some(line) => serde_json::from_slice(line)
            .map(|state| Some(Some(state)))
            .map_err(|e| Error::Malformed { path, reason: e.to_string() }),
    }
}

/// The kernel's id of this boot.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = crate::sys::read_small(path.as_ref())?;
    Ok(String::from_utf8_lossy(&id).trim().to_owned())
}
