//! Directories of several layers as the one directory that they are to a container, without a mount.
//!
//! Layers are in the kernel overlay's format: a character device 0:0 hides what the layers below have of that name,
//! and a directory with `user.overlay.opaque` hides all that they have in it. Where no such device can be made
//! ([`whiteout`](crate::sys::whiteout)), and nowhere else, a file `.wh.NAME` hides NAME, which is empty and of mode 0.
//! Only the topmost layer of a running container changes; no name is followed or looked at twice.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::sys::{Context, Result, whiteout};

const OPAQUE: &str = "user.overlay.opaque";
const DOTTED: &[u8] = b".wh.";

/// What hides a name in layers that are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hiding {
    /// A device alone.
    Devices,
    /// A mark, too.
    Marks,
}

impl Hiding {
    /// In layers of the file system that `dir` is on, where the container sees nothing of it.
    pub(super) fn probe(dir: &Path) -> Result<Self> {
        let devices = whiteout::can_be_made(crate::sys::path::open_directory(dir)?)?;
        Ok(if devices { Self::Devices } else { Self::Marks })
    }
}

/// What an entry of one layer says.
#[derive(Debug)]
pub(super) enum Says<'a> {
    /// The layers below do not show this name.
    Hidden(&'a OsStr),
    Is(Stat),
    /// It is not there any more.
    Nothing,
}

pub(super) fn says<'a>(dir: impl AsFd, name: &'a OsStr, hiding: Hiding) -> Result<Says<'a>> {
    Ok(match stat(dir, name)? {
        None => Says::Nothing,
        Some(stat) if is_whiteout(&stat) => Says::Hidden(name),
        Some(stat) if hiding == Hiding::Devices => Says::Is(stat),
        Some(stat) => match name.as_bytes().strip_prefix(DOTTED).filter(|of| is_name(of) && is_mark(&stat)) {
            Some(hidden) => Says::Hidden(OsStr::from_bytes(hidden)),
            None => Says::Is(stat),
        },
    })
}

/// Whether something can be hidden that is called so: other files that begin like a mark are what they are.
fn is_name(name: &[u8]) -> bool {
    !(matches!(name, b"" | b"." | b"..") || name.starts_with(DOTTED))
}

fn is_mark(stat: &Stat) -> bool {
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    plain && stat.st_size == 0 && stat.st_mode & 0o7777 == 0
}

/// Whether a file beside it hides `name`, which is not in `dir`.
fn is_marked(dir: impl AsFd, name: &OsStr, hiding: Hiding) -> Result<bool> {
    if hiding == Hiding::Devices {
        return Ok(false);
    }
    let mark = [DOTTED, name.as_bytes()].concat();
    match rustix::fs::statat(dir, mark.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(is_mark(&stat)),
        Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
        Err(e) => Err(e).op_on("stat", name),
    }
}

/// One directory of a merged tree: what each layer has of it, the topmost first.
#[derive(Debug)]
pub(super) struct Merged {
    parts: Vec<OwnedFd>,
    hiding: Hiding,
}

/// What a name is in a merged directory.
#[derive(Debug)]
pub(super) struct Node {
    /// Which of the directory's parts has it.
    part: usize,
    pub(super) stat: Stat,
}

impl Node {
    pub(super) fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0u8; 2];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value).is_ok_and(|n| value.get(..n) == Some(b"y"))
}

/// `None` where nothing is.
pub(super) fn stat(dir: impl AsFd, name: &OsStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, Path::new(name), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => other.op_on("stat", name).map(Some),
    }
}

/// `None` where it is gone or no directory any more.
pub(super) fn open(dir: impl AsFd, name: &OsStr) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, Path::new(name), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        other => other.op_on("open", name).map(Some),
    }
}

pub(super) fn names(dir: &OwnedFd) -> Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(dir).op("read a layer")? {
        let entry = entry.op("read a layer")?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.insert(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

impl Merged {
    /// The root of the tree that `layers` make, the topmost first.
    pub(super) fn of(layers: &[PathBuf], hiding: Hiding) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |dir: &PathBuf| rustix::fs::open(dir, flags, Mode::empty()).op_on("open", dir);
        Ok(Self { parts: layers.iter().map(open).collect::<Result<_>>()?, hiding })
    }

    /// A directory of the same tree of which nothing is there.
    pub(super) fn empty(&self) -> Self {
        Self { parts: Vec::new(), hiding: self.hiding }
    }

    /// What hides a name in the layers that it is made of.
    pub(super) fn hiding(&self) -> Hiding {
        self.hiding
    }

    /// What `name` is, hidden or not there being `None`.
    pub(super) fn look(&self, name: &OsStr) -> Result<Option<Node>> {
        for (part, dir) in self.parts.iter().enumerate() {
            match says(dir, name, self.hiding)? {
                Says::Is(stat) => return Ok(Some(Node { part, stat })),
                Says::Hidden(_) => return Ok(None),
                Says::Nothing if is_marked(dir, name, self.hiding)? => return Ok(None),
                Says::Nothing => {}
            }
        }
        Ok(None)
    }

    /// The layer's directory that holds `node`.
    pub(super) fn holder(&self, node: &Node) -> BorrowedFd<'_> {
        self.parts[node.part].as_fd()
    }

    /// The merged directory `name`. Empty where it is no directory.
    pub(super) fn enter(&self, name: &OsStr) -> Result<Self> {
        let mut parts = Vec::new();
        for dir in &self.parts {
            if stat(dir, name)?.is_none() {
                if is_marked(dir, name, self.hiding)? {
                    break;
                }
                continue;
            }
            // A file or a whiteout hides what is below it.
            let Some(part) = open(dir, name)? else { break };
            let opaque = is_opaque(&part);
            parts.push(part);
            if opaque {
                break;
            }
        }
        Ok(Self { parts, hiding: self.hiding })
    }

    /// The names in it, sorted.
    pub(super) fn names(&self) -> Result<Vec<CString>> {
        let mut all = BTreeSet::new();
        for dir in &self.parts {
            all.append(&mut names(dir)?);
        }
        let mut seen = Vec::with_capacity(all.len());
        for name in all {
            if self.look(OsStr::from_bytes(name.as_bytes()))?.is_some() {
                seen.push(name);
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_hides_names_alone() {
        let dir = tempfile::tempdir().unwrap();
        let layer = crate::sys::path::open_directory(dir.path()).unwrap();
        for (name, hidden) in [(".wh.a", Some("a")), (".wh..", None), (".wh...", None), (".wh..wh.a", None)] {
            std::fs::File::create(dir.path().join(name)).unwrap();
            rustix::fs::chmodat(&layer, name, Mode::empty(), AtFlags::empty()).unwrap();
            let said = says(&layer, OsStr::new(name), Hiding::Marks).unwrap();
            assert_eq!(matches!(said, Says::Hidden(_)), hidden.is_some(), "{name}: {said:?}");
            let said = says(&layer, OsStr::new(name), Hiding::Devices).unwrap();
            assert!(matches!(said, Says::Is(_)), "{name}: {said:?}");
        }
    }
}
