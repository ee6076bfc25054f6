//! The two file systems under comparison, mounted over the same kind of layers.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use kelp::overlay::{Counts, Layers, Options, Upper};
use kelp::sys::mount::{self, FsContext};

/// The directories of one mount.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// From the top one down.
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub at: PathBuf,
}

impl Dirs {
    /// Makes the directories `NAME-upper`, `NAME-work` and `NAME` in `base`, and the lower ones that are missing.
    pub fn new(base: &Path, name: &str, lowers: &[&str]) -> Self {
        let path = |suffix: &str| base.join(format!("{name}{suffix}"));
        let dirs = Self {
            lowers: lowers.iter().map(|l| base.join(l)).collect(),
            upper: path("-upper"),
            work: path("-work"),
            at: path(""),
        };
        for dir in dirs.lowers.iter().chain([&dirs.upper, &dirs.work, &dirs.at]) {
            fs::create_dir_all(dir).unwrap();
        }
        dirs
    }

    pub fn fuse(&self) -> Fuse {
        self.fuse_with(Options::default())
    }

    pub fn fuse_with(&self, options: Options) -> Fuse {
        Fuse::mount(self.layers(), options, &self.at)
    }

    pub fn layers(&self) -> Layers {
        let open = |path: &PathBuf| -> OwnedFd { File::open(path).unwrap().into() };
        Layers {
            lowers: self.lowers.iter().map(open).collect(),
            upper: Some(Upper { dir: open(&self.upper), work: open(&self.work) }),
        }
    }

    pub fn kernel(&self) -> Kernel {
        let context = FsContext::open("overlay").unwrap();
        for lower in &self.lowers {
            context.set("lowerdir+", lower).unwrap();
        }
        context.set("upperdir", &self.upper).unwrap();
        context.set("workdir", &self.work).unwrap();
        context.flag("userxattr").unwrap();
        let mounted = context.mount_explained(0).unwrap();
        mount::attach(&mounted, File::open(&self.at).unwrap()).unwrap();
        Kernel { at: self.at.clone() }
    }
}

/// Ours. Unmounted when dropped.
#[derive(Debug)]
pub struct Fuse {
    pub at: PathBuf,
    pub counts: Arc<Counts>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    pub fn mount(layers: Layers, options: Options, at: &Path) -> Self {
        let mounted = kelp::overlay::mount(layers, options, "kelp", 0).unwrap();
        let counts = mounted.server.counts();
        let server = std::thread::spawn(move || mounted.server.serve().unwrap());
        mount::attach(&mounted.mount, File::open(at).unwrap()).unwrap();
        Self { at: at.to_owned(), counts, server: Some(server) }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        unmount(&self.at);
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server ended with an error");
        }
    }
}

/// The kernel's. Unmounted when dropped.
#[derive(Debug)]
pub struct Kernel {
    pub at: PathBuf,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}

fn unmount(at: &Path) {
    let plain = rustix::mount::unmount(at, rustix::mount::UnmountFlags::empty());
    if plain.is_err() {
        let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
        assert!(std::thread::panicking(), "{} is busy: {plain:?}", at.display());
    }
}
