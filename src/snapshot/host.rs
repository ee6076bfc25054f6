//! A directory of the host as a root file system, with a throw-away writable layer over it.
//!
//! In a user namespace the kernel makes no overlay of a lower directory that has mounts below it, and none of one
//! that holds the upper directory. Such a directory becomes a tree: an overlay for each of its own
//! directories that allows it, a read-only bind for the rest. The store itself is never shown.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::{Error, MountPlan, Result};
use crate::store::Layout;
use crate::sys::Context;

/// One top-level name of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub kind: EntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    Overlay,
    ReadOnlyBind,
    Symlink(PathBuf),
    /// Covered by a mount of the container's own.
    MountPoint,
}

/// What every container mounts something of its own over.
const COVERED: &[&str] = &["proc", "sys", "dev"];

/// Refuses what can never be a root.
pub(super) fn check(path: &Path, write_through: bool) -> Result<()> {
    let unreadable = |source| Error::Unreadable { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).op_on("stat", path).map_err(unreadable)?;
    if !metadata.is_dir() {
        return Err(Error::NotADirectory(path.to_path_buf()));
    }
    std::fs::read_dir(path).op_on("open", path).map_err(unreadable)?;
    let real = std::fs::canonicalize(path).op_on("resolve", path).map_err(unreadable)?;
    if write_through && real == Path::new("/") { Err(Error::WriteThroughRoot) } else { Ok(()) }
}

/// The throw-away layer.
#[derive(Debug)]
pub(super) struct Writable {
    pub upper: PathBuf,
    pub work: PathBuf,
    pub volatile: bool,
}

pub(super) fn plan(path: &Path, layout: &Layout, writable: Writable) -> Result<MountPlan> {
    let Writable { upper, work, volatile } = writable;
    let source = std::fs::canonicalize(path).op_on("resolve", path)?;
    let store = std::fs::canonicalize(layout.root()).op_on("resolve", layout.root())?;
    let mounts = mount_points()?;
    let splits = |dir: &Path| store.starts_with(dir) || mounts.iter().any(|m| m != dir && m.starts_with(dir));
    if source != Path::new("/") && !splits(&source) {
        return Ok(MountPlan::Overlay { lowers: vec![source, layout.skeleton_dir()], upper, work, volatile });
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&source).op_on("read", &source)? {
        let entry = entry.op_on("read", &source)?;
        let Some(kind) = kind_of(&entry, splits(&entry.path())) else { continue };
        entries.push(Entry { name: entry.file_name(), kind });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(MountPlan::HostTree { source, entries, upper, work, hidden: vec![store], volatile })
}

/// One tree over all of it, whatever is mounted below; only the store is hidden.
pub(super) fn plan_fuse(path: &Path, layout: &Layout, writable: Writable) -> Result<MountPlan> {
    let Writable { upper, work, volatile } = writable;
    let source = std::fs::canonicalize(path).op_on("resolve", path)?;
    let store = std::fs::canonicalize(layout.root()).op_on("resolve", layout.root())?;
    let hidden = if store.starts_with(&source) { vec![store] } else { Vec::new() };
    Ok(MountPlan::Fuse { lowers: vec![source, layout.skeleton_dir()], upper, work, volatile, hidden })
}

/// Refuses what has more in it than can be copied: the store, or other file systems.
pub(super) fn check_copy(path: &Path, layout: &Layout) -> Result<()> {
    let source = std::fs::canonicalize(path).op_on("resolve", path)?;
    let store = std::fs::canonicalize(layout.root()).op_on("resolve", layout.root())?;
    let refused = |why| Err(Error::NotToBeCopied { path: path.to_path_buf(), why });
    if store.starts_with(&source) {
        return refused("kelp's own store, where the copy would be, is in it");
    }
    if mount_points()?.iter().any(|m| *m != source && m.starts_with(&source)) {
        return refused("other file systems are mounted in it");
    }
    Ok(())
}

/// `None`: left out (sockets, pipes, devices).
fn kind_of(entry: &std::fs::DirEntry, splits: bool) -> Option<EntryKind> {
    let kind = entry.file_type().ok()?;
    if kind.is_symlink() {
        return std::fs::read_link(entry.path()).ok().map(EntryKind::Symlink);
    }
    if kind.is_file() {
        return Some(EntryKind::ReadOnlyBind);
    }
    if !kind.is_dir() {
        return None;
    }
    let covered = COVERED.iter().any(|name| entry.file_name() == *name);
    Some(match (covered, splits) {
        (true, _) => EntryKind::MountPoint,
        (_, true) => EntryKind::ReadOnlyBind,
        _ => EntryKind::Overlay,
    })
}

/// The mount points of this mount namespace, field 5 of proc_pid_mountinfo(5).
fn mount_points() -> Result<Vec<PathBuf>> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).op_on("read", path)?;
    let field = |line: &[u8]| line.split(|b| *b == b' ').nth(4).map(unescape);
    Ok(text.split(|b| *b == b'\n').filter_map(field).collect())
}

/// Undoes the kernel's `\ooo` escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let value =
            octal.and_then(|o| std::str::from_utf8(o).ok()).and_then(|o| u8::from_str_radix(o, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable() -> Writable {
        Writable { upper: "u".into(), work: "w".into(), volatile: false }
    }

    #[test]
    fn mountinfo_escapes() {
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescape(br"/a\04"), Path::new(r"/a\04"));
        assert_eq!(unescape("/é".as_bytes()), Path::new("/é"));
    }

    #[test]
    fn a_plain_directory_is_one_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), &Layout::new(store.path()), writable()).unwrap();
        assert!(matches!(plan, MountPlan::Overlay { .. }));
    }

    #[test]
    fn the_store_is_hidden_and_never_below_an_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("home/kelp");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("etc", dir.path().join("link")).unwrap();
        let plan = plan(dir.path(), &Layout::new(&store), writable()).unwrap();
        let MountPlan::HostTree { entries, hidden, .. } = plan else { panic!("one overlay cannot do") };
        let kinds: Vec<_> = entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind.clone())).collect();
        assert_eq!(
            kinds,
            [
                ("etc", EntryKind::Overlay),
                ("home", EntryKind::ReadOnlyBind),
                ("link", EntryKind::Symlink("etc".into()))
            ]
        );
        assert_eq!(hidden, [std::fs::canonicalize(store).unwrap()]);
    }

    #[test]
    fn the_machines_root_is_never_written_through() {
        assert!(matches!(check(Path::new("/"), true), Err(Error::WriteThroughRoot)));
        assert!(matches!(check(Path::new("/proc/version"), false), Err(Error::NotADirectory(_))));
    }
}
