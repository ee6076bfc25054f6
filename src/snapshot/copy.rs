//! The last resort: all layers copied into one directory, which the container gets as its root.
//!
//! Needs nothing of the host but a file system. Where that can share blocks between files (btrfs, xfs) the copy costs
//! one call a file; elsewhere it costs the time and the room of the whole image, for each container. There is no upper
//! layer: what a container has changed is found by comparing ([`super::compare`]), for which the moment at which the
//! copy was complete is kept beside it.
//!
//! To be called as root of the user namespace, by a process that may have many files open.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::attributes::{self, Side};
use super::diff::push;
use super::merged::{Hiding, Merged};
use crate::sys::{Context, Error, Result, content};

/// Below a container's directory: its root.
pub(super) const TREE: &str = "root";
/// When the copy was complete, as the file system's clock had it: `SECONDS NANOSECONDS`.
pub(super) const STAMP: &str = "copied";

/// A moment of the clock that stamps inodes.
pub(super) type Moment = (i64, i64);

/// Makes the tree of `lowers`, the topmost first, in the container's directory `container`. `mode` is the root's.
pub(super) fn make(lowers: &[PathBuf], container: &Path, mode: u32) -> Result<()> {
    let tree = container.join(TREE);
    rustix::fs::mkdir(&tree, Mode::RWXU).op_on("mkdir", &tree)?;
    let root = crate::sys::path::open_directory(&tree)?;
    let from = Merged::of(lowers, Hiding::probe(container)?)?;
    let mut copying = Copying { root: root.as_fd(), links: HashMap::new() };
    copying.directory(&from, &root, &mut Vec::new())?;
    rustix::fs::fchmod(&root, Mode::from_raw_mode(mode)).op_on("chmod", &tree)?;
    stamp(container)
}

/// Whatever an inode of the tree shows as its last change from here on, the container is the reason.
fn stamp(container: &Path) -> Result<()> {
    let path = container.join(STAMP);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).op_on("create", &path)?;
    let stat = rustix::fs::fstat(&file).op_on("stat", &path)?;
    let text = format!("{} {}\n", stat.st_ctime, stat.st_ctime_nsec);
    rustix::io::write(&file, text.as_bytes()).op_on("write", &path).map(|_| ())
}

/// When the copy was complete. One that cannot be read was before everything: more is compared then.
pub(super) fn stamp_of(container: &Path) -> Moment {
    let text = std::fs::read_to_string(container.join(STAMP)).unwrap_or_default();
    let mut fields = text.split_whitespace().map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(seconds)), Some(Ok(nanoseconds))) => (seconds, nanoseconds),
        _ => (i64::MIN, 0),
    }
}

/// Whether files made in `dir` can share blocks.
pub(super) fn shares_blocks(dir: &Path) -> bool {
    let file = || -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).op_on("create in", dir)
    };
    let shared = || -> Result<bool> {
        let (from, to) = (file()?, file()?);
        rustix::io::write(&from, b"content").op("write")?;
        Ok(content::copy(&from, &to, 7)? == content::Copied::Shared)
    };
    shared().unwrap_or(false)
}

struct Copying<'a> {
    root: BorrowedFd<'a>,
    /// The first path of what has several names, by device and inode of the original.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// An object to be copied.
struct Original<'a> {
    dir: BorrowedFd<'a>,
    name: &'a OsStr,
    stat: &'a Stat,
}

impl Copying<'_> {
    fn directory(&mut self, from: &Merged, to: &OwnedFd, path: &mut Vec<u8>) -> Result<()> {
        for name in from.names()? {
            let length = path.len();
            push(path, name.as_bytes())?;
            let name = OsStr::from_bytes(name.as_bytes());
            if let Some(node) = from.look(name)? {
                let original = Original { dir: from.holder(&node), name, stat: &node.stat };
                self.entry(from, &original, to, path).map_err(|e| at(path, e))?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &Merged,
        original: &Original<'_>,
        to: &OwnedFd,
        path: &mut Vec<u8>,
    ) -> Result<()> {
        let Original { dir, name, stat } = *original;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let made = make_directory(original, to)?;
            self.directory(&from.enter(name)?, &made, path)?;
            return rustix::fs::futimens(&made, &times(stat)).op("set the times");
        }
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&key) {
                let first = Path::new(OsStr::from_bytes(first));
                return rustix::fs::linkat(self.root, first, to, Path::new(name), AtFlags::empty())
                    .op("link");
            }
            self.links.insert(key, path.get(1..).unwrap_or_default().to_vec());
        }
        match kind {
            FileType::RegularFile => copy_file(original, to),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, Path::new(name), Vec::new()).op("read a link")?;
                rustix::fs::symlinkat(target, to, Path::new(name)).op("link")?;
                own_by_name(original, to)
            }
            FileType::Fifo | FileType::Socket => {
                rustix::fs::mknodat(to, Path::new(name), kind, Mode::RUSR | Mode::WUSR, 0).op("make")?;
                own_by_name(original, to)
            }
            // No user namespace has devices; those of a directory of the host's are its own.
            _ => Ok(()),
        }
    }
}

