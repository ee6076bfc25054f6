//! Finding a name through the layers: one system call for each layer that could have it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attr::Attr;
use super::file::size_of;
use super::inode::{Entered, Found, Gone};
use super::threads::{LARGE, by_deputy_if};
use super::whiteout::is_whiteout;
use super::{LayerIndex, Overlay, Result, checked, lock};

impl Overlay {
    /// What the kernel is told about `name` in `parent`; counts as a lookup.
    pub(super) fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr> {
        let name = checked(name)?;
        if self.hides.reserves(name) {
            return Err(Errno::NOENT);
        }
        let found = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        self.enter(parent, name, found)
    }

    /// Makes the kernel know what was found.
    pub(super) fn enter(&self, parent: u64, name: &[u8], found: Found) -> Result<Attr> {
        let entered = lock(&self.table).enter(parent, name, &found)?;
        match entered {
            Entered::As(id) => {
                let merged = !found.below.is_empty();
                self.attr(id, found.stat, merged, || self.kept_at(parent, name, &found))
            }
            Entered::LinkTo(id) => {
                self.link_alias(id, parent, name)?;
                lock(&self.table).again(id);
                self.getattr(id)
            }
        }
    }

    /// What `name` leads to in the merged directory `parent`.
    pub(super) fn find(&self, parent: u64, name: &[u8]) -> Result<Option<Found>> {
        let (layers, removed) = {
            let table = lock(&self.table);
            (table.layers(parent)?, table.get(parent)?.pinned.is_some())
        };
        if removed {
            return Ok(None);
        }
        self.find_in(parent, &layers, name)
    }

    /// [`Overlay::find`] in some of a directory's layers, from the top down.
    pub(super) fn find_in(&self, parent: u64, layers: &[LayerIndex], name: &[u8]) -> Result<Option<Found>> {
        let mut top: Option<Found> = None;
        let mut last = 0;
        for layer in layers {
            let Some(stat) = self.find_here(parent, *layer, name)? else {
                if self.hides.has_mark(self.dir(parent, *layer)?, name)? {
                    break;
                }
                continue;
            };
            if is_whiteout(&stat) {
                break;
            }
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut top {
                None => top = Some(Found { layer: *layer, stat, below: Vec::new() }),
                Some(_) if !is_dir || self.is_opaque(parent, last, name)? => break,
                Some(found) => found.below.push(*layer),
            }
            if !is_dir {
                break;
            }
            last = *layer;
        }
        Ok(top)
    }

    /// Whether one of `layers` shows something under the name.
    pub(super) fn shows(&self, parent: u64, layers: &[LayerIndex], name: &[u8]) -> Result<bool> {
        for layer in layers {
            match self.find_here(parent, *layer, name)? {
                Some(stat) => return Ok(!is_whiteout(&stat)),
                None if self.hides.has_mark(self.dir(parent, *layer)?, name)? => return Ok(false),
                None => {}
            }
        }
        Ok(false)
    }

    /// What one layer has under the name, whiteouts included.
    pub(super) fn find_here(&self, parent: u64, layer: LayerIndex, name: &[u8]) -> Result<Option<Stat>> {
        match rustix::fs::statat(self.dir(parent, layer)?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn is_opaque(&self, parent: u64, layer: LayerIndex, name: &[u8]) -> Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(self.dir(parent, layer)?, name, flags, Mode::empty())?;
        self.hides.is_opaque(&dir)
    }

    /// The kernel dropped lookups of a node.
    pub(super) fn forget(&self, id: u64, count: u64) {
        // With the last descriptor of a file that has no name the disk clears it away. No lock is held meanwhile but this
        // one: who finds the disk full waits for it. It is let go last.
        let _clearing = self.clearing.read().unwrap_or_else(PoisonError::into_inner);
        let gone = lock(&self.table).forget(id, count);
        for Gone { id, layers, pinned } in gone {
            if layers.is_empty() {
                let file = lock(&self.files).remove(id);
                let pin = pinned.clone();
                let is_large =
                    |pin: Arc<OwnedFd>| rustix::fs::fstat(pin).is_ok_and(|stat| size_of(&stat) > LARGE);
                let _ = by_deputy_if(|| pin.is_some_and(is_large), move || drop((file, pinned)));
                continue;
            }
            let _listing = lock(&self.listings).remove(id);
            let _dirs: Vec<_> = {
                let mut dirs = lock(&self.dirs);
                layers.iter().filter_map(|layer| dirs.remove((id, *layer))).collect()
            };
        }
    }
}

impl Overlay {
    /// What a link holds.
    pub(super) fn readlink(&self, id: u64) -> Result<Vec<u8>> {
        let (node, place, _) = self.reach(id)?;
        if node.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        let target = rustix::fs::readlinkat(place.pin()?, "", Vec::new())?;
        Ok(target.into_bytes())
    }
}
