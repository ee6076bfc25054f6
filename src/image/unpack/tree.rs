//! The layer's directory as it grows: each entry finds its parent by descriptor and is made there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::archive::{Entry, Kind, Reader};
use super::attributes;
use super::error::{Error, printable};
use super::name::{self, Meaning, Place};
use super::{Copying, Owners};
use crate::sys::path::open_in;
use crate::sys::userns::IdMap;
use crate::sys::{self, Context};

/// Directories held open.
const OPEN_DIRECTORIES: usize = 128;
/// Bytes of directory names kept until their times are set.
const MAX_KEPT_NAMES: usize = 256 << 20;
/// Of directories that the archive uses and does not contain.
const IMPLICIT_MODE: u32 = 0o755;

/// A layer being written.
pub(super) struct Tree<'a> {
    root: Rc<OwnedFd>,
    ids: &'a IdMap,
    /// By normalised path. Emptied when a directory or a link is replaced, which any of them may lie behind.
    open: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Times of directories: set last, because everything made in a directory changes them.
    times: Vec<(Place, (i64, u32))>,
    kept: usize,
    /// The archive's own entry for the root.
    root_entry: Option<Entry>,
    /// `None`: a layer.
    copying: Option<Copying>,
    /// A whiteout had to be a file beside its place.
    marks: bool,
}

