//! Paths inside a root that somebody else controls: only descriptors come out.
//!
//! [`open_in`] follows links as a process inside the root would, and never leaves it (openat2(2),
//! `RESOLVE_IN_ROOT`, no magic links). [`make_in`] also makes what is missing on the way, behind a dangling link
//! too, as docker does for mount points: the `pathrs` crate's `mkdir_all` refuses those and makes no files, and its
//! stand-in for kernels without openat2 is of no use to a program that needs Linux 5.11.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Context, Error, Result};

/// As the kernel: more links than this on one path is ELOOP.
const MAX_LINKS: usize = 40;
/// The longest path accepted, in bytes: `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// Opens `path` inside `root`. EAGAIN, which the kernel gives when a rename races, is tried again.
pub fn open_in(root: impl AsFd, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let (root, path) = (root.as_fd(), path.as_ref());
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..128 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) => {}
            result => return result.op_on("open", path),
        }
    }
    Err(Error::with_subject("open", path, libc::EAGAIN))
}

/// Opens a directory of the host by a path that the user or this program chose.
pub fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path.as_ref(), flags, Mode::empty()).op_on("open", path)
}

/// A descriptor (`O_PATH`) of what `path` names inside `root`, links followed.
pub fn find_in(root: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd> {
    open_in(root, path, OFlags::PATH, Mode::empty())
}

/// What [`make_in`] makes when nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Directory,
    EmptyFile,
}

/// Finds `path` inside `root` or makes it, missing parents included (directories 0755, files 0644, owned by
/// the caller). Links are followed, dangling ones too, inside the root. The result is `O_PATH`.
pub fn make_in(root: impl AsFd, path: impl AsRef<Path>, make: Make) -> Result<OwnedFd> {
    let (root, path) = (root.as_fd(), path.as_ref());
    match find_in(root, path) {
        Err(e) if e.is(libc::ENOENT) => Walk::new(root)?.run(path, make),
        found => found,
    }
}

/// A directory and a name in it that is no link, or that nothing has yet; `.` where a path ends in the directory
/// itself.
#[derive(Debug)]
pub struct Place {
    /// `O_PATH`.
    pub dir: OwnedFd,
    pub name: OsString,
}

/// Where `path` leads inside `root`. Links on the way are followed, the last one where `follow` says so. The last
/// name need not exist, its directory must.
pub fn place_in(root: impl AsFd, path: impl AsRef<Path>, follow: bool) -> Result<Place> {
    Walk::new(root)?.place(path.as_ref(), follow)
}

/// A walk from the root downwards that holds every directory on its way open, so that `..` is the directory
/// it came from and no rename under it can lead it out.
struct Walk {
    stack: Vec<OwnedFd>,
    /// Components still to go, the next one last.
    rest: Vec<OsString>,
    links: usize,
}

impl Walk {
    fn new(root: impl AsFd) -> Result<Self> {
        let root = root.as_fd().try_clone_to_owned().op("dup root")?;
        Ok(Self { stack: vec![root], rest: Vec::new(), links: 0 })
    }

    /// The next name below the directory that was reached; a `..` goes no further up than to the root.
    fn next_name(&mut self) -> Option<OsString> {
        loop {
            match self.rest.pop()? {
                up if up == ".." => {
                    if self.stack.len() > 1 {
                        self.stack.pop();
                    }
                }
                name => return Some(name),
            }
        }
    }

    fn run(mut self, path: &Path, make: Make) -> Result<OwnedFd> {
        self.push_components(path)?;
        while let Some(name) = self.next_name() {
            let last = self.rest.is_empty();
            self.step(&name, Some(if last { make } else { Make::Directory }), path)?;
        }
        self.stack.pop().ok_or_else(|| Error::with_subject("open", path, libc::ENOENT))
    }

    fn place(mut self, path: &Path, follow: bool) -> Result<Place> {
        self.push_components(path)?;
        while let Some(name) = self.next_name() {
            let dir = self.stack.last().ok_or_else(|| Error::with_subject("open", path, libc::ENOENT))?;
            let is_link = || {
                let stat = rustix::fs::statat(dir, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
            };
            if self.rest.is_empty() && !(follow && is_link()) {
                return self.here(name, path);
            }
            self.step(&name, None, path)?;
            let top = self.stack.last().ok_or_else(|| Error::with_subject("open", path, libc::ENOENT))?;
            let stat = rustix::fs::fstat(top).op_on("stat", path)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                // The link was replaced meanwhile by what it led to, or something on the way is no directory.
                return Err(Error::with_subject("open", path, libc::ENOTDIR));
            }
        }
        self.here(OsString::from("."), path)
    }

    fn here(mut self, name: OsString, whole: &Path) -> Result<Place> {
        let dir = self.stack.pop().ok_or_else(|| Error::with_subject("open", whole, libc::ENOENT))?;
        Ok(Place { dir, name })
    }

