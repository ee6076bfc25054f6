//! The file that says that a directory is a store of ours, and which one.

use std::io::Read;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Error, Layout, Result, atomic};
use crate::sys::Context;

/// A marker is two short fields; anything longer is none.
const LIMIT: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// 32 hex digits. The database holds the same.
    pub(super) store: String,
    /// Directories and database are complete. Written `false` before they are made, so that a database which
    /// is missing later is known for a loss and is not made anew.
    pub(super) ready: bool,
}

impl Marker {
    pub(super) fn fresh() -> Result<Self> {
        let mut bytes = [0u8; 16];
        crate::sys::random::fill(&mut bytes)?;
        Ok(Self { store: bytes.iter().map(|b| format!("{b:02x}")).collect(), ready: false })
    }

    /// `None` when there is no such file.
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.marker();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Error::Untrusted { path, reason: "it is a symbolic link" }),
            other => std::fs::File::from(other.op_on("open", &path)?),
        };
        let mut bytes = Vec::with_capacity(256);
        file.take(LIMIT).read_to_end(&mut bytes).op_on("read", &path)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| Error::Malformed { path, reason: "it is not the marker of a store".into() })
    }

    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.marker();
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::Malformed { path: path.clone(), reason: e.to_string() })?;
        atomic::write_synced(&path, &bytes)
    }
}

/// Whether a name in the root is a marker that was being written when its writer died.
pub(super) fn is_unfinished_marker(name: &Path) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(".kelp-store."))
}
