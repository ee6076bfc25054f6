//! The journal: every object of the store is made and removed by way of `staging/<kind>-<key>/`. Of what follows,
//! containers are the exception: see [`super::container::place`].
//!
//! The entry is a directory, flocked by its maker for as long as the work lasts. Making: build in the entry, rename
//! to the final name, insert the row, remove the entry. Removing: drop the row, rename into the entry, delete
//! there. Whoever finds an entry with a free lock finds the work of a dead process, and can tell from the rows
//! what became of it: an object without a row was not finished, or was being removed, and goes; everything in
//! the entry goes; the rest was finished. (Transfers that can go on are the exception: see [`super::partial`].) So
//! nothing is half there, whatever is killed when.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation, Mode};
use rustix::io::Errno;

use super::id::ContainerId;
use super::lock::lock_dir;
use super::{Error, Layout, Result, Store, layout, userns};
use crate::sys::{Context, tree};

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Container,
    Layer,
    Blob,
    /// A blob that is not whole yet. Outlives its process, so that a transfer can go on: see [`super::partial`].
    Partial,
    /// What an unfinished pull will come back for: see [`super::partial`].
    Lease,
    /// Has no final name: somewhere to work.
    Scratch,
}

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Container, "container"),
        (Self::Layer, "layer"),
        (Self::Blob, "blob"),
        (Self::Partial, "partial"),
        (Self::Lease, "lease"),
        (Self::Scratch, "scratch"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    pub(super) fn entry_name(self, key: &str) -> String {
        format!("{}-{key}", self.word())
    }

    /// The name an object has when it is finished.
    fn place(self, layout: &Layout, key: &str) -> Option<PathBuf> {
        match self {
            Self::Layer => Some(layout.layers_dir().join(key)),
            Self::Blob => Some(layout.blobs_dir().join(key)),
            Self::Container | Self::Partial | Self::Lease | Self::Scratch => None,
        }
    }

    /// Whether the entry may stay although no living process holds it.
    pub(super) fn outlives_its_process(self) -> bool {
        matches!(self, Self::Partial | Self::Lease)
    }
}

/// One entry of the journal, locked. Dropped before its work is done, it takes what it holds with it.
#[derive(Debug)]
pub(super) struct Entry {
    kind: Kind,
    key: String,
    dir: PathBuf,
    object: PathBuf,
    /// `None` once the entry is gone.
    lock: Option<OwnedFd>,
}

/// A directory to work in, gone when dropped, or with the next command when its process dies.
#[derive(Debug)]
pub struct Scratch(Entry);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0.object
    }
}

impl Entry {
    /// Where the object is built, or brought to be deleted.
    pub(super) fn object(&self) -> &Path {
        &self.object
    }

    pub(super) fn is(&self, kind: Kind, key: &str) -> bool {
        self.kind == kind && self.key == key
    }

    /// Gives the object its final name. What lies there is garbage: the caller holds the entry and found no row.
    pub(super) fn publish(&self, store: &Store) -> Result<()> {
        let Some(place) = self.kind.place(&store.layout, &self.key) else { return Ok(()) };
        if fs::lstat(&place).is_ok() {
            store.move_tree(&place, &self.dir.join("garbage"))?;
            store.move_tree(&self.object, &place)?;
            return store.delete_tree(&self.dir.join("garbage"));
        }
        store.move_tree(&self.object, &place)
    }

