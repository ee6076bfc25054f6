//! Assembles the container's root, in the first process's own mount namespace, still outside of it.
//!
//! The root is mounted detached, then attached to one directory of the host that nobody else will see under
//! this namespace, so that further mounts can be moved onto descriptors below it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::handshake::{Failure, Step};
use super::plan::{HostEntry, HostEntryKind, Rootfs};
use crate::sys::mount::{self, FsContext};
use crate::sys::overlay;
use crate::sys::path::{self, Make};

/// Mounts the root and attaches it to the directory `attach`. The descriptor is the root directory.
/// `handed`: the mount that goes with [`Rootfs::HandedOver`], or one of [`Rootfs::Directory`] that was taken before.
pub(super) fn assemble(
    rootfs: &Rootfs,
    handed: Option<OwnedFd>,
    attach: &OwnedFd,
) -> Result<OwnedFd, Failure> {
    let mounted = match rootfs {
        Rootfs::HandedOver { .. } => {
            handed.ok_or_else(|| Failure::own("mount the root", "the shim handed over no root"))?
        }
        Rootfs::Overlay { lowers, upper, work, volatile } => {
            let lowers: Vec<&Path> = lowers.iter().map(|p| p.as_path()).collect();
            let tree = overlay::Tree { lowers: &lowers, upper, work, volatile: *volatile };
            overlay::mount(&tree).map_err(explain_overlay)?
        }
        Rootfs::Directory { path } => handed.map_or_else(|| host_directory(path), Ok)?,
        Rootfs::HostTree { .. } => {
            let tmpfs = FsContext::open("tmpfs").step("mount the root")?;
            tmpfs.set("mode", "755").step("mount the root")?;
            tmpfs.mount(0).step("mount the root")?
        }
    };
    mount::attach(&mounted, attach).step("attach the root")?;
    // A bind keeps the propagation of where it came from; nothing mounted inside may travel out.
    mount::set_propagation(&mounted, libc::MS_PRIVATE, true).step("make the root private")?;
    // A recursive bind of what lies above `attach` must not bring the root into itself.
    mount::set_propagation(&mounted, libc::MS_UNBINDABLE, false).step("make the root unbindable")?;
    if let Rootfs::HandedOver { source, hidden } = rootfs {
        hidden.iter().try_for_each(|path| hide(&mounted, path, source))?;
    }
    if let Rootfs::HostTree { source, entries, upper, work, hidden, volatile } = rootfs {
        let tree = Tree { root: &mounted, source, upper, work, volatile: *volatile };
        entries.iter().try_for_each(|entry| tree.entry(entry))?;
        hidden.iter().try_for_each(|path| hide(&mounted, path, source))?;
    }
    Ok(mounted)
}

fn host_directory(path: &Path) -> Result<OwnedFd, Failure> {
    // What is mounted below belongs to the directory as the user sees it.
    mount::clone_tree(CWD, path, true).step("use the root file system")
}

fn explain_overlay((error, kernel): overlay::Explained) -> Failure {
    let failure = match kernel.as_str() {
        "" => Failure::own("mount the root file system", &error),
        said => Failure::own("mount the root file system", format!("{error} (the kernel says: {said})")),
    };
    match error.errno() {
        libc::EPERM | libc::ENODEV => {
            failure.with_hint("kernel overlay mounts in a user namespace need Linux 5.11 or later")
        }
        libc::EINVAL => failure.with_hint(
            "the store must lie on a file system that can be an overlay's upper layer (ext4, xfs, btrfs, tmpfs; \
             not NFS or another overlay)",
        ),
        _ => failure,
    }
}

/// A root of one entry for each top-level name of `source`.
struct Tree<'a> {
    root: &'a OwnedFd,
    source: &'a Path,
    upper: &'a Path,
    work: &'a Path,
    volatile: bool,
}

impl Tree<'_> {
    fn entry(&self, entry: &HostEntry) -> Result<(), Failure> {
        match &entry.kind {
            HostEntryKind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_path(), self.root, Path::new(&entry.name))
                    .step("link in the root")
            }
            HostEntryKind::MountPoint => self.make(&entry.name, Make::Directory).map(|_| ()),
            HostEntryKind::ReadOnlyBind => self.bind(&entry.name),
            HostEntryKind::Overlay => match self.overlay(&entry.name) {
                Ok(()) => Ok(()),
                // Not every file system can be a lower layer, and only trying tells.
                Err(_) => self.bind(&entry.name),
            },
        }
    }

    fn make(&self, name: &std::ffi::OsStr, make: Make) -> Result<OwnedFd, Failure> {
        path::make_in(self.root, name, make).step("make an entry of the root")
    }

    fn overlay(&self, name: &std::ffi::OsStr) -> Result<(), Failure> {
        let lower = self.source.join(name);
        let (upper, work) = (self.upper.join(name), self.work.join(name));
        for dir in [&upper, &work] {
            match rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e).step("make a layer directory"),
            }
        }
        // The merged directory shows the upper one's mode.
        if let Ok(stat) = rustix::fs::stat(&lower) {
            let _ = rustix::fs::chmod(&upper, Mode::from_raw_mode(stat.st_mode & 0o7777));
        }
        let tree = overlay::Tree { lowers: &[&lower], upper: &upper, work: &work, volatile: self.volatile };
        let mounted = overlay::mount(&tree).map_err(explain_overlay)?;
        let target = self.make(name, Make::Directory)?;
        mount::attach(&mounted, &target).step("attach an entry of the root")
    }

    fn bind(&self, name: &std::ffi::OsStr) -> Result<(), Failure> {
        let source = self.source.join(name);
        let Ok(mounted) = mount::clone_tree(CWD, &source, true) else {
            // Gone meanwhile, or closed to this user: an empty place says the same.
            return self.make(name, Make::Directory).map(|_| ());
        };
        mount::set_attributes(&mounted, mount::READ_ONLY, true).step("make an entry read-only")?;
        mount::set_propagation(&mounted, libc::MS_PRIVATE, true).step("make an entry private")?;
        let make = if source.is_dir() { Make::Directory } else { Make::EmptyFile };
        let target = self.make(name, make)?;
        mount::attach(&mounted, &target).step("attach an entry of the root")
    }
}

/// Covers `path` (the store) with an empty read-only directory.
fn hide(root: impl AsFd, path: &Path, source: &Path) -> Result<(), Failure> {
    let Ok(inside) = path.strip_prefix(source) else { return Ok(()) };
    let target = match path::open_in(&root, inside, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        // On its way there is a place that came out empty.
        Err(e) if matches!(e.errno(), libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        found => found.step("hide the store")?,
    };
    let empty = FsContext::open("tmpfs").step("hide the store")?;
    empty.set("mode", "555").step("hide the store")?;
    let empty = empty.mount(mount::READ_ONLY).step("hide the store")?;
    mount::attach(&empty, &target).step("hide the store")
}
