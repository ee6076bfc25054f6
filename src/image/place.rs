//! Where a copy comes from and where it ends up, by docker's rules.
//!
//! | the destination | the source is a file | a directory |
//! | --- | --- | --- |
//! | is a directory | in it, under its own name | in it; `DIR/.` only what is in it |
//! | is something else | takes its place | an error |
//! | is not there | takes that name; an error after `/` | takes that name |
//!
//! The parent of what is not there must be there. Paths in a container begin at its root, and `..` is taken away
//! before any link is looked at.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::unpack::Rename;
pub use crate::sys::path::Place;
use crate::sys::path::{open_directory, place_in};
use crate::sys::{self, Context};

/// A path as typed, and what its end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Absolute, without `.` and `..`.
    pub path: PathBuf,
    /// `/` at the end: it is a directory, and a link to one is followed.
    slash: bool,
    /// `/.` at the end: what is in the directory.
    content: bool,
}

impl Error {
    /// Whether the way there ends before its last name.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Sys(e) if e.is(libc::ENOENT))
    }
}

impl Asked {
    /// `base` is where relative ones begin.
    pub fn new(typed: &OsStr, base: &Path) -> Self {
        let bytes = typed.as_bytes();
        let content = bytes == b"." || bytes.ends_with(b"/.");
        let mut path = PathBuf::from("/");
        for component in base.join(typed).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => {
                    path.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Self { path, slash: bytes.ends_with(b"/"), content }
    }

    fn is_directory(&self) -> bool {
        self.slash || self.content || self.path == Path::new("/")
    }

    /// What it is called in an archive: `.` where only the content counts.
    fn base(&self) -> OsString {
        match self.path.file_name() {
            Some(name) if !self.content => name.to_os_string(),
            _ => ".".into(),
        }
    }
}

/// What is being copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub directory: bool,
    /// The first component of every name in the archive.
    pub base: Vec<u8>,
}

/// Finds the source inside `root`.
pub fn source(root: &OwnedFd, asked: &Asked, follow: bool) -> sys::Result<(Place, Source)> {
    let place = place_in(root, &asked.path, follow || asked.is_directory())?;
    let name = Path::new(&place.name);
    let stat = rustix::fs::statat(&place.dir, name, AtFlags::SYMLINK_NOFOLLOW).op_on("stat", &asked.path)?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if asked.is_directory() && !directory {
        return Err(sys::Error::with_subject("open", &asked.path, libc::ENOTDIR));
    }
    Ok((place, Source { directory, base: asked.base().as_bytes().to_vec() }))
}

/// Finds a source of the host's, as typed.
pub fn source_on_host(typed: &OsStr, follow: bool) -> sys::Result<(Place, Source)> {
    source(&open_directory("/")?, &Asked::new(typed, &start_of(typed)?), follow)
}

/// As [`target`], of a path of the host's.
pub fn target_on_host(typed: &OsStr, source: &Source) -> Result<Target, Error> {
    target(&open_directory("/")?, &Asked::new(typed, &start_of(typed)?), source)
}

/// Where the way to `typed` begins.
fn start_of(typed: &OsStr) -> sys::Result<PathBuf> {
    if Path::new(typed).is_absolute() {
        return Ok("/".into());
    }
    std::env::current_dir().op("find the current directory")
}

/// The directory that an archive is unpacked into, and what its top is called there.
#[derive(Debug)]
pub struct Target {
    pub dir: OwnedFd,
    /// `None`: as in the archive.
    pub rename: Option<Rename>,
}

/// Why there is no place for a copy. The words are docker's where it has some.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sys(#[from] sys::Error),
    #[error("{} is not a directory, and one cannot be copied onto it", .0.display())]
    DirectoryOntoFile(PathBuf),
    #[error("no such directory: {}", .0.display())]
    NoSuchDirectory(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
}

