//! Which drivers this host can do, found out by doing: in the store an overlay of small directories is mounted and
//! used, and for ours a FUSE mount is made and the file system asked for what an upper directory needs; all is thrown
//! away.
//!
//! What works is remembered until the machine starts again, or the store lies on another file system. What does not is
//! looked for anew by whoever asks for it: a device may appear. So is everything where nothing works but to copy, which
//! costs more than to look.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, XattrFlags};
use serde::{Deserialize, Serialize};

use super::{Error, Recipe, Snapshotter};
use crate::store::container::boot_id;
use crate::store::{self, Store, userns};
use crate::sys::{self, Context, overlay, process};

type Result<T, E = Error> = std::result::Result<T, E>;

const OPAQUE: &str = "user.overlay.opaque";

/// What works, in the order in which it is chosen, and why the rest does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// `None`: it works.
    pub overlay: Option<String>,
    pub fuse: Option<String>,
}

impl Survey {
    /// The first that works here.
    pub fn best(&self) -> Snapshotter {
        self.best_of(|_| true)
    }

    fn best_for(&self, recipe: &Recipe) -> Snapshotter {
        self.best_of(|driver| driver.check(recipe).is_ok())
    }

    fn best_of(&self, suits: impl Fn(Snapshotter) -> bool) -> Snapshotter {
        let works = |driver: &Snapshotter| self.refusal(*driver).is_none() && suits(*driver);
        [Snapshotter::Overlay, Snapshotter::Fuse].into_iter().find(works).unwrap_or(Snapshotter::Copy)
    }

    /// Why this driver does not work.
    pub fn refusal(&self, driver: Snapshotter) -> Option<&str> {
        match driver {
            Snapshotter::Overlay => self.overlay.as_deref(),
            Snapshotter::Fuse => self.fuse.as_deref(),
            Snapshotter::Copy => None,
        }
    }
}

/// What is remembered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    boot_id: String,
    /// `st_dev` of the store.
    device: u64,
    survey: Survey,
}

/// The driver for this root in this store: the kernel's where it works, ours where it does not, a copy where neither
/// does. The calling process must have one thread.
pub fn choose(store: &Store, recipe: &Recipe) -> Result<Snapshotter> {
    Ok(match remembered(store)? {
        Some(survey) => survey.best_for(recipe),
        None => survey(store)?.best_for(recipe),
    })
}

/// Refuses a driver that does not work here. The calling process must have one thread.
pub fn require(store: &Store, driver: Snapshotter) -> Result<()> {
    if driver == Snapshotter::Copy || remembered(store)?.is_some_and(|s| s.refusal(driver).is_none()) {
        return Ok(());
    }
    match survey(store)?.refusal(driver) {
        None => Ok(()),
        Some(why) => Err(Error::Unusable { driver, why: why.to_owned() }),
    }
}

/// Tries all of them. The calling process must have one thread.
pub fn survey(store: &Store) -> Result<Survey> {
    let scratch = store.scratch().map_err(failed)?;
    let dir = scratch.path();
    let tried = userns::run_inside(store, || {
        process::unshare(libc::CLONE_NEWNS).map_err(|e| e.to_string())?;
        let try_in = |name: &str, driver: fn(&Path) -> Result<(), String>| {
            let tried = make(dir, name).map_err(|e| e.to_string()).and_then(|dir| driver(&dir));
            let _ = sys::tree::remove_tree(CWD, &dir.join(name));
            tried.err()
        };
        Ok(Survey { overlay: try_in("overlay", kernel_overlay), fuse: try_in("fuse", our_overlay) })
    });
    let survey: Survey = tried.map_err(failed)?;
    for driver in [Snapshotter::Overlay, Snapshotter::Fuse] {
        if let Some(why) = survey.refusal(driver) {
            tracing::debug!("the snapshotter {} does not work here: {why}", driver.name());
        }
    }
    remember(store, &survey)?;
    Ok(survey)
}

