//! From layers and a fresh writable layer to a [`MountPlan`]: what to mount, not the mounting.
//!
//! Three drivers: `overlay`, the kernel's own in the user namespace; `fuse`, the room `overlay`, where the kernel's
//! does not work or the user says so; `copy`, where neither does. Layers are directories in the kernel's own format, so
//! that each driver reads them, and the first two read what the other wrote.
//!
//! An enum and no trait: what sets the drivers apart are three decisions (what is made, what is mounted, how a change
//! is found), each of them one `match` here, and two of the drivers share two of the answers.

mod attributes;
mod compare;
mod copy;
pub mod diff;
mod host;
mod merged;
mod probe;
mod skeleton;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::Hint;
use crate::store::{Layout, Store, userns};
use crate::sys::{self, Context};

pub use host::{Entry, EntryKind};
use merged::{Hiding, Merged};
pub use probe::{Survey, choose, require, survey};

/// The most layers of an image that the kernel's overlay takes: its OVL_MAX_STACK, fs/overlayfs/params.h, without
/// the one that kelp lays below.
const KERNEL_LAYERS: usize = 499;

/// How layers become a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshotter {
    /// The kernel's overlay.
    #[default]
    Overlay,
    /// Our own, over FUSE.
    Fuse,
    /// A copy of all layers for each container.
    Copy,
}

impl Snapshotter {
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Fuse => "fuse",
            Self::Copy => "copy",
        }
    }

    /// Refuses what this driver can never take, wherever it is.
    pub fn check(self, recipe: &Recipe) -> Result<()> {
        match recipe {
            Recipe::Layers(layers) if self == Self::Overlay && layers.len() > KERNEL_LAYERS => {
                // One that comes twice is mounted once.
                let distinct = layers.iter().collect::<HashSet<_>>().len();
                if distinct > KERNEL_LAYERS { Err(Error::TooManyLayers(distinct)) } else { Ok(()) }
            }
            _ => Ok(()),
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
    #[error("the copy snapshotter cannot copy {}: {why}", .path.display())]
    NotToBeCopied { path: PathBuf, why: &'static str },
    #[error("cannot copy the image for the container: {message}")]
    Copy { message: String, hint: Option<String> },
    /// It could not be found out which snapshotter works here.
    #[error("{message}")]
    Probe { message: String, hint: Option<String> },
    #[error("the image has {0} different layers, and the kernel's overlay takes {KERNEL_LAYERS}")]
    TooManyLayers(usize),
    #[error("the snapshotter {} does not work here: {why}", .driver.name())]
    Unusable { driver: Snapshotter, why: String },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingLayer(_) => {
                Some("`kelp system check` says what is missing; load, import or pull the image again".into())
            }
            Self::Unusable { driver, why } => Some(way_out(*driver, why)),
            Self::TooManyLayers(_) => Some(
                "--snapshotter fuse takes any number of them, and auto, the default, chooses it by itself".into(),
            ),
            Self::WriteThroughRoot => {
                Some("leave out `:rw`; what is written goes to a throw-away layer".into())
            }
            Self::Unreadable { .. } => Some("choose a directory that you may read and enter".into()),
            Self::NotToBeCopied { .. } => Some(
                "--snapshotter overlay or --snapshotter fuse, where the machine has them, lay a throw-away layer over it"
                    .into(),
            ),
            Self::Probe { hint, .. } | Self::Copy { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// What to do where a driver that was asked for does not work.
fn way_out(driver: Snapshotter, why: &str) -> String {
    let needs = match driver {
        Snapshotter::Fuse if why.contains("/dev/fuse") => {
            "it needs /dev/fuse, readable and writable by you (as root: modprobe fuse; chmod 666 /dev/fuse)"
        }
        Snapshotter::Fuse => {
            "the store has to lie on a file system that keeps user attributes (ext4, xfs, btrfs)"
        }
        _ => {
            "the kernel's overlay needs Linux 5.11 or later, and the store on a file system that can hold its upper layer \
             (ext4, xfs, btrfs, tmpfs; not NFS or another overlay)"
        }
    };
    format!("{needs}; --snapshotter auto chooses one that works, and `kelp info` shows which do")
}

/// The directories of a container that a snapshot lives in, below the container's own.
pub const UPPER: &str = "upper";
pub const WORK: &str = "work";

/// Makes what the container writes to in its new directory `container`, and checks the recipe. The calling process must
/// have one thread.
pub fn create(store: &Store, recipe: &Recipe, snapshotter: Snapshotter, container: &Path) -> Result<()> {
    let layout = store.layout();
    let mode = match recipe {
        Recipe::Layers(layers) => top_mode(layout, layers)?,
        Recipe::Directory { path, write_through } => {
            host::check(path, *write_through)?;
            0o755
        }
    };
    skeleton::ensure(layout)?;
    let through = matches!(recipe, Recipe::Directory { write_through: true, .. });
    if snapshotter == Snapshotter::Copy && !through {
        return copy_layers(store, recipe, container, mode);
    }
    for name in [UPPER, WORK] {
        let dir = container.join(name);
        rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o700)).op_on("mkdir", &dir)?;
    }
    // The merged root shows the upper directory's mode.
    let upper = container.join(UPPER);
    rustix::fs::chmod(&upper, Mode::from_raw_mode(mode)).op_on("chmod", &upper)?;
    Ok(())
}

fn copy_layers(store: &Store, recipe: &Recipe, container: &Path, mode: u32) -> Result<()> {
    if let Recipe::Directory { path, .. } = recipe {
        host::check_copy(path, store.layout())?;
    }
    let lowers = lowers(store.layout(), recipe)?;
    let held = Held::take(store.layout(), recipe)?;
    let copied = userns::run_inside(store, || {
        sys::limits::many_files();
        copy::make(&lowers, container, mode).map_err(|e| e.to_string())
    });
    held.check()?;
    copied.map_err(|e| Error::Copy { message: crate::error::chain(&e), hint: e.hint() })
}

/// The layers of a container that does not exist yet: nothing keeps anybody from removing them, and from bringing them
/// back, while they are copied.
struct Held<'a>(Vec<(&'a String, PathBuf, OwnedFd)>);

