//! Files on the disk to a tar archive: what `commit`, `export` and `cp` write.
//!
//! The tree may belong to a container that changes it meanwhile. So nothing is opened by a path: each entry is a
//! directory's descriptor and one name in it, links are never followed, and content is read only from what is still
//! the regular file that its entry spoke of. What has vanished by the time it is looked at is left out; a file that
//! has become shorter ends in zeros, one that has become longer is cut.
//!
//! The format is POSIX.1-2001 (pax): ustar headers, and an extended one before each entry that says more than fits
//! (long names, times below a second, attributes, the map of a sparse file). Sockets have no place in an archive.

mod content;
mod header;

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::EntryType;

use crate::sys::userns::IdMap;
use crate::sys::{self, Context};
use header::Head;

/// The longest path that an archive of ours holds, in bytes: what [`super::unpack`] takes.
pub const MAX_PATH: usize = 4095;
const WHITEOUT: &[u8] = b".wh.";
/// Attributes of the overlay and of containers/storage: they speak of this disk.
const OURS: [&[u8]; 3] = [b"user.overlay.", b"user.containers.", b"user.fuseoverlayfs."];
const OVERRIDE: &str = "user.containers.override_stat";
/// Bytes of attributes of one file.
const MAX_XATTR: usize = 64 << 10;

/// Why an archive is not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error("cannot read /{path}")]
    Read { path: String, source: sys::Error },
    #[error("/{path} is not archived: its path is longer than {MAX_PATH} bytes")]
    TooLong { path: String },
    #[error("/{path} cannot be in an image: to images, a name that begins with `.wh.` means a removed file")]
    Whiteout { path: String },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Who the archive says owns a file.
#[derive(Debug, Clone, Copy)]
pub enum Owners<'a> {
    /// Whom the calling process sees, or whom an image has given the file that its disk cannot.
    Seen,
    /// The caller is outside the namespace of this map: ids inside it. Whoever is not in it is root.
    Inside(&'a IdMap),
    /// The caller is inside the namespace of `seen`: the same ids of the host, as they are inside `told`. Whoever is
    /// not in both keeps the number.
    Renumbered { seen: &'a IdMap, told: &'a IdMap },
}

impl Owners<'_> {
    fn of(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Self::Seen => (uid, gid),
            Self::Inside(map) => (map.uid_inside(uid).unwrap_or(0), map.gid_inside(gid).unwrap_or(0)),
            Self::Renumbered { seen, told } => (
                seen.uid_outside(uid).and_then(|id| told.uid_inside(id)).unwrap_or(uid),
                seen.gid_outside(gid).and_then(|id| told.gid_inside(id)).unwrap_or(gid),
            ),
        }
    }

    /// Whether the caller sees the numbers that an image gives.
    fn are_inside(self) -> bool {
        matches!(self, Self::Seen | Self::Renumbered { .. })
    }
}

/// An archive being written.
#[derive(Debug)]
pub struct Writer<'a, W> {
    out: W,
    owners: Owners<'a>,
    /// Under which path a file of several links was written first, by device and inode.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Bytes so far.
    written: u64,
}

pub(super) fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn as_path(name: &OsStr) -> &Path {
    Path::new(name)
}

impl<'a, W: Write> Writer<'a, W> {
    pub fn new(out: W, owners: Owners<'a>) -> Self {
        Self { out, owners, linked: HashMap::new(), written: 0 }
    }