fn remembered(store: &Store) -> Result<Option<Survey>> {
    let text = std::fs::read(store.layout().snapshotter()).ok();
    let Some(verdict) = text.and_then(|text| serde_json::from_slice::<Verdict>(&text).ok()) else {
        return Ok(None);
    };
    let current = verdict.boot_id == boot_id().map_err(failed)? && verdict.device == device_of(store)?;
    Ok(current.then_some(verdict.survey))
}

fn remember(store: &Store, survey: &Survey) -> Result<()> {
    if survey.best() == Snapshotter::Copy {
        return Ok(());
    }
    let (boot_id, device) = (boot_id().map_err(failed)?, device_of(store)?);
    // One that cannot be written costs the next start a probe.
    if let Ok(text) = serde_json::to_vec(&Verdict { boot_id, device, survey: survey.clone() }) {
        let _ = store::atomic::write(&store.layout().snapshotter(), &text);
    }
    Ok(())
}

fn device_of(store: &Store) -> Result<u64> {
    Ok(rustix::fs::stat(store.root()).op_on("stat", store.root())?.st_dev)
}

fn failed(error: store::Error) -> Error {
    use crate::error::Hint;
    let hint = error.hint();
    let message = match error {
        // Why nothing can be tried at all: that there is no user namespace, for one.
        store::Error::Job { message, .. } => message,
        error => format!("cannot find out which snapshotter works here: {}", crate::error::chain(&error)),
    };
    Error::Probe { message, hint }
}

fn make(dir: &Path, name: &str) -> sys::Result<std::path::PathBuf> {
    let path = dir.join(name);
    rustix::fs::mkdir(&path, Mode::RWXU).op_on("mkdir", &path).map(|()| path)
}

/// Mounts an overlay and does what every container does. In the user namespace, as its root, in a mount namespace that
/// nobody else is in.
fn kernel_overlay(dir: &Path) -> Result<(), String> {
    let plain = |e: sys::Error| e.to_string();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| make(dir, name));
    let (lower, upper, work) = (lower.map_err(plain)?, upper.map_err(plain)?, work.map_err(plain)?);
    let file = lower.join("file");
    let made = rustix::fs::mknodat(CWD, &file, FileType::RegularFile, Mode::RUSR, 0).op_on("create", &file);
    made.and_then(|()| make(&lower, "old")).map_err(plain)?;
    let tree = overlay::Tree { lowers: &[&lower], upper: &upper, work: &work, volatile: false };
    let mounted = overlay::mount(&tree).map_err(|(e, kernel)| match kernel.as_str() {
        "" => e.to_string(),
        said => format!("{e} (the kernel says: {said})"),
    })?;
    use_overlay(&mounted).map_err(plain)
}

fn use_overlay(root: &OwnedFd) -> sys::Result<()> {
    rustix::fs::chmodat(root, "file", Mode::RWXU, AtFlags::empty()).op("bring a file up")?;
    rustix::fs::mkdirat(root, "dir", Mode::RWXU).op("make a directory")?;
    rustix::fs::renameat(root, "file", root, "dir/file").op("rename a file")?;
    match rustix::fs::statat(root, "file", AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => {}
        _ => return Err(sys::Error::new("hide a renamed file", libc::EIO)),
    }
    // Needs an attribute, without which the kernel mounts all the same.
    rustix::fs::unlinkat(root, "old", AtFlags::REMOVEDIR).op("remove a directory")?;
    rustix::fs::mkdirat(root, "old", Mode::RWXU).op("make a directory where one was removed")
}

fn our_overlay(dir: &Path) -> Result<(), String> {
    mount_fuse(dir).map_err(|e| e.to_string())
}

/// Makes a FUSE mount that nobody serves, and does what the server does in its upper directory.
fn mount_fuse(dir: &Path) -> sys::Result<()> {
    rustix::fs::setxattr(dir, OPAQUE, b"y", XattrFlags::empty())
        .op_on("set a user attribute, which the store's file system has to keep, on", dir)?;
    let (a, b) = (make(dir, "a")?, make(dir, "b")?);
    rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).op_on("exchange two names in", dir)?;
    sys::fuse::mount("kelp", 0).map(drop)
}