/// Finds where `source` goes inside `root`.
pub fn target(root: &OwnedFd, asked: &Asked, source: &Source) -> Result<Target, Error> {
    let place = place_in(root, &asked.path, true)?;
    let there = kind(&place).map_err(|e| e.into_subject(&asked.path))?;
    let named = || Rename { from: source.base.clone(), to: place.name.as_bytes().to_vec() };
    let rename = match there {
        Some(FileType::Directory) => {
            let dir = open(&place.dir, Path::new(&place.name))?;
            return Ok(Target { dir, rename: None });
        }
        Some(_) if source.directory => return Err(Error::DirectoryOntoFile(asked.path.clone())),
        Some(_) if asked.is_directory() => return Err(Error::NotADirectory(asked.path.clone())),
        None if !source.directory && asked.is_directory() => {
            return Err(Error::NoSuchDirectory(asked.path.clone()));
        }
        Some(_) | None => named(),
    };
    Ok(Target { dir: open(&place.dir, Path::new("."))?, rename: Some(rename) })
}

/// The directory that a foreign archive goes into.
pub fn directory(root: &OwnedFd, asked: &Asked) -> Result<OwnedFd, Error> {
    let place = place_in(root, &asked.path, true)?;
    match kind(&place).map_err(|e| e.into_subject(&asked.path))? {
        Some(FileType::Directory) => Ok(open(&place.dir, Path::new(&place.name))?),
        Some(_) => Err(Error::NotADirectory(asked.path.clone())),
        None => Err(Error::NoSuchDirectory(asked.path.clone())),
    }
}

fn kind(place: &Place) -> sys::Result<Option<FileType>> {
    match rustix::fs::statat(&place.dir, Path::new(&place.name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e).op("stat"),
    }
}

fn open(dir: &OwnedFd, name: &Path) -> sys::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).op_on("open", name)
}

/// An error that knows which path it is about.
trait IntoSubject {
    fn into_subject(self, path: &Path) -> sys::Error;
}

impl IntoSubject for sys::Error {
    fn into_subject(self, path: &Path) -> sys::Error {
        sys::Error::with_subject(self.op(), path, self.errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(typed: &str) -> Asked {
        Asked::new(OsStr::new(typed), Path::new("/work"))
    }

    #[test]
    fn ends_of_paths_say_what_is_meant() {
        for (typed, path, base, directory) in [
            ("a", "/work/a", "a", false),
            ("/x/../y", "/y", "y", false),
            ("a/", "/work/a", "a", true),
            ("a/.", "/work/a", ".", true),
            (".", "/work", ".", true),
            ("..", "/", ".", true),
            ("/", "/", ".", true),
            ("../..", "/", ".", true),
        ] {
            let asked = asked(typed);
            assert_eq!(asked.path, Path::new(path), "{typed}");
            assert_eq!(asked.base(), base, "{typed}");
            assert_eq!(asked.is_directory(), directory, "{typed}");
        }
    }

    #[test]
    fn dockers_table() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        std::fs::File::create(dir.path().join("file")).unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        let root = sys::path::open_directory(dir.path()).unwrap();
        let of = |directory| Source { directory, base: b"s".to_vec() };
        let rename = |typed: &str, directory| {
            let asked = Asked::new(OsStr::new(typed), Path::new("/"));
            target(&root, &asked, &of(directory)).map(|t| t.rename.map(|r| String::from_utf8(r.to).unwrap()))
        };
        for typed in ["dir", "dir/", "link", "link/", "/", "."] {
            assert_eq!(rename(typed, false).unwrap(), None, "{typed}");
            assert_eq!(rename(typed, true).unwrap(), None, "{typed}");
        }
        assert_eq!(rename("file", false).unwrap().as_deref(), Some("file"));
        assert!(matches!(rename("file", true), Err(Error::DirectoryOntoFile(_))));
        assert!(matches!(rename("file/", false), Err(Error::NotADirectory(_))));
        assert_eq!(rename("new", false).unwrap().as_deref(), Some("new"));
        assert_eq!(rename("new/", true).unwrap().as_deref(), Some("new"));
        assert!(matches!(rename("new/", false), Err(Error::NoSuchDirectory(_))));
        assert!(matches!(rename("none/new", false), Err(Error::Sys(_))));
    }
}