/// The name of the file that hides what `name` is on the layers below.
fn mark_of(name: &[u8]) -> Vec<u8> {
    [b".wh.", name].concat()
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: OwnedFd, ids: &'a IdMap) -> Self {
        let (open, times) = (HashMap::new(), Vec::new());
        Self { root: Rc::new(root), ids, open, times, kept: 0, root_entry: None, copying: None, marks: false }
    }

    /// Into a directory that is in use.
    pub(super) fn copying(into: OwnedFd, ids: &'a IdMap, copying: Copying) -> Self {
        Self { copying: Some(copying), ..Self::new(into, ids) }
    }

    /// What a name means: in a copy, nothing but itself.
    fn meaning(&self, entry: &Entry) -> Result<Meaning, Error> {
        match self.copying {
            None => name::meaning(&entry.name),
            Some(_) => Ok(name::place(&entry.name)?.map_or(Meaning::Root, Meaning::Entry)),
        }
    }

    fn owner(&self, entry: &Entry) -> Result<attributes::Owner, Error> {
        match self.copying.map(|c| c.owners) {
            None | Some(Owners::Archive) => attributes::owner(entry, self.ids),
            Some(Owners::Root) => Ok(attributes::Owner::ROOT),
            Some(Owners::Caller) => Ok(attributes::Owner::CALLER),
        }
    }

    /// Makes one entry; its content is read from `reader`.
    pub(super) fn add<R: std::io::BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), Error> {
        match self.meaning(entry)? {
            Meaning::Ignored => Ok(()),
            Meaning::Root if entry.kind == Kind::Directory => {
                self.owner(entry)?;
                self.root_entry = Some(entry.clone());
                Ok(())
            }
            Meaning::Root => Err(refused(entry, "it would replace the root directory")),
            Meaning::Opaque(dir) => {
                let dir = self.directory(&dir, entry)?;
                attributes::make_opaque(&*dir).map_err(|e| failed(entry, e))
            }
            Meaning::Whiteout(place) => self.whiteout(&place, entry),
            Meaning::Entry(place) => self.make(&place, entry, reader),
        }
    }

    /// Sets what must be set last.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let mut parent: Option<(Vec<u8>, OwnedFd)> = None;
        for (place, mtime) in std::mem::take(&mut self.times) {
            let mut set = || -> sys::Result<()> {
                if parent.as_ref().is_none_or(|(path, _)| *path != place.parent) {
                    let Some(fd) = self.existing(&place.parent)? else { return Ok(()) };
                    parent = Some((place.parent.clone(), fd));
                }
                let Some((_, dir)) = &parent else { return Ok(()) };
                if kind_at(dir, &place.name)? == Some(FileType::Directory) {
                    let (times, flags) = (attributes::times(mtime), AtFlags::SYMLINK_NOFOLLOW);
                    rustix::fs::utimensat(dir, as_path(&place.name), &times, flags).op("set times")?;
                }
                Ok(())
            };
            set().map_err(|source| Error::Sys { entry: printable(&place.path()), source })?;
        }
        match self.root_entry.take() {
            _ if self.copying.is_some_and(|c| c.keep_root) => Ok(()),
            None if self.copying.is_some() => Ok(()),
            Some(entry) => {
                attributes::apply(&*self.root, &entry, self.owner(&entry)?, self.ids)?;
                let set = rustix::fs::futimens(&*self.root, &attributes::times(entry.mtime)).op("set times");
                set.map_err(|e| failed(&entry, e))
            }
            None => rustix::fs::fchmod(&*self.root, Mode::from_raw_mode(IMPLICIT_MODE))
                .op("chmod")
                .map_err(|source| Error::Sys { entry: ".".into(), source }),
        }
    }

    fn make<R: std::io::BufRead>(
        &mut self,
        place: &Place,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), Error> {
        if entry.kind == Kind::Device {
            tracing::debug!(entry = printable(&entry.name), "device node left out");
            return Ok(());
        }
        if self.copying.is_none()
            && entry.kind == Kind::Symlink
            && !name::link_stays_inside(&place.parent, &entry.link)
        {
            return Err(refused(entry, "it is a link out of the root"));
        }
        let owner = self.owner(entry)?;
        let dir = self.directory(&place.parent, entry)?;
        let name = as_path(&place.name);
        match entry.kind {
            Kind::File => {
                let file = self.replacing(&dir, place, entry, || create(&dir, name))?;
                write_content(&file, entry, reader)?;
                attributes::apply(&file, entry, owner, self.ids)?;
                let set = rustix::fs::futimens(&file, &attributes::times(entry.mtime)).op("set times");
                set.map_err(|e| failed(entry, e))
            }
            Kind::Directory => self.make_directory(&dir, place, entry, owner),
            Kind::HardLink => self.hard_link(&dir, place, entry),
            Kind::Symlink => {
                let target = as_path(&entry.link);
                self.replacing(&dir, place, entry, || rustix::fs::symlinkat(target, &*dir, name))?;
                self.dress(&dir, name, entry, owner, None)
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(0o600);
                let make = || rustix::fs::mknodat(&*dir, name, FileType::Fifo, mode, 0);
                self.replacing(&dir, place, entry, make)?;
                self.dress(&dir, name, entry, owner, Some(entry.mode))
            }
            Kind::Device => Ok(()),
        }
    }

    /// Owner, mode and time of a link or fifo.
    fn dress(
        &self,
        dir: &OwnedFd,
        name: &Path,
        entry: &Entry,
        owner: attributes::Owner,
        mode: Option<u32>,
    ) -> Result<(), Error> {
        attributes::apply_at(dir, name, owner, mode, self.ids.kind).map_err(|e| failed(entry, e))?;
        if !entry.xattrs.is_empty() {
            tracing::debug!(
                entry = printable(&entry.name),
                "extended attributes left out: not a file or directory"
            );
        }
        let (times, flags) = (attributes::times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::utimensat(dir, name, &times, flags).op("set times").map_err(|e| failed(entry, e))
    }

    fn make_directory(
        &mut self,
        dir: &OwnedFd,
        place: &Place,
        entry: &Entry,
        owner: attributes::Owner,
    ) -> Result<(), Error> {
        let name = as_path(&place.name);
        let mut was_hidden = self.marks && is_marked(dir, &place.name).map_err(|e| failed(entry, e))?;
        match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let kind = kind_at(dir, &place.name).map_err(|e| failed(entry, e))?;
                if kind != Some(FileType::Directory) {
                    if self.copying.is_some() {
                        return Err(refused(entry, "cannot overwrite non-directory with directory"));
                    }
                    was_hidden = kind == Some(FileType::CharacterDevice);
                    self.clear(dir, place, entry)?;
                    let made = rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).op("mkdir");
                    made.map_err(|e| failed(entry, e))?;
                }
            }
            Err(e) => return Err(failed(entry, sys::Error::new("mkdir", e.raw_os_error()))),
        }
        let fd = open_directory(dir, name).op("open").map_err(|e| failed(entry, e))?;
        attributes::apply(&fd, entry, owner, self.ids)?;
        if was_hidden {
            // A whiteout of the lower layers' directory and a new one of the same name: nothing shines through.
            attributes::make_opaque(&fd).map_err(|e| failed(entry, e))?;
        }
        self.kept += place.parent.len() + place.name.len();
        if self.kept > MAX_KEPT_NAMES {
            return Err(refused(entry, "the names of the archive's directories are too long together"));
        }
        self.times.push((place.clone(), entry.mtime));
        self.remember(place.path(), Rc::new(fd));
        Ok(())
    }

    fn hard_link(&mut self, dir: &OwnedFd, place: &Place, entry: &Entry) -> Result<(), Error> {
        let missing =
            || Error::MissingTarget { entry: printable(&entry.name), target: printable(&entry.link) };
        let Some(target) = name::place(&entry.link)? else {
            return Err(refused(entry, "it is a hard link to the root directory"));
        };
        let Some(from) = self.existing(&target.parent).map_err(|e| failed(entry, e))? else {
            return Err(missing());
        };
        let Some(file) = stat_at(&from, &target.name).map_err(|e| failed(entry, e))? else {
            return Err(missing());
        };
        if FileType::from_raw_mode(file.st_mode) == FileType::Directory {
            return Err(refused(entry, "it is a hard link to a directory"));
        }
        let old = stat_at(dir, &place.name).map_err(|e| failed(entry, e))?;
        if old.is_some_and(|old| old.st_ino == file.st_ino && old.st_dev == file.st_dev) {
            return Ok(());
        }
        let (from_name, to_name) = (as_path(&target.name), as_path(&place.name));
        let link = || rustix::fs::linkat(&from, from_name, dir, to_name, AtFlags::empty());
        match self.replacing(dir, place, entry, link) {
            // Replacing a directory took the target with it.
            Err(Error::Sys { source, .. }) if source.is(libc::ENOENT) => Err(missing()),
            result => result,
        }
    }

    fn whiteout(&mut self, place: &Place, entry: &Entry) -> Result<(), Error> {
        let dir = self.directory(&place.parent, entry)?;
        let name = as_path(&place.name);
        let make = || sys::whiteout::make(&*dir, name);
        match self.replacing(&dir, place, entry, make) {
            Err(Error::Sys { source, .. })
                if sys::whiteout::is_refusal(Errno::from_raw_os_error(source.errno())) =>
            {
                self.mark(&dir, place, entry)
            }
            made => made,
        }
    }

    /// A whiteout where no device can be made: a file beside the place, as the drivers read it.
    fn mark(&mut self, dir: &OwnedFd, place: &Place, entry: &Entry) -> Result<(), Error> {
        self.marks = true;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(dir, as_path(&mark_of(&place.name)), flags, Mode::empty())
            .op("make a whiteout");
        made.map(drop).map_err(|e| failed(entry, e))
    }

    /// Runs `make`, and once more after removing what is in its way: the later entry wins.
    fn replacing<T>(
        &mut self,
        dir: &OwnedFd,
        place: &Place,
        entry: &Entry,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T, Error> {
        match make() {
            Err(Errno::EXIST) => {
                self.clear(dir, place, entry)?;
                make().op("create").map_err(|e| failed(entry, e))
            }
            result => result.op("create").map_err(|e| failed(entry, e)),
        }
    }

    fn clear(&mut self, dir: &OwnedFd, place: &Place, entry: &Entry) -> Result<(), Error> {
        let name = as_path(&place.name);
        let kind = kind_at(dir, &place.name).map_err(|e| failed(entry, e))?;
        if matches!(kind, Some(FileType::Directory | FileType::Symlink)) {
            self.open.clear();
        }
        let removed = match kind {
            Some(FileType::Directory) if self.copying.is_some() => {
                return Err(refused(entry, "cannot overwrite directory with non-directory"));
            }
            Some(FileType::Directory) => sys::tree::remove_tree(dir, name),
            _ => rustix::fs::unlinkat(dir, name, AtFlags::empty()).op("remove"),
        };
        removed.map_err(|e| failed(entry, e))
    }

    /// The directory at `path`, made with its parents when it is missing.
    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<Rc<OwnedFd>, Error> {
        if let Some(fd) = self.open.get(path) {
            return Ok(Rc::clone(fd));
        }
        let existing = match self.existing(path) {
            // Perhaps a whiteout is where a directory is to be.
            Err(e) if e.is(libc::ENOTDIR) && self.copying.is_none() => None,
            found => found.map_err(|e| failed(entry, e))?,
        };
        let fd = match existing {
            Some(fd) => fd,
            None => self.make_parents(path).map_err(|e| match e.errno() {
                // What is in the way was no directory when it was followed: a link that dangles in the root.
                libc::EEXIST => refused(
                    entry,
                    "its name leads through a symbolic link to where the archive has no directory",
                ),
                _ => failed(entry, e),
            })?,
        };
        Ok(self.remember(path.to_vec(), Rc::new(fd)))
    }

    /// The directory at `path`, links followed inside the root; `None` when it is missing.
    fn existing(&self, path: &[u8]) -> sys::Result<Option<OwnedFd>> {
        let path = if path.is_empty() { b"." } else { path };
        match open_in(&*self.root, as_path(path), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if e.is(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn make_parents(&self, path: &[u8]) -> sys::Result<OwnedFd> {
        let mut dir = self.root.as_fd().try_clone_to_owned().op("dup")?;
        let mut end = 0;
        for part in path.split(|&b| b == b'/') {
            end += part.len();
            dir = match self.existing(&path[..end]) {
                Ok(Some(below)) => below,
                Ok(None) => self.make_parent(&dir, part)?,
                Err(e) if e.is(libc::ENOTDIR) && self.copying.is_none() && is_whiteout(&dir, part)? => {
                    rustix::fs::unlinkat(&dir, as_path(part), AtFlags::empty()).op("remove a whiteout")?;
                    let below = self.make_parent(&dir, part)?;
                    attributes::make_opaque(&below)?;
                    below
                }
                Err(e) => return Err(e),
            };
            end += 1;
        }
        Ok(dir)
    }

    /// A directory that has no entry of its own, or none yet. What a whiteout of the same layer hides does not shine
    /// through it.
    fn make_parent(&self, dir: &OwnedFd, name: &[u8]) -> sys::Result<OwnedFd> {
        let path = as_path(name);
        rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(0o700)).op_on("mkdir", path)?;
        let below = open_directory(dir, path).op_on("open", path)?;
        rustix::fs::fchmod(&below, Mode::from_raw_mode(IMPLICIT_MODE)).op_on("chmod", path)?;
        if self.marks && is_marked(dir, name)? {
            attributes::make_opaque(&below)?;
        }
        Ok(below)
    }

    fn remember(&mut self, path: Vec<u8>, fd: Rc<OwnedFd>) -> Rc<OwnedFd> {
        if self.open.len() >= OPEN_DIRECTORIES {
            self.open.clear();
        }
        self.open.insert(path, Rc::clone(&fd));
        fd
    }
}

fn refused(entry: &Entry, reason: &str) -> Error {
    Error::Refused { entry: printable(&entry.name), reason: reason.into() }
}

fn failed(entry: &Entry, source: sys::Error) -> Error {
    Error::Sys { entry: printable(&entry.name), source }
}

fn create(dir: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

fn open_directory(dir: &OwnedFd, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn stat_at(dir: &OwnedFd, name: &[u8]) -> sys::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(dir, as_path(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e).op("stat"),
    }
}

fn kind_at(dir: &OwnedFd, name: &[u8]) -> sys::Result<Option<FileType>> {
    Ok(stat_at(dir, name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
}

fn is_whiteout(dir: &OwnedFd, name: &[u8]) -> sys::Result<bool> {
    let device = |stat: rustix::fs::Stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    };
    Ok(stat_at(dir, name)?.is_some_and(device))
}

fn is_marked(dir: &OwnedFd, name: &[u8]) -> sys::Result<bool> {
    match kind_at(dir, &mark_of(name)) {
        // So long a name has no mark.
        Err(e) if e.is(libc::ENAMETOOLONG) => Ok(false),
        kind => Ok(kind?.is_some()),
    }
}

/// The entry's content into `file`, extents at their places, holes left out.
fn write_content<R: std::io::BufRead>(
    file: &OwnedFd,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<(), Error> {
    let Some(map) = &entry.sparse else {
        while write_piece(file, None, u64::MAX, entry, reader)?.is_some() {}
        return Ok(());
    };
    for extent in &map.extents {
        let mut done = 0;
        while done < extent.length {
            let at = extent.offset + done;
            done +=
                write_piece(file, Some(at), extent.length - done, entry, reader)?.unwrap_or(extent.length);
        }
    }
    rustix::fs::ftruncate(file, map.real_size).op("set length").map_err(|e| failed(entry, e))
}

/// Writes at most `most` bytes of what the reader has at hand; `None` at the content's end.
fn write_piece<R: std::io::BufRead>(
    file: &OwnedFd,
    at: Option<u64>,
    most: u64,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<Option<u64>, Error> {
    let piece = reader.content()?;
    if piece.is_empty() {
        return Ok(None);
    }
    let piece = &piece[..piece.len().min(usize::try_from(most).unwrap_or(usize::MAX))];
    let written = match at {
        Some(at) => rustix::io::pwrite(file, piece, at),
        None => rustix::io::write(file, piece),
    };
    match written {
        Ok(0) => Err(failed(entry, sys::Error::new("write", libc::EIO))),
        Ok(n) => {
            reader.consume(n);
            Ok(Some(n as u64))
        }
        Err(Errno::INTR) => Ok(Some(0)),
        Err(e) => Err(failed(entry, sys::Error::new("write", e.raw_os_error()))),
    }
}
