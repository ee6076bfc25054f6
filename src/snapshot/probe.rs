//! Which driver this host can do, found out by doing: an overlay of two small directories is mounted in the store and
//! used, then thrown away; where that fails, a FUSE mount is made. What works is remembered until the machine starts
//! again. That nothing does but to copy is not: a device may appear, and a copy costs more than to look for it.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode};
use serde::{Deserialize, Serialize};

use super::{Error, Result, Snapshotter};
use crate::store::container::boot_id;
use crate::store::{self, Store, userns};
use crate::sys::mount::FsContext;
use crate::sys::{self, Context, process};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    boot_id: String,
    snapshotter: Snapshotter,
}

/// The driver for this store: the kernel's where it works, ours where it does not, a copy where neither does. The
/// calling process must have one thread.
pub fn choose(store: &Store) -> Result<Snapshotter> {
    let boot_id = boot_id().map_err(failed)?;
    let file = store.layout().snapshotter();
    let remembered = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Verdict>(&text).ok());
    if let Some(verdict) = remembered.filter(|verdict| verdict.boot_id == boot_id) {
        return Ok(verdict.snapshotter);
    }
    let scratch = store.scratch().map_err(failed)?;
    let dir = scratch.path();
    let tried = userns::run_inside(store, || {
        let tried = kernel_overlay(dir).map_err(|e| e.to_string());
        for name in ["lower", "upper", "work"] {
            let _ = sys::tree::remove_tree(CWD, &dir.join(name));
        }
        let Err(why) = tried else { return Ok((None, None)) };
        Ok((Some(why), sys::fuse::mount("kelp", 0).err().map(|e| e.to_string())))
    });
    let snapshotter = match tried.map_err(failed)? {
        (None, _) => Snapshotter::Overlay,
        (Some(why), None) => {
            tracing::debug!("the kernel's overlay does not work here: {why}");
            Snapshotter::Fuse
        }
        (Some(why), Some(no_fuse)) => {
            tracing::debug!("neither the kernel's overlay works here ({why}) nor FUSE ({no_fuse})");
            return Ok(Snapshotter::Copy);
        }
    };
    // One that cannot be written costs the next start a probe.
    if let Ok(text) = serde_json::to_vec(&Verdict { boot_id, snapshotter }) {
        let _ = store::atomic::write(&file, &text);
    }
    Ok(snapshotter)
}

fn failed(error: store::Error) -> Error {
    use crate::error::Hint;
    Error::Probe { message: crate::error::chain(&error), hint: error.hint() }
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
