//! Removing a directory tree, descriptor by descriptor.
//!
//! The tree may have been made by a container: it may be as deep as it likes, hold directories nobody may enter,
//! links to anywhere, and mounts. No path string longer than one name is ever given to the kernel, no link is
//! followed, no mount crossed, and one descriptor at a time is open however deep it goes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Context, Error, Result};

/// Removes `name` in `parent` and everything below it. Follows no link and crosses no mount. What is not there
/// needs no removing. On failure as much as possible is gone, and the first failure is told.
pub fn remove_tree(parent: impl AsFd, name: &Path) -> Result<()> {
    let parent = parent.as_fd();
    let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.op_on("remove", name)?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return fs::unlinkat(parent, name, AtFlags::empty()).op_on("remove", name);
    }
    let c_name = CString::new(name.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::with_subject("remove", name, libc::EINVAL))?;
    let mut walk = Walk { stack: Vec::new(), failure: None };
    let top = match walk.enter(parent, c_name.clone()) {
        Err(e) if e.is(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    walk.empty(top)?;
    let removed = match fs::unlinkat(parent, &c_name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other.op_on("remove", name),
    };
    walk.failure.map_or(removed, Err)
}

/// One directory on the way from the top to where the walk stands.
pub(super) struct Frame {
    pub(super) name: CString,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Subdirectories that are still to be visited.
    pub(super) rest: Vec<CString>,
}

struct Walk {
    stack: Vec<Frame>,
    failure: Option<Error>,
}

impl Walk {
    /// Empties the directory on top of the stack, which is open as `here`.
    fn empty(&mut self, mut here: OwnedFd) -> Result<()> {
        while let Some(frame) = self.stack.last_mut() {
            if let Some(name) = frame.rest.pop() {
                match self.enter(here.as_fd(), name) {
                    Ok(below) => here = below,
                    // Somebody else is removing the same tree.
                    Err(e) if e.is(libc::ENOENT) => {}
                    Err(e) => self.note(e),
                }
                continue;
            }
            let Some(done) = self.stack.pop() else { break };
            let Some(above) = self.stack.last() else { break };
            here = leave(here.as_fd(), above)?;
            match fs::unlinkat(&here, &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => self.note(failed(&done.name, e)),
            }
        }
        Ok(())
    }

    /// Opens a directory, removes what it holds except its subdirectories, and puts it on the stack.
    fn enter(&mut self, parent: BorrowedFd<'_>, name: CString) -> Result<OwnedFd> {
        let dir = open_dir(parent, &name).map_err(|e| failed(&name, e))?;
        let stat = fs::fstat(&dir).map_err(|e| failed(&name, e))?;
        if stat.st_mode & 0o700 != 0o700 {
            // Whoever is not the owner needs other powers to remove anything here, and unlinkat says so.
            let _ = fs::fchmod(&dir, Mode::RWXU);
        }
        let mut rest = Vec::new();
        for (entry, kind) in list(&dir).map_err(|e| failed(&name, e))? {
            if kind == FileType::Directory {
                rest.push(entry);
                continue;
            }
            match fs::unlinkat(&dir, &entry, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // A file system that does not tell types in its listings.
                Err(Errno::ISDIR) => rest.push(entry),
                Err(e) => self.note(failed(&entry, e)),
            }
        }
        self.stack.push(Frame { name, device: stat.st_dev, inode: stat.st_ino, rest });
        Ok(dir)
    }

    fn note(&mut self, e: Error) {
        self.failure.get_or_insert(e);
    }
}

fn failed(name: &CStr, e: Errno) -> Error {
    Error::with_subject("remove", name.to_string_lossy().into_owned(), e.raw_os_error())
}

/// Listed whole before anything is removed: not every file system keeps its place while entries vanish.
pub(super) fn list(dir: &OwnedFd) -> rustix::io::Result<Vec<(CString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}

fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let shut = fs::openat2(parent, name, flags, Mode::empty(), resolve)?;
            // chmod refuses an O_PATH descriptor, but not the same thing by its name in /proc.
            fs::chmod(format!("/proc/self/fd/{}", shut.as_raw_fd()), Mode::RWXU)
                .map_err(|_| Errno::ACCESS)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat2(parent, name, flags, Mode::empty(), resolve)
        }
        other => other,
    }
}

/// Opens the directory above, which must be the one the walk came from.
pub(super) fn leave(here: BorrowedFd<'_>, above: &Frame) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::openat2(here, c"..", flags, Mode::empty(), ResolveFlags::NO_XDEV)
        .map_err(|e| failed(&above.name, e))?;
    let stat = fs::fstat(&dir).map_err(|e| failed(&above.name, e))?;
    if (stat.st_dev, stat.st_ino) == (above.device, above.inode) {
        Ok(dir)
    } else {
        // Somebody moved the directory while it was being visited.
        Err(failed(&above.name, Errno::STALE))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn removes_trees_that_resist() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::File::create(outside.join("kept")).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/shut/inner")).unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink("/nonexistent", tree.join("dangling")).unwrap();
        std::fs::set_permissions(tree.join("a/b/shut"), PermissionsExt::from_mode(0o0)).unwrap();
        std::fs::set_permissions(tree.join("a"), PermissionsExt::from_mode(0o500)).unwrap();

        remove_tree(open(dir.path()), Path::new("tree")).unwrap();

        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_link_as_the_top_is_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, dir.path().join("tree")).unwrap();
        remove_tree(open(dir.path()), Path::new("tree")).unwrap();
        assert!(std::fs::symlink_metadata(dir.path().join("tree")).is_err());
        assert!(outside.is_dir());
        remove_tree(open(dir.path()), Path::new("never-was")).unwrap();
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let mut here = open(dir.path());
        for _ in 0..3000 {
            fs::mkdirat(&here, "deep-enough-to-exceed-any-path", Mode::RWXU).unwrap();
            here = open_dir(here.as_fd(), c"deep-enough-to-exceed-any-path").unwrap();
        }
        remove_tree(open(dir.path()), Path::new("deep-enough-to-exceed-any-path")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_removed_is_named_and_the_rest_goes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        std::fs::File::create(dir.path().join("tree/file")).unwrap();
        // A mount point: procfs is mounted wherever tests run, and its directories cannot be entered from above.
        let error = remove_tree(open(Path::new("/")), Path::new("proc")).unwrap_err();
        assert!(error.is(libc::EXDEV), "{error}");
        remove_tree(open(dir.path()), Path::new("tree")).unwrap();
    }
}
