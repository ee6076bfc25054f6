//! The mount API of Linux 5.2 and later: mounts are made detached, finished, and only then moved onto a
//! descriptor. No function here takes a path as a mount's target.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::{Context, Error, Result};

/// `MOUNT_ATTR_*` bits of mount_setattr(2).
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// [`fs_type`] of a procfs and of a devpts, linux/magic.h.
pub const PROC: i64 = 0x9fa0;
pub const DEVPTS: i64 = 0x1cd1;

/// A file system being configured. Keys and values are those of the file system's mount options.
#[derive(Debug)]
pub struct FsContext(OwnedFd, &'static str);

impl FsContext {
    pub fn open(fstype: &'static str) -> Result<Self> {
        let fd = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).op_on("fsopen", fstype)?;
        // What mount(8) and df(1) show in their first column.
        rustix::mount::fsconfig_set_string(&fd, "source", fstype).op_on("fsconfig", fstype)?;
        Ok(Self(fd, fstype))
    }

    pub fn set(&self, key: &str, value: impl AsRef<Path>) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.0, key, value.as_ref()).op_on("fsconfig", key)
    }

    pub fn flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.0, key).op_on("fsconfig", key)
    }

    /// A detached mount of the file system. `attributes` are `MOUNT_ATTR_*` bits.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.0).op_on("mount", self.1)?;
        let bits = u32::try_from(attributes).map_err(|_| Error::new("fsmount", libc::EINVAL))?;
        let attributes = MountAttrFlags::from_bits_retain(bits);
        rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes).op_on("fsmount", self.1)
    }

    /// What the kernel wrote about the last failure, joined to one line; empty when it wrote nothing.
    pub fn log(&self) -> String {
        let mut text = String::new();
        let mut buffer = [0u8; 512];
        while let Ok(n) = rustix::io::read(&self.0, &mut buffer) {
            if n == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&buffer[..n]);
            text.push_str(line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start());
            text.push_str("; ");
        }
        text.trim_end_matches("; ").to_string()
    }

    /// Like [`FsContext::mount`], and on failure the kernel's own words.
    pub fn mount_explained(self, attributes: u64) -> std::result::Result<OwnedFd, (Error, String)> {
        if let Err(e) = rustix::mount::fsconfig_create(&self.0).op_on("mount", self.1) {
            return Err((e, self.log()));
        }
        let bits = u32::try_from(attributes).unwrap_or(0);
        let attributes = MountAttrFlags::from_bits_retain(bits);
        rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .op_on("fsmount", self.1)
            .map_err(|e| (e, String::new()))
    }
}

/// A detached copy of the mount that holds `dir`/`path`, rooted there; `path` may be empty. Follows links in
/// `path` as open(2) does: only for paths that the user chose.
pub fn clone_tree(dir: impl AsFd, path: impl AsRef<Path>, recursive: bool) -> Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path.as_ref(), flags).op_on("open_tree", path)
}

/// Adds `MOUNT_ATTR_*` bits to a mount, and to those below it when `recursive`.
pub fn set_attributes(mount: impl AsFd, attributes: u64, recursive: bool) -> Result<()> {
    set_attr(mount, attributes, 0, 0, recursive)
}

/// Takes `MOUNT_ATTR_*` bits from a mount.
pub fn clear_attributes(mount: impl AsFd, attributes: u64) -> Result<()> {
    set_attr(mount, 0, attributes, 0, false)
}

/// Sets the propagation (`MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`) of a mount.
pub fn set_propagation(mount: impl AsFd, propagation: u64, recursive: bool) -> Result<()> {
    set_attr(mount, 0, 0, propagation, recursive)
}

fn set_attr(mount: impl AsFd, set: u64, clear: u64, propagation: u64, recursive: bool) -> Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: the path is a null-terminated empty string, attr is valid for the size given.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if rc == 0 { Ok(()) } else { Err(Error::last("mount_setattr")) }
}

/// Moves a detached mount onto the directory or file that `target` holds open.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).op("move_mount")
}

/// Makes the mount behind `root` the root of this mount namespace and drops all others.
///
/// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is detached from there.
pub fn pivot(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root).op("fchdir root")?;
    rustix::process::pivot_root(".", ".").op("pivot_root")?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).op("umount old root")?;
    rustix::process::chdir("/").op("chdir /")
}

/// The file system type of an open file: `statfs.f_type`, the magic numbers of statfs(2).
pub fn fs_type(fd: impl AsFd) -> Result<i64> {
    #[expect(clippy::useless_conversion, reason = "the field's width differs between architectures")]
    Ok(i64::from(rustix::fs::fstatfs(fd).op("fstatfs")?.f_type))
}