impl<'a> Held<'a> {
    fn take(layout: &Layout, recipe: &'a Recipe) -> Result<Self> {
        let Recipe::Layers(layers) = recipe else { return Ok(Self(Vec::new())) };
        let open = |layer: &'a String| {
            let path = layout.layer_dir(layer);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(dir) => Ok((layer, path, dir)),
                Err(Errno::NOENT) => Err(Error::MissingLayer(layer.clone())),
                Err(e) => Err(sys::Error::with_subject("open", &path, e.raw_os_error()).into()),
            }
        };
        layers.iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// Whether each is still where it was. Whoever removes a layer moves it away first, so what was read of it until
    /// now was whole; a held directory's inode number is nobody else's.
    fn check(&self) -> Result<()> {
        for (layer, path, dir) in &self.0 {
            let stat = rustix::fs::fstat(dir).op_on("stat", path)?;
            match rustix::fs::stat(path) {
                Ok(now) if (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino) => {}
                _ => return Err(Error::MissingLayer((*layer).clone())),
            }
        }
        Ok(())
    }
}

/// What the copy driver costs each container of these layers, in words. The bytes are those of all files in them.
pub fn cost_of_copying(store: &Store, layers: &[String]) -> String {
    if copy::shares_blocks(&store.staging_dir()) {
        return "each container gets a copy of all files of its image, which share their blocks with it"
            .into();
    }
    let sizes = store.layer_sizes().unwrap_or_default();
    let bytes: u64 = layers.iter().filter_map(|layer| sizes.get(layer)).sum();
    format!(
        "each container gets a copy of its whole image, {} MB here, and the time and the room that this takes",
        bytes.div_ceil(1_000_000)
    )
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

/// What a container's tree is made of, for those who read it without a mount: as root of the user namespace, in a
/// process that may have many files open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    written: Written,
    /// From the top layer down.
    lowers: Vec<PathBuf>,
    /// A directory that lies on the same file system as what is in the overlay's format, and that the container does
    /// not see. `None`: the kernel's overlay has read it, to which devices alone hide a name, or nobody has.
    beside: Option<PathBuf>,
    /// Each directory of the root is an overlay of its own, and what lies beside them is not kept.
    pub parted: bool,
}

/// Where what the container wrote is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    /// In a layer over the others.
    Above(PathBuf),
    /// In a copy of the others, which was complete at this moment.
    Copy(PathBuf, copy::Moment),
    /// In the lowest directory itself.
    Through,
}

impl Written {
    /// What the container sees is one directory as it is.
    fn is_plain(&self) -> bool {
        !matches!(self, Self::Above(_))
    }
}

impl Layers {
    /// Whether anybody has kept how it was before the container wrote.
    pub fn are_kept(&self) -> bool {
        self.written != Written::Through
    }

    /// What `diff` shows.
    pub fn changes(&self) -> Result<Vec<diff::Change>> {
        let lower = Merged::of(&self.lowers, self.hiding()?)?;
        Ok(match &self.written {
            Written::Above(upper) => diff::changes(&sys::path::open_directory(upper)?, &lower, self.parted)?,
            Written::Copy(tree, _) => compare::changes(&merged_of(tree)?, &lower, compare::Measure::Shown)?,
            Written::Through => Vec::new(),
        })
    }

