//! How much a tree occupies on the disk: blocks, as `du` counts them.
//!
//! Walks like [`super::tree`]: the tree may have been made by a container, so no path string longer than one name is
//! given to the kernel, no link is followed, no mount crossed, and one descriptor is open however deep it goes.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::tree::{Frame, leave, list};
use super::{Context, Error, Result};

/// A sum of blocks. A file with several names is counted once, in whichever tree it is met first.
#[derive(Debug, Default)]
pub struct Usage {
    bytes: u64,
    /// Device and inode of what has more than one name.
    seen: HashSet<(u64, u64)>,
}

impl Usage {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds `name` in `parent` and everything below it. What vanishes meanwhile is not counted.
    pub fn add(&mut self, parent: impl AsFd, name: &Path) -> Result<()> {
        let parent = parent.as_fd();
        let c_name = CString::new(name.as_os_str().as_encoded_bytes())
            .map_err(|_| Error::with_subject("measure", name, libc::EINVAL))?;
        let stat = match fs::statat(parent, &c_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.op_on("measure", name)?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.count(&stat);
            return Ok(());
        }
        let mut stack = Vec::new();
        let Some(top) = self.enter(parent, c_name, &mut stack)? else { return Ok(()) };
        self.walk(top, stack)
    }

    fn walk(&mut self, mut here: OwnedFd, mut stack: Vec<Frame>) -> Result<()> {
        while let Some(frame) = stack.last_mut() {
            if let Some(name) = frame.rest.pop() {
                if let Some(below) = self.enter(here.as_fd(), name, &mut stack)? {
                    here = below;
                }
                continue;
            }
            stack.pop();
            let Some(above) = stack.last() else { break };
            here = leave(here.as_fd(), above)?;
        }
        Ok(())
    }

    /// Counts a directory and what it holds except its subdirectories, and puts it on the stack. `None` when it is
    /// gone, or another file system.
    fn enter(
        &mut self,
        parent: BorrowedFd<'_>,
        name: CString,
        stack: &mut Vec<Frame>,
    ) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let dir = match fs::openat2(parent, &name, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::XDEV | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other.map_err(|e| failed(&name, e))?,
        };
        let own = fs::fstat(&dir).map_err(|e| failed(&name, e))?;
        self.count(&own);
        let mut rest = Vec::new();
        for (entry, kind) in list(&dir).map_err(|e| failed(&name, e))? {
            if kind == FileType::Directory {
                rest.push(entry);
                continue;
            }
            match fs::statat(&dir, &entry, AtFlags::SYMLINK_NOFOLLOW) {
                // A file system that does not tell types in its listings.
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => rest.push(entry),
                Ok(stat) => self.count(&stat),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(failed(&entry, e)),
            }
        }
        stack.push(Frame { name, device: own.st_dev, inode: own.st_ino, rest });
        Ok(Some(dir))
    }

    fn count(&mut self, stat: &Stat) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_dir && stat.st_nlink > 1 && !self.seen.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
    }
}

fn failed(name: &CStr, e: Errno) -> Error {
    Error::with_subject("measure", name.to_string_lossy().into_owned(), e.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `du` says of the same tree.
    fn du(path: &Path) -> u64 {
        let out = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
        String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn counts_as_du_does() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        for (name, length) in [("a/f", 5000), ("a/b/g", 1), ("h", 300_000)] {
            std::io::Write::write_all(&mut std::fs::File::create(tree.join(name)).unwrap(), &vec![7; length])
                .unwrap();
        }
        std::fs::hard_link(tree.join("h"), tree.join("a/again")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("out")).unwrap();
        std::fs::File::create(tree.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let parent = std::fs::File::open(dir.path()).unwrap();
        let mut usage = Usage::default();
        usage.add(&parent, Path::new("tree")).unwrap();
        assert_eq!(usage.bytes(), du(&tree));
        usage.add(&parent, Path::new("never-was")).unwrap();
        assert_eq!(usage.bytes(), du(&tree));
    }

    #[test]
    fn depth_costs_neither_stack_nor_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let parent = std::fs::File::open(dir.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = "deep-enough-to-exceed-any-path";
        let mut here: OwnedFd = parent.try_clone().unwrap().into();
        for _ in 0..3000 {
            fs::mkdirat(&here, name, Mode::RWXU).unwrap();
            here = fs::openat(&here, name, flags, Mode::empty()).unwrap();
        }
        Usage::default().add(&parent, Path::new(name)).unwrap();
        super::super::tree::remove_tree(&parent, Path::new(name)).unwrap();
    }
}