    /// Takes the object's final name away. That there is none is no error.
    pub(super) fn withdraw(&self, store: &Store) -> Result<()> {
        let Some(place) = self.kind.place(&store.layout, &self.key) else { return Ok(()) };
        match store.move_tree(&place, &self.object) {
            Err(Error::Sys(e)) if e.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// The work is done and the object is elsewhere: the entry goes.
    pub(super) fn finish(mut self) {
        self.discard();
    }

    /// The entry stays as it is, for another process to go on with.
    pub(super) fn keep(mut self) {
        self.lock = None;
    }

    fn discard(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        if fs::rmdir(&self.dir).is_err() {
            // What its owner may not delete, the collector does in the user namespace.
            let _ = remove_in(&self.dir);
        }
        // Only now: an entry that nobody holds is a dead process's.
        drop(lock);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A panic is a death: its entry is left as a kill would leave it.
        if !std::thread::panicking() {
            self.discard();
        }
    }
}

impl Layout {
    /// Makes and locks an entry, waiting for whoever has it.
    pub(super) fn stage(&self, kind: Kind, key: &str) -> Result<Entry> {
        let dir = self.staging_dir().join(kind.entry_name(key));
        loop {
            match fs::mkdir(&dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Ok(Err(e).op_on("create", &dir)?),
            }
            // The entry may be collected between the two, or vanish while its lock was waited for.
            if let Some(lock) = lock_dir(&dir, FlockOperation::LockExclusive)? {
                let object = dir.join("object");
                return Ok(Entry { kind, key: key.into(), dir, object, lock: Some(lock) });
            }
        }
    }

    /// As [`Layout::stage`]; `None` when somebody has it.
    pub(super) fn try_stage(&self, kind: Kind, key: &str) -> Result<Option<Entry>> {
        let dir = self.staging_dir().join(kind.entry_name(key));
        loop {
            match fs::mkdir(&dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Ok(Err(e).op_on("create", &dir)?),
            }
            match lock_dir(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(Some(lock)) => {
                    let object = dir.join("object");
                    return Ok(Some(Entry { kind, key: key.into(), dir, object, lock: Some(lock) }));
                }
                Ok(None) => {}
                Err(Error::Sys(e)) if e.is(libc::EWOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    /// A fresh directory, mode 0700, on the store's file system.
    pub fn scratch(&self) -> Result<Scratch> {
        let entry = self.stage_scratch()?;
        fs::mkdir(&entry.object, Mode::RWXU).op_on("create", &entry.object)?;
        Ok(Scratch(entry))
    }

    pub(super) fn stage_scratch(&self) -> Result<Entry> {
        let mut bytes = [0u8; 8];
        crate::sys::random::fill(&mut bytes)?;
        self.stage(Kind::Scratch, &format!("{:016x}", u64::from_le_bytes(bytes)))
    }
}

impl Store {
    /// Makes and locks an entry; what a dead process left in it is settled first.
    pub(super) fn stage_clean(&self, kind: Kind, key: &str) -> Result<Entry> {
        let entry = self.layout.stage(kind, key)?;
        if std::fs::read_dir(&entry.dir).op_on("read", &entry.dir)?.next().is_some() {
            self.settle(&entry)?;
        }
        Ok(entry)
    }

    /// As [`Store::stage_clean`]; `None` when somebody has the entry.
    pub(super) fn try_stage_clean(&self, kind: Kind, key: &str) -> Result<Option<Entry>> {
        let Some(entry) = self.layout.try_stage(kind, key)? else { return Ok(None) };
        if std::fs::read_dir(&entry.dir).op_on("read", &entry.dir)?.next().is_some() {
            self.settle(&entry)?;
        }
        Ok(Some(entry))
    }

    /// Finishes or undoes the work of dead processes. What cannot be collected stays for the next command and for
    /// `check` to report; it is no reason to refuse this one.
    pub(super) fn collect(&self) {
        let staging = self.layout.staging_dir();
        let Ok(entries) = std::fs::read_dir(&staging) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if let Err(error) = self.collect_entry(&name) {
                tracing::debug!(entry = %name.display(), %error, "left in staging");
            }
        }
    }

    fn collect_entry(&self, name: &OsStr) -> Result<()> {
        let Some((kind, key)) = parse(name) else { return Ok(()) };
        let dir = self.layout.staging_dir().join(name);
        let lock = match lock_dir(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(()),
            Err(Error::Sys(e)) if e.is(libc::EWOULDBLOCK) => return Ok(()),
            Err(e) => return Err(e),
        };
        if kind == Kind::Container {
            return self.settle_container(&key.parse()?);
        }
        let object = dir.join("object");
        let entry = Entry { kind, key: key.into(), dir, object, lock: Some(lock) };
        if kind.outlives_its_process() && super::partial::is_awaited(&entry) {
            entry.keep();
            return Ok(());
        }
        self.settle(&entry)?;
        entry.finish();
        Ok(())
    }

    /// Deletes what the entry holds, and the object at the final name unless a row says that it exists.
    fn settle(&self, entry: &Entry) -> Result<()> {
        self.empty(entry)?;
        if let Some(place) = entry.kind.place(&self.layout, &entry.key)
            && fs::lstat(&place).is_ok()
            && !self.has_row(entry.kind, &entry.key)?
        {
            entry.withdraw(self)?;
            self.empty(entry)?;
        }
        Ok(())
    }

    fn empty(&self, entry: &Entry) -> Result<()> {
        for child in std::fs::read_dir(&entry.dir).op_on("read", &entry.dir)? {
            self.delete_tree(&child.op_on("read", &entry.dir)?.path())?;
        }
        Ok(())
    }

    /// Deletes a tree in staging: as the user, and where that is not allowed as the root of the user namespace,
    /// whose sub-ids own what containers and images brought.
    pub fn delete_tree(&self, path: &Path) -> Result<()> {
        debug_assert!(path.starts_with(self.layout.staging_dir()), "only what was staged is deleted");
        match remove_in(path) {
            Err(Error::Sys(e)) if e.is(libc::EACCES) || e.is(libc::EPERM) => {
                userns::run_inside(self, || remove_in(path).map_err(|e| e.to_string()))
            }
            other => other,
        }
    }

    /// Deletes a container's writable layer where it lies: what a removal does on a disk that has no room for its
    /// journal. The caller holds the life lock, and removes the container next.
    pub(super) fn empty_container(&self, id: &ContainerId) -> Result<()> {
        for name in ["upper", "work"] {
            let path = self.layout.container_dir(id).join(name);
            match remove_in(&path) {
                Err(Error::Sys(e)) if e.is(libc::EACCES) || e.is(libc::EPERM) => {
                    userns::run_inside(self, || remove_in(&path).map_err(|e| e.to_string()))?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Renames within the store. The kernel asks for the right to write in a directory that changes its parent,
    /// and the root of a layer may be read-only or a sub-id's: then the root of the user namespace does it.
    pub(super) fn move_tree(&self, from: &Path, to: &Path) -> Result<()> {
        match fs::rename(from, to) {
            Err(Errno::ACCESS | Errno::PERM) => userns::run_inside(self, || {
                fs::rename(from, to).op_on("rename", from).map_err(|e| e.to_string())
            }),
            other => Ok(other.op_on("rename", from)?),
        }
    }

    pub(super) fn has_row(&self, kind: Kind, key: &str) -> Result<bool> {
        let digest = format!("sha256:{key}");
        let (sql, key) = match kind {
            Kind::Container => ("SELECT 1 FROM containers WHERE id = ?1", key),
            Kind::Layer => ("SELECT 1 FROM layers WHERE diff_id = ?1", digest.as_str()),
            Kind::Blob => ("SELECT 1 FROM blobs WHERE digest = ?1", digest.as_str()),
            Kind::Partial | Kind::Lease | Kind::Scratch => return Ok(false),
        };
        let found = self.db.prepare_cached(sql).and_then(|mut s| s.exists([key]));
        self.sql("look for a row", found)
    }
}

/// Kind and key of an entry's name. Whatever is not one of ours is left alone.
pub(super) fn parse(name: &OsStr) -> Option<(Kind, &str)> {
    let (word, key) = name.to_str()?.split_once('-')?;
    let (kind, _) = Kind::ALL.into_iter().find(|(_, w)| *w == word)?;
    (layout::file_name(key) == key && !key.is_empty()).then_some((kind, key))
}

fn remove_in(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW | fs::OFlags::CLOEXEC;
    let parent = match fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.op_on("open", parent)?,
    };
    Ok(tree::remove_tree(parent, Path::new(name))?)
}