    /// Writes what `name` is in `dir` as the entry `path`, a directory without what is in it. `false` where there is
    /// nothing any more, or nothing that an archive can hold.
    pub fn entry(&mut self, dir: impl AsFd, name: &OsStr, path: &[u8]) -> Result<bool> {
        let dir = dir.as_fd();
        let failed = |e: Errno| Error::Read {
            path: printable(path),
            source: sys::Error::new("read", e.raw_os_error()),
        };
        if path.len() > MAX_PATH {
            return Err(Error::TooLong { path: printable(path) });
        }
        let stat = match rustix::fs::statat(dir, as_path(name), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.map_err(failed)?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut head = self.head(&stat, path);
        match kind {
            FileType::Socket => return Ok(false),
            FileType::RegularFile | FileType::Directory => {
                let Some(file) = open(dir, name, &stat).map_err(failed)? else { return Ok(false) };
                if kind == FileType::RegularFile && self.is_link(&stat, &mut head) {
                    self.head_only(&head)?;
                    return Ok(true);
                }
                self.attributes(&file, &mut head).map_err(failed)?;
                if kind == FileType::Directory {
                    head.kind = EntryType::Directory;
                    head.path.push(b'/');
                    self.head_only(&head)?;
                } else {
                    self.file(&file, &stat, head)?;
                }
                return Ok(true);
            }
            FileType::Symlink => {
                let target = match rustix::fs::readlinkat(dir, as_path(name), Vec::new()) {
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
                    other => other.map_err(failed)?,
                };
                head.kind = EntryType::Symlink;
                head.link = target.into_bytes();
            }
            FileType::Fifo => head.kind = EntryType::Fifo,
            FileType::CharacterDevice | FileType::BlockDevice => {
                let block = kind == FileType::BlockDevice;
                head.kind = if block { EntryType::Block } else { EntryType::Char };
                head.device = Some((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
            }
            FileType::Unknown => return Ok(false),
        }
        let linked = self.is_link(&stat, &mut head);
        if linked {
            head.device = None;
        }
        self.head_only(&head)?;
        Ok(true)
    }

    /// As [`Self::entry`], with all that is below, in the order of names. `leave_out` says of directories which ones
    /// are to be empty.
    pub fn tree(
        &mut self,
        dir: impl AsFd,
        name: &OsStr,
        path: &[u8],
        leave_out: &dyn Fn(&OwnedFd) -> bool,
    ) -> Result<()> {
        let dir = dir.as_fd();
        if !self.entry(dir, name, path)? {
            return Ok(());
        }
        let failed = |source: sys::Error| Error::Read { path: printable(path), source };
        let Some(below) = open_directory(dir, name).map_err(failed)? else { return Ok(()) };
        if leave_out(&below) {
            return Ok(());
        }
        for name in names(&below).map_err(failed)? {
            let name = OsStr::from_bytes(name.as_bytes());
            self.tree(&below, name, &join(path, name), leave_out)?;
        }
        Ok(())
    }

    /// `path` is gone from the layers below.
    pub fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let at = path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let name = [&path[..at], WHITEOUT, &path[at..]].concat();
        self.head_only(&Head { path: name, ..Head::default() })
    }

    /// Of the directory `path`, the layers below show nothing.
    pub fn opaque(&mut self, path: &[u8]) -> Result<()> {
        let name = join(path, OsStr::from_bytes(b".wh..wh..opq"));
        self.head_only(&Head { path: name, ..Head::default() })
    }

    /// The two blocks that end an archive. Gives its length in bytes.
    pub fn finish(mut self) -> Result<u64> {
        self.put(&[0; 1024])?;
        self.out.flush().map_err(Error::Write)?;
        Ok(self.written)
    }

    fn head(&self, stat: &Stat, path: &[u8]) -> Head {
        let (uid, gid) = self.owners.of(stat.st_uid, stat.st_gid);
        Head {
            path: path.to_vec(),
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ..Head::default()
        }
    }

    /// Makes a hard link of `head` where the file has been written under another name.
    fn is_link(&mut self, stat: &Stat, head: &mut Head) -> bool {
        if stat.st_nlink < 2 {
            return false;
        }
        match self.linked.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) => {
                head.kind = EntryType::Link;
                head.link.clone_from(first);
                true
            }
            None => {
                self.linked.insert((stat.st_dev, stat.st_ino), head.path.clone());
                false
            }
        }
    }

    /// Extended attributes, and the owner and mode that stand in one.
    fn attributes(&self, file: &OwnedFd, head: &mut Head) -> rustix::io::Result<()> {
        let mut list = Vec::with_capacity(MAX_XATTR);
        match rustix::fs::flistxattr(file, rustix::buffer::spare_capacity(&mut list)) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            other => other?,
        };
        for name in list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let mut value = Vec::with_capacity(MAX_XATTR);
            match rustix::fs::fgetxattr(file, name, rustix::buffer::spare_capacity(&mut value)) {
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => continue,
                other => other?,
            };
            if name == OVERRIDE.as_bytes() {
                if let Some((uid, gid, mode)) = overridden(&value).filter(|_| self.owners.are_inside()) {
                    (head.uid, head.gid) = self.owners.of(uid, gid);
                    head.mode = mode;
                }
                continue;
            }
            let kept = name == b"security.capability"
                || name.starts_with(b"user.")
                || name.starts_with(b"system.posix_acl_");
            if kept && !OURS.iter().any(|prefix| name.starts_with(prefix)) {
                head.xattrs.push((name.to_vec(), value));
            }
        }
        head.xattrs.sort();
        Ok(())
    }

    fn head_only(&mut self, head: &Head) -> Result<()> {
        let bytes = head.bytes();
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

/// `UID:GID:MODE`, as containers/storage writes it.
fn overridden(value: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split(':');
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    Some((uid, gid, mode & 0o7777))
}

/// `path`/`name`.
pub fn join(path: &[u8], name: &OsStr) -> Vec<u8> {
    if path.is_empty() { name.as_bytes().to_vec() } else { [path, name.as_bytes()].join(&b'/') }
}

/// Opens the file or directory that `stat` is of. `None` where it is something else by now.
fn open(dir: impl AsFd, name: &OsStr, stat: &Stat) -> rustix::io::Result<Option<OwnedFd>> {
    // Should a pipe or a terminal have taken its place, this neither waits nor becomes its owner.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(dir, as_path(name), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        other => other?,
    };
    let now = rustix::fs::fstat(&file)?;
    Ok((now.st_mode & libc::S_IFMT == stat.st_mode & libc::S_IFMT).then_some(file))
}

/// `None` where it is no directory.
pub fn open_directory(dir: impl AsFd, name: &OsStr) -> sys::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, as_path(name), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        other => other.op("open").map(Some),
    }
}

/// The names in a directory, sorted.
pub fn names(dir: &OwnedFd) -> sys::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).op("read")? {
        let entry = entry.op("read")?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