    /// Hands `each` what the container has made of the layers, as one more layer: first what became of the root
    /// directory, which is called `.`, a directory before what is in it.
    pub fn walk_layer<E: From<sys::Error>>(
        &self,
        each: &mut dyn FnMut(diff::Part<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (Written::Above(top) | Written::Copy(top, _)) = &self.written else { return Ok(()) };
        let root = sys::path::open_directory(top)?;
        let lower = Merged::of(&self.lowers, self.hiding()?)?;
        each(diff::Part::Entry { dir: root.as_fd(), name: OsStr::new("."), path: b"." })?;
        match &self.written {
            Written::Copy(tree, complete) => {
                let measure = compare::Measure::Stored(*complete);
                let changes = compare::changes(&merged_of(tree)?, &lower, measure)?;
                compare::walk_layer(&root, &changes, each)
            }
            _ => diff::walk_layer(&root, &lower, each),
        }
    }

    /// The sum of the lengths of the files that the container wrote or brought up.
    pub fn written_bytes(&self) -> Result<u64> {
        sys::limits::many_files();
        let mut sum = 0;
        self.walk_layer::<sys::Error>(&mut |part| {
            if let diff::Part::Entry { dir, name, .. } = part
                && let Some(stat) = merged::stat(dir, name)?
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            {
                sum += u64::try_from(stat.st_size).unwrap_or_default();
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// Hands `each` all that the container sees.
    pub fn walk_all<E: From<sys::Error>>(
        &self,
        each: &mut dyn FnMut(diff::Part<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let all: Vec<PathBuf> = match &self.written {
            Written::Above(upper) => std::iter::once(upper).chain(&self.lowers).cloned().collect(),
            Written::Copy(tree, _) => vec![tree.clone()],
            Written::Through => self.lowers.clone(),
        };
        let hiding = if self.written.is_plain() { Hiding::Devices } else { self.hiding()? };
        diff::walk_merged(&Merged::of(&all, hiding)?, each)
    }

    fn hiding(&self) -> sys::Result<Hiding> {
        self.beside.as_deref().map_or(Ok(Hiding::Devices), Hiding::probe)
    }
}

/// A tree that is no layer: what is called like a mark there is a file of the container's.
fn merged_of(tree: &Path) -> sys::Result<Merged> {
    Merged::of(&[tree.to_path_buf()], Hiding::Devices)
}

/// The layers of the container whose directory is `container`.
pub fn layers(
    layout: &Layout,
    recipe: &Recipe,
    container: &Path,
    snapshotter: Snapshotter,
) -> Result<Layers> {
    let beside = Some(container.to_path_buf());
    Ok(match plan(layout, recipe, container, snapshotter, false)? {
        // What is hidden can be told only where it is mounted.
        MountPlan::Fuse { lowers, upper, hidden, .. } => {
            Layers { written: Written::Above(upper), lowers, beside, parted: !hidden.is_empty() }
        }
        MountPlan::Overlay { lowers, upper, .. } => {
            Layers { written: Written::Above(upper), lowers, beside: None, parted: false }
        }
        MountPlan::Directory { path } if path == container.join(copy::TREE) => {
            let written = Written::Copy(path, copy::stamp_of(container));
            Layers { written, lowers: lowers(layout, recipe)?, beside, parted: false }
        }
        MountPlan::Directory { path } => {
            Layers { written: Written::Through, lowers: vec![path], beside: None, parted: false }
        }
        MountPlan::HostTree { source, upper, .. } => {
            Layers { written: Written::Above(upper), lowers: vec![source], beside: None, parted: true }
        }
    })
}

/// The directories below what is written, from the top one down.
fn lowers(layout: &Layout, recipe: &Recipe) -> Result<Vec<PathBuf>> {
    let mut lowers: Vec<PathBuf> = Vec::new();
    match recipe {
        Recipe::Layers(layers) => {
            for diff_id in layers.iter().rev() {
                let dir = layout.layer_dir(diff_id);
                if !dir.is_dir() {
                    return Err(Error::MissingLayer(diff_id.clone()));
                }
                // A layer that comes twice hides all of its lower self, and the kernel takes no directory twice.
                if !lowers.contains(&dir) {
                    lowers.push(dir);
                }
            }
        }
        Recipe::Directory { path, .. } => {
            lowers.push(std::fs::canonicalize(path).op_on("resolve", path)?);
        }
    }
    lowers.push(layout.skeleton_dir());
    Ok(lowers)
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
    if let Recipe::Directory { path, write_through: true } = recipe {
        host::check(path, true)?;
        return Ok(MountPlan::Directory { path: path.clone() });
    }
    if snapshotter == Snapshotter::Copy {
        return Ok(MountPlan::Directory { path: container.join(copy::TREE) });
    }
    match recipe {
        Recipe::Layers(_) => {
            let lowers = lowers(layout, recipe)?;
            // Containers of the kernel's driver with too many layers were made before that was refused.
            if snapshotter == Snapshotter::Fuse || snapshotter.check(recipe).is_err() {
                return Ok(MountPlan::Fuse { lowers, upper, work, volatile, hidden: Vec::new() });
            }
            Ok(MountPlan::Overlay { lowers, upper, work, volatile })
        }
        Recipe::Directory { path, .. } => {
            host::check(path, false)?;
            let writable = host::Writable { upper, work, volatile };
            match snapshotter {
                Snapshotter::Fuse => host::plan_fuse(path, layout, writable),
                _ => host::plan(path, layout, writable),
            }
        }
    }
}