    /// Enters `name`, or puts what it links to before the rest of the way. What is missing is made where `make` says
    /// what.
    fn step(&mut self, name: &OsStr, make: Option<Make>, whole: &Path) -> Result<()> {
        let dir = self.stack.last().ok_or_else(|| Error::with_subject("open", whole, libc::ENOENT))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) if make.is_some() => {
                make_entry(dir, name, make.unwrap_or(Make::Directory)).op_on("create", whole)?
            }
            other => other.op_on("open", whole)?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).op_on("stat", whole)?.st_mode);
        if kind != FileType::Symlink {
            self.stack.push(fd);
            return Ok(());
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::with_subject("open", whole, libc::ELOOP));
        }
        // An in-root procfs could hold magic links, whose text is not where they lead.
        if super::mount::fs_type(&fd)? == super::mount::PROC {
            return Err(Error::with_subject("open", whole, libc::ELOOP));
        }
        let target = rustix::fs::readlinkat(&fd, "", Vec::new()).op_on("readlink", whole)?;
        let target = OsString::from_vec(target.into_bytes());
        if Path::new(&target).is_absolute() {
            self.stack.truncate(1);
        }
        self.push_components(Path::new(&target))
    }

    fn push_components(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().len() > MAX_PATH {
            return Err(Error::with_subject("open", path, libc::ENAMETOOLONG));
        }
        for component in path.components().rev() {
            match component {
                Component::Normal(name) => self.rest.push(name.to_os_string()),
                Component::ParentDir => self.rest.push(OsString::from("..")),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(())
    }
}

fn make_entry(dir: &OwnedFd, name: &OsStr, make: Make) -> rustix::io::Result<OwnedFd> {
    match make {
        Make::Directory => match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        },
        Make::EmptyFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
    }
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a regular file inside `root`, at most `limit` bytes. A FIFO, a device or a directory is EINVAL, a
/// larger file EFBIG.
pub fn read_in(root: impl AsFd, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open_in(root, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd).op_on("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::with_subject("read", path, libc::EINVAL));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(limit + 1).read_to_end(&mut bytes).op_on("read", path)?;
    if bytes.len() as u64 > limit {
        return Err(Error::with_subject("read", path, libc::EFBIG));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap().into();
        (dir, fd)
    }

    #[test]
    fn makes_missing_parents() {
        let (dir, fd) = root();
        make_in(&fd, "/a/b/file", Make::EmptyFile).unwrap();
        assert!(dir.path().join("a/b/file").is_file());
    }

    #[test]
    fn dangling_absolute_link_stays_inside() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        symlink(&victim, dir.path().join("hosts")).unwrap();
        make_in(&fd, "/hosts", Make::EmptyFile).unwrap();
        assert!(!victim.exists());
        assert!(dir.path().join(victim.strip_prefix("/").unwrap()).is_file());
    }

    #[test]
    fn dotdot_never_leaves() {
        let (dir, fd) = root();
        symlink("../../../../../../tmp", dir.path().join("up")).unwrap();
        make_in(&fd, "/up/x/y", Make::Directory).unwrap();
        assert!(dir.path().join("tmp/x/y").is_dir());
    }

    #[test]
    fn places_are_found_through_links_and_need_not_exist() {
        let (dir, fd) = root();
        std::fs::create_dir_all(dir.path().join("real/sub")).unwrap();
        symlink("/real", dir.path().join("way")).unwrap();
        symlink("../new", dir.path().join("real/last")).unwrap();
        let name = |path: &str, follow| place_in(&fd, path, follow).map(|p| p.name.into_string().unwrap());
        assert_eq!(name("/way/file", true).unwrap(), "file");
        assert_eq!(name("/way/last", false).unwrap(), "last");
        assert_eq!(name("/way/last", true).unwrap(), "new");
        assert_eq!(name("/", true).unwrap(), ".");
        assert_eq!(name("/way/..", true).unwrap(), ".");
        assert!(name("/none/x", true).unwrap_err().is(libc::ENOENT));
        let place = place_in(&fd, "/way/../../../../etc-of-nobody", true).unwrap();
        let root = std::fs::metadata(dir.path()).unwrap();
        assert_eq!(rustix::fs::fstat(&place.dir).unwrap().st_ino, std::os::unix::fs::MetadataExt::ino(&root));
    }

    #[test]
    fn link_loop_is_an_error() {
        let (dir, fd) = root();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(make_in(&fd, "/a/x", Make::Directory).unwrap_err().is(libc::ELOOP));
    }

    #[test]
    fn bounded_read_refuses_large_and_special() {
        let (dir, fd) = root();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero")).unwrap();
        assert!(read_in(&fd, "zero", 10).is_err());
        std::fs::File::create(dir.path().join("big")).unwrap().set_len(100).unwrap();
        assert!(read_in(&fd, "big", 10).unwrap_err().is(libc::EFBIG));
        assert_eq!(read_in(&fd, "big", 100).unwrap().len(), 100);
    }
}
