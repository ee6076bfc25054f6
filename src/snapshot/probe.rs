//! Which driver this host can do, found out by doing: an overlay of two small directories is mounted in the store and
//! used, then thrown away. Remembered until the machine starts again.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode};
use serde::{Deserialize, Serialize};

use super::{Error, Result, Snapshotter};
use crate::store::container::boot_id;
use crate::store::{Store, userns};
use crate::sys::mount::FsContext;
use crate::sys::{self, Context, process};

/// The file in the cache that remembers.
const REMEMBERED: &str = "snapshotter";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    boot_id: String,
    store: std::path::PathBuf,
    snapshotter: Snapshotter,
}

/// The driver for this store: the kernel's where it works, ours where it does not. `cache` may be empty or gone. The
/// calling process must have one thread.
pub fn choose(store: &Store, cache: &Path) -> Result<Snapshotter> {
    let boot_id = boot_id().map_err(|e| Error::Probe(crate::error::chain(&e)))?;
    let file = cache.join(REMEMBERED);
    if let Some(verdict) = remembered(&file)
        && verdict.boot_id == boot_id
        && verdict.store == store.root()
    {
        return Ok(verdict.snapshotter);
    }
    let dir = store.root().join("staging").join(format!("probe-{}", std::process::id()));
    let made = rustix::fs::mkdir(&dir, Mode::RWXU).op_on("mkdir", &dir);
    made?;
    let probed = userns::run_inside(store, || Ok(kernel_overlay(&dir).map_err(|e| e.to_string())));
    let _ = store.delete_tree(&dir);
    let snapshotter = match probed.map_err(|e| Error::Probe(crate::error::chain(&e)))? {
        Ok(()) => Snapshotter::Overlay,
        Err(why) => {
            tracing::debug!("the kernel's overlay does not work here: {why}");
            Snapshotter::Fuse
        }
    };
    remember(&file, &Verdict { boot_id, store: store.root().to_path_buf(), snapshotter });
    Ok(snapshotter)
}

fn remembered(file: &Path) -> Option<Verdict> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// A cache that cannot be written costs the next start a probe.
fn remember(file: &Path, verdict: &Verdict) {
    let Ok(text) = serde_json::to_vec(verdict) else { return };
    if let Some(dir) = file.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    let _ = crate::store::atomic::write_cache(file, &text);
}

/// Mounts an overlay and does what every container does. In the user namespace, as its root.
fn kernel_overlay(dir: &Path) -> sys::Result<()> {
    process::unshare(libc::CLONE_NEWNS)?;
    let make = |name: &str| {
        let path = dir.join(name);
        rustix::fs::mkdir(&path, Mode::RWXU).op_on("mkdir", &path).map(|()| path)
    };
    let (lower, upper, work) = (make("lower")?, make("upper")?, make("work")?);
    let file = lower.join("file");
    rustix::fs::mknodat(CWD, &file, FileType::RegularFile, Mode::RUSR, 0).op_on("create", &file)?;
    let context = FsContext::open("overlay")?;
    context.set("lowerdir", &lower)?;
    context.set("upperdir", &upper)?;
    context.set("workdir", &work)?;
    context.flag("userxattr")?;
    let mounted = context.mount(0)?;
    rustix::fs::chmodat(&mounted, "file", Mode::RWXU, AtFlags::empty()).op("bring a file up")?;
    rustix::fs::mkdirat(&mounted, "dir", Mode::RWXU).op("make a directory")?;
    rustix::fs::renameat(&mounted, "file", &mounted, "dir/file").op("rename a file")?;
    match rustix::fs::statat(&mounted, "file", AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        _ => Err(sys::Error::new("hide a renamed file", libc::EIO)),
    }
}
