//! Where a container's directory is: in `containers/` while its row exists, in staging before and after.
//!
//! Making: fill `staging/container-<id>/`, insert the row, rename to `containers/<id>/`. Removing: rename back, drop
//! the row, delete. So a single directory is made for a container, and none for the journal. Whoever works on it
//! holds its lock, or the container's life lock. With both free it is a dead process's, and the row says what
//! becomes of it: with a row it goes to its place, without one it goes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation, Mode};
use rustix::io::Errno;

use super::STATE_FILE;
use crate::store::id::ContainerId;
use crate::store::lock::{held, lock_dir};
use crate::store::staging::Kind;
use crate::store::{Error, Layout, Result, Store};
use crate::sys::Context;

/// A container's directory that is being filled. Dropped before it is published, it is as if it had never been.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    store: &'a Store,
    dir: PathBuf,
    /// `None` once it is published.
    lock: Option<OwnedFd>,
}

impl Staged<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The row exists: so does the container, from here on.
    pub(super) fn publish(mut self, id: &ContainerId) -> Result<()> {
        self.store.move_tree(&self.dir, &self.store.container_dir(id))?;
        self.lock = None;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // A panic is a death: what it held is left as a kill would leave it.
        if self.lock.is_some() && !std::thread::panicking() {
            // What cannot be deleted is left to the collector.
            let _ = self.store.delete_tree(&self.dir);
        }
    }
}

impl Layout {
    fn staged_container_dir(&self, id: &ContainerId) -> PathBuf {
        self.staging_dir().join(Kind::Container.entry_name(id.as_str()))
    }

    /// What `look` finds in the container's directory, wherever that is at this moment.
    pub(in crate::store) fn look_in<T>(
        &self,
        id: &ContainerId,
        look: impl Fn(&Path) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let (place, staged) = (self.container_dir(id), self.staged_container_dir(id));
        // The first one again: it may have been on its way there.
        for dir in [&place, &staged, &place] {
            if let Some(found) = look(dir)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Locks the container's directory at its place, waiting for whoever brings it there or has it. `None` when
    /// it is not there in the end.
    pub(in crate::store) fn lock_place(&self, id: &ContainerId) -> Result<Option<OwnedFd>> {
        let at_place = || lock_dir(&self.container_dir(id), FlockOperation::LockExclusive);
        match at_place()? {
            Some(lock) => Ok(Some(lock)),
            None => {
                drop(lock_dir(&self.staged_container_dir(id), FlockOperation::LockExclusive)?);
                at_place()
            }
        }
    }
}

impl Store {
    /// An empty directory for a new container. Its id is fresh from the random numbers: nobody else works on it.
    pub(super) fn stage_container(&self, id: &ContainerId) -> Result<Staged<'_>> {
        let dir = self.staged_container_dir(id);
        loop {
            match fs::mkdir(&dir, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Ok(Err(e).op_on("create", &dir)?),
            }
            // It may be collected between the two.
            if let Some(lock) = lock_dir(&dir, FlockOperation::LockExclusive)? {
                return Ok(Staged { store: self, dir, lock: Some(lock) });
            }
        }
    }

    /// Takes the container's directory out of its place, to be deleted. `None` when there is none.
    pub(super) fn withdraw_container(&self, id: &ContainerId) -> Result<Option<PathBuf>> {
        let staged = self.staged_container_dir(id);
        match self.move_tree(&self.container_dir(id), &staged) {
            Ok(()) => Ok(Some(staged)),
            Err(Error::Sys(e)) if e.is(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts a withdrawn directory back: its row could not be dropped.
    pub(super) fn restore_container(&self, id: &ContainerId) -> Result<()> {
        self.move_tree(&self.staged_container_dir(id), &self.container_dir(id))
    }

    /// Finishes or undoes what a dead process did to a container's directory, whose lock the caller holds.
    pub(in crate::store) fn settle_container(&self, id: &ContainerId) -> Result<()> {
        let staged = self.staged_container_dir(id);
        if held(&staged.join(STATE_FILE))? == Some(true) {
            return Ok(());
        }
        let recorded = self.has_row(Kind::Container, id.as_str())?;
        if recorded && fs::lstat(self.container_dir(id)).is_err() {
            return self.restore_container(id);
        }
        self.delete_tree(&staged)
    }
}
