//! Mounts of the kernel's overlay, as a user namespace may have them: Linux 5.11 and later.
//!
//! Up to 500 lower directories with paths of any length have to fit. fsconfig(2) takes 255 bytes at a time, so each
//! directory goes in on its own (`lowerdir+`, Linux 6.7). Older kernels take all of them in one string of one page: by
//! mount(2), where the directories are called by the numbers of their descriptors.

use std::ffi::CString;
use std::fmt::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::mount::{self, FsContext};
use super::tree::remove_tree;
use super::{Context, Error, Result, kernel};

/// The longest value of fsconfig(2), fs/fsopen.c.
const LONGEST: usize = 255;
const ONE_BY_ONE: (u32, u32) = (6, 7);
/// Where the names of descriptors are names of files.
const DESCRIPTORS: &str = "/proc/self/fd";

/// What is mounted.
#[derive(Debug)]
pub struct Tree<'a> {
    /// From the top one down.
    pub lowers: &'a [&'a Path],
    pub upper: &'a Path,
    /// On the file system of `upper`.
    pub work: &'a Path,
    /// Nothing in it needs to survive a crash.
    pub volatile: bool,
}

/// A refusal, and what the kernel wrote about it; empty when it wrote nothing.
pub type Explained = (Error, String);

/// A detached mount, in the way that this kernel has. The caller is alone in its mount namespace, and has one thread.
pub fn mount(tree: &Tree<'_>) -> std::result::Result<OwnedFd, Explained> {
    if tree.lowers.is_empty() {
        return Err((Error::new("mount overlay without layers", libc::EINVAL), String::new()));
    }
    if tree.volatile {
        // The kernel's mark that the last mount was never taken away, whoever held it having been killed. That the host
        // has not gone down since is the caller's business.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(inner) = rustix::fs::open(tree.work.join("work"), flags, Mode::empty()) {
            let _ = remove_tree(&inner, Path::new("incompat"));
        }
    }
    if kernel::version() < ONE_BY_ONE {
        return mount_at_once(tree).map_err(|e| (e, String::new()));
    }
    let context = FsContext::open("overlay").map_err(|e| (e, String::new()))?;
    let mut held = Vec::new();
    configure(&context, tree, &mut held).map_err(|e| (e, context.log()))?;
    context.mount_explained(0)
}

fn configure(context: &FsContext, tree: &Tree<'_>, held: &mut Vec<OwnedFd>) -> Result<()> {
    let lowers = tree.lowers.iter().map(|lower| ("lowerdir+", *lower));
    for (key, path) in lowers.chain([("upperdir", tree.upper), ("workdir", tree.work)]) {
        context.set(key, short(path, held)?)?;
    }
    context.flag("userxattr")?;
    if tree.volatile { context.flag("volatile") } else { Ok(()) }
}

/// A name of the directory that fits and that the kernel takes as it is (a backslash quotes in `upperdir`), good for
/// as long as what is `held` is.
fn short(path: &Path, held: &mut Vec<OwnedFd>) -> Result<PathBuf> {
    let name = path.as_os_str().as_bytes();
    if name.len() <= LONGEST && !name.contains(&b'\\') {
        return Ok(path.to_owned());
    }
    let dir = open(path)?;
    let name = Path::new(DESCRIPTORS).join(dir.as_raw_fd().to_string());
    held.push(dir);
    Ok(name)
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).op_on("open", path)
}

/// The same by mount(2), which puts it on a directory: on `upper`, for a moment.
pub fn mount_at_once(tree: &Tree<'_>) -> Result<OwnedFd> {
    let lowers = tree.lowers.iter().map(|lower| open(lower)).collect::<Result<Vec<_>>>()?;
    let (upper, work) = (open(tree.upper)?, open(tree.work)?);
    let mut options = String::from("userxattr,lowerdir=");
    for (n, lower) in lowers.iter().enumerate() {
        let colon = if n == 0 { "" } else { ":" };
        let _ = write!(options, "{colon}{}", lower.as_raw_fd());
    }
    let _ = write!(options, ",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd());
    if tree.volatile {
        options.push_str(",volatile");
    }
    let options = CString::new(options).unwrap_or_default();
    let here = open(Path::new("."))?;
    // Relative, because a page has no room for five hundred times more than a number.
    rustix::process::chdir(DESCRIPTORS).op_on("chdir", DESCRIPTORS)?;
    let mounted = rustix::mount::mount("overlay", tree.upper, "overlay", MountFlags::empty(), &*options);
    let back = rustix::process::fchdir(&here).op("go back");
    mounted.op_on("mount", "overlay")?;
    let detached = mount::clone_tree(CWD, tree.upper, false);
    rustix::mount::unmount(tree.upper, UnmountFlags::DETACH).op_on("unmount", tree.upper)?;
    back.and(detached)
}