/// The error, on the path at which it happened; the innermost has been told already.
fn at(path: &[u8], error: Error) -> Error {
    if error.has_subject() {
        return error;
    }
    Error::with_subject(error.op(), Path::new(OsStr::from_bytes(path)), error.errno())
}

fn make_directory(original: &Original<'_>, to: &OwnedFd) -> Result<OwnedFd> {
    rustix::fs::mkdirat(to, Path::new(original.name), Mode::RWXU).op("mkdir")?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |dir: BorrowedFd<'_>| rustix::fs::openat(dir, Path::new(original.name), flags, Mode::empty());
    let (made, source) = (open(to.as_fd()).op("open")?, open(original.dir).op("open")?);
    dress(original, &made, &source)?;
    Ok(made)
}

fn copy_file(original: &Original<'_>, to: &OwnedFd) -> Result<()> {
    let Original { dir, name, stat } = *original;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(dir, Path::new(name), flags, Mode::empty()).op("open")?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(to, Path::new(name), flags, Mode::RUSR | Mode::WUSR).op("create")?;
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if size > 0 {
        content::copy(&source, &made, size)?;
    }
    dress(original, &made, &source)?;
    rustix::fs::futimens(&made, &times(stat)).op("set the times")
}

/// Owner, mode and attributes: the owner first, which takes setuid and capabilities away.
fn dress(original: &Original<'_>, made: &OwnedFd, source: &OwnedFd) -> Result<()> {
    let stat = original.stat;
    let owned = rustix::fs::fchown(made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::fchmod(made, Mode::from_raw_mode(mode_for(stat, owned)?)).op("chmod")?;
    attributes::write(made, &attributes::read(source, Side::Layer)?)
}

/// The same of what cannot be opened.
fn own_by_name(original: &Original<'_>, to: &OwnedFd) -> Result<()> {
    let (name, stat) = (Path::new(original.name), original.stat);
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let owned = rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    let mode = mode_for(stat, owned)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(to, name, Mode::from_raw_mode(mode), AtFlags::empty()).op("chmod")?;
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).op("set the times")
}

/// A file whose owner the namespace does not have is the container's root's, as whom it must not run.
fn mode_for(stat: &Stat, owned: rustix::io::Result<()>) -> Result<u32> {
    match owned {
        Ok(()) => Ok(stat.st_mode & 0o7777),
        Err(Errno::INVAL) => Ok(stat.st_mode & 0o1777),
        Err(e) => Err(e).op("chown"),
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_copy_is_the_merged_tree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let write = |path, text: &[u8]| fs::File::create(at(path)).unwrap().write_all(text).unwrap();
        for path in ["low/d", "low/gone", "top/d", "box"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        write("low/d/a", b"low");
        write("low/d/b", b"below");
        write("top/d/a", b"top");
        fs::hard_link(at("top/d/a"), at("top/again")).unwrap();
        symlink("nowhere", at("top/link")).unwrap();
        fs::set_permissions(at("low/d/b"), PermissionsExt::from_mode(0o640)).unwrap();
        let old = Timestamps {
            last_access: Timespec { tv_sec: 5, tv_nsec: 6 },
            last_modification: Timespec { tv_sec: 7, tv_nsec: 8 },
        };
        rustix::fs::utimensat(CWD, at("low/d/b"), &old, AtFlags::empty()).unwrap();
        make(&[at("top"), at("low")], &at("box"), 0o711).unwrap();
        let tree = at("box/root");
        assert_eq!(fs::read(tree.join("d/a")).unwrap(), b"top");
        assert_eq!(fs::read_link(tree.join("link")).unwrap(), Path::new("nowhere"));
        let of = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap();
        assert_eq!(of("d/a").ino(), of("again").ino());
        assert_eq!((of("d/b").mode() & 0o7777, of("d/b").mtime(), of("d/b").mtime_nsec()), (0o640, 7, 8));
        assert_eq!(of("").mode() & 0o7777, 0o711);
        assert!(stamp_of(&at("box")) >= (of("d/b").ctime(), of("d/b").ctime_nsec()));
        assert_eq!(stamp_of(&at("low")).0, i64::MIN);
    }
}
