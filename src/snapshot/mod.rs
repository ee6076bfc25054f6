//! From layers and a fresh writable layer to a [`MountPlan`]: what to mount, not the mounting.
//!
//! Two drivers: `overlay`, the kernel's own in the user namespace, and `fuse`, the room of that name, where the
//! kernel's does not work or the user says so. Layers are directories in the kernel's own format, so that either
//! driver reads what the other wrote.

pub mod diff;
mod host;
mod merged;
mod probe;
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
pub use probe::choose;

/// The most lower layers that the kernel's overlay takes, fs/overlayfs/overlayfs.h.
const KERNEL_LAYERS: usize = 500;

/// How layers become a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshotter {
    /// The kernel's overlay.
    #[default]
    Overlay,
    /// Our own, over FUSE.
    Fuse,
}

impl Snapshotter {
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Fuse => "fuse",
        }
    }
}

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
    /// The same by the FUSE overlay. `hidden`: directories that the container does not see, below the lowest but one
    /// of `lowers`, which is a directory of the host then.
    Fuse {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
        hidden: Vec<PathBuf>,
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
    #[error("cannot find out which snapshotter works here: {message}")]
    Probe { message: String, hint: Option<String> },
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
            Self::Probe { hint, .. } => hint.clone(),
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
pub fn layers(
    layout: &Layout,
    recipe: &Recipe,
    container: &Path,
    snapshotter: Snapshotter,
) -> Result<Layers> {
    Ok(match plan(layout, recipe, container, snapshotter, false)? {
        // What is hidden can be told only where it is mounted.
        MountPlan::Fuse { lowers, upper, hidden, .. } => {
            Layers { upper: Some(upper), lowers, parted: !hidden.is_empty() }
        }
        MountPlan::Overlay { lowers, upper, .. } => Layers { upper: Some(upper), lowers, parted: false },
        MountPlan::Directory { path } => Layers { upper: None, lowers: vec![path], parted: false },
        MountPlan::HostTree { source, upper, .. } => {
            Layers { upper: Some(upper), lowers: vec![source], parted: true }
        }
    })
}

/// Decides what to mount for a start of the container whose directory is `container`.
pub fn plan(
    layout: &Layout,
    recipe: &Recipe,
    container: &Path,
    snapshotter: Snapshotter,
    volatile: bool,
) -> Result<MountPlan> {
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
            if snapshotter == Snapshotter::Fuse || lowers.len() > KERNEL_LAYERS {
                return Ok(MountPlan::Fuse { lowers, upper, work, volatile, hidden: Vec::new() });
            }
            Ok(MountPlan::Overlay { lowers, upper, work, volatile })
        }
        Recipe::Directory { path, write_through } => {
            host::check(path, *write_through)?;
            if *write_through {
                return Ok(MountPlan::Directory { path: path.clone() });
            }
            let writable = host::Writable { upper, work, volatile };
            match snapshotter {
                Snapshotter::Overlay => host::plan(path, layout, writable),
                Snapshotter::Fuse => host::plan_fuse(path, layout, writable),
            }
        }
    }
}
