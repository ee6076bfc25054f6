//! From layers and a fresh writable layer to a [`MountPlan`]: what to mount, not the mounting.
//!
//! One driver so far, `overlay`: the kernel's overlay in the user namespace. Layers are directories in the
//! kernel's own format, so that every driver reads what any of them wrote.

pub mod diff;
mod host;
mod merged;
mod skeleton;

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use crate::error::Hint;
use crate::store::Layout;
use crate::sys::{self, Context};

pub use host::{Entry, EntryKind};
pub use merged::Merged;

/// What a container's root is made of, as its directory keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Diff-ids, lowest layer first; never empty.
    Layers(Vec<String>),
    /// A directory of the host.
    Directory { path: PathBuf, write_through: bool },
}

/// What to mount. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPlan {
    /// `lowers` from the top layer down. `volatile`: nothing in it needs to survive a crash.
    Overlay {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
    },
    Directory {
        path: PathBuf,
    },
    /// One entry for each top-level name of `source`; overlays get directories of their own in upper and work.
    HostTree {
        source: PathBuf,
        entries: Vec<Entry>,
        upper: PathBuf,
        work: PathBuf,
        hidden: Vec<PathBuf>,
        volatile: bool,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sys(#[from] sys::Error),
    #[error("layer {0} is not in the store")]
    MissingLayer(String),
    #[error("the root file system {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("cannot read the root file system {}", .path.display())]
    Unreadable { path: PathBuf, source: sys::Error },
    #[error("the machine's own root cannot be written through")]
    WriteThroughRoot,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingLayer(_) => Some("load or import the image again".into()),
            Self::WriteThroughRoot => {
                Some("leave out `:rw`; what is written goes to a throw-away layer".into())
            }
            Self::Unreadable { .. } => Some("choose a directory that you may read and enter".into()),
            _ => None,
        }
    }
}

/// The directories of a container that a snapshot lives in, below the container's own.
pub const UPPER: &str = "upper";
pub const WORK: &str = "work";

/// Makes the writable layer's directories in a new container's directory, and checks the recipe.
pub fn create(layout: &Layout, recipe: &Recipe, container: &Path) -> Result<()> {
    let mode = match recipe {
        Recipe::Layers(layers) => top_mode(layout, layers)?,
        Recipe::Directory { path, write_through } => {
            host::check(path, *write_through)?;
            0o755
        }
    };
    skeleton::ensure(layout)?;
    for name in [UPPER, WORK] {
        let dir = container.join(name);
        rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o700)).op_on("mkdir", &dir)?;
    }
    // The merged root shows the upper directory's mode.
    let upper = container.join(UPPER);
    rustix::fs::chmod(&upper, Mode::from_raw_mode(mode)).op_on("chmod", &upper)?;
    Ok(())
}

fn top_mode(layout: &Layout, layers: &[String]) -> Result<u32> {
    let mut mode = 0o755;
    for diff_id in layers {
        let dir = layout.layer_dir(diff_id);
        let metadata = std::fs::metadata(&dir).map_err(|_| Error::MissingLayer(diff_id.clone()))?;
        mode = metadata.permissions().mode() & 0o7777;
    }
    Ok(mode)
}

/// What a container's tree is made of, for those who read it without a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// What the container wrote; `None` where it writes to the lowest directory itself.
    pub upper: Option<PathBuf>,
    /// From the top layer down.
    pub lowers: Vec<PathBuf>,
    /// Each directory of the root is an overlay of its own, and what lies beside them is not kept.
    pub parted: bool,
}

impl Layers {
    /// The writable layer, if there is one, and the tree below it.
    pub fn open(&self) -> Result<(Option<OwnedFd>, Merged)> {
        let upper = self.upper.as_ref().map(sys::path::open_directory).transpose()?;
        Ok((upper, Merged::of(&self.lowers)?))
    }

    /// The tree as the container sees it.
    pub fn merged(&self) -> Result<Merged> {
        let all: Vec<PathBuf> = self.upper.iter().chain(&self.lowers).cloned().collect();
        Ok(Merged::of(&all)?)
    }
}

/// The layers of the container whose directory is `container`.
pub fn layers(layout: &Layout, recipe: &Recipe, container: &Path) -> Result<Layers> {
    Ok(match plan(layout, recipe, container, false)? {
        MountPlan::Overlay { lowers, upper, .. } => Layers { upper: Some(upper), lowers, parted: false },
        MountPlan::Directory { path } => Layers { upper: None, lowers: vec![path], parted: false },
        MountPlan::HostTree { source, upper, .. } => {
            Layers { upper: Some(upper), lowers: vec![source], parted: true }
        }
    })
}

/// Decides what to mount for a start of the container whose directory is `container`.
pub fn plan(layout: &Layout, recipe: &Recipe, container: &Path, volatile: bool) -> Result<MountPlan> {
    let (upper, work) = (container.join(UPPER), container.join(WORK));
    match recipe {
        Recipe::Layers(layers) => {
            let mut lowers: Vec<PathBuf> = Vec::with_capacity(layers.len() + 1);
            for diff_id in layers.iter().rev() {
                let dir = layout.layer_dir(diff_id);
                // A layer that comes twice hides all of its lower self, and the kernel takes no directory twice.
                if !lowers.contains(&dir) {
                    lowers.push(dir);
                }
            }
            lowers.push(layout.skeleton_dir());
            Ok(MountPlan::Overlay { lowers, upper, work, volatile })
        }
        Recipe::Directory { path, write_through } => {
            host::check(path, *write_through)?;
            if *write_through {
                return Ok(MountPlan::Directory { path: path.clone() });
            }
            host::plan(path, layout, host::Writable { upper, work, volatile })
        }
    }
}
