//! Taking names away: where a layer below has the name too, a whiteout takes its place in one step.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::inode::Found;
use super::number::Key;
use super::place::Place;
use super::readdir::merge;
use super::{LayerIndex, Overlay, Result, checked, lock};

impl Overlay {
    pub(super) fn unlink(&self, parent: u64, name: &[u8]) -> Result<()> {
        let name = checked(name)?;
        let found = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        if found.kind() == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        self.remove(parent, name, &found)
    }

    pub(super) fn rmdir(&self, parent: u64, name: &[u8]) -> Result<()> {
        let name = checked(name)?;
        let found = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        if found.kind() != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        self.work()?;
        self.check_empty(parent, name, &found)?;
        self.upper_dir(parent)?;
        if found.layer == 0 {
            self.clear(parent, name, &found)?;
        }
        self.remove(parent, name, &found)
    }

    fn remove(&self, parent: u64, name: &[u8], found: &Found) -> Result<()> {
        let dir = self.upper_dir(parent)?;
        let pin = self.pin_child(parent, name, found)?;
        let below = self.layers_below(parent)?;
        let hide = self.shows(parent, &below, name)?;
        if found.layer > 0 {
            self.hides.hide(&dir, name)?;
        } else if hide {
            self.replace_by_whiteout(&dir, name, found.kind())?;
        } else {
            rustix::fs::unlinkat(&dir, name, removal_of(found.kind()))?;
        }
        self.now_gone(parent, name, found, pin);
        self.changed(parent);
        Ok(())
    }

    /// The name, which is in the upper directory `dir`, becomes a whiteout.
    fn replace_by_whiteout(&self, dir: &OwnedFd, name: &[u8], kind: FileType) -> Result<()> {
        if self.hides == super::whiteout::Form::Dotted {
            self.hides.hide(dir, name)?;
            return rustix::fs::unlinkat(dir, name, removal_of(kind));
        }
        let (work, temporary) = (self.work()?, self.temporary_name());
        self.hides.hide(work, temporary.as_bytes())?;
        if kind == FileType::Directory {
            rustix::fs::renameat_with(work, temporary.as_str(), dir, name, RenameFlags::EXCHANGE)?;
            rustix::fs::unlinkat(work, temporary.as_str(), AtFlags::REMOVEDIR)
        } else {
            rustix::fs::renameat(work, temporary.as_str(), dir, name)
        }
    }

    /// A descriptor of what is about to lose its name, for those who have it open.
    pub(super) fn pin_child(&self, parent: u64, name: &[u8], found: &Found) -> Result<Arc<OwnedFd>> {
        Place::Name { dir: self.dir(parent, found.layer)?, name: Box::from(name) }.pin()
    }

    /// Tells the table that `name` no longer leads to what was found.
    pub(super) fn now_gone(&self, parent: u64, name: &[u8], found: &Found, pin: Arc<OwnedFd>) {
        let is_dir = found.kind() == FileType::Directory;
        let id = {
            let mut table = lock(&self.table);
            let id = table.known_as(parent, name, found);
            if let Some(id) = id {
                table.unlinked(id, parent, name, pin);
            }
            if found.layer == 0 && (is_dir || found.stat.st_nlink == 1) {
                table.forget_number(Key::of(&found.stat));
            }
            id
        };
        if let Some(id) = id.filter(|_| is_dir) {
            let layers = std::iter::once(found.layer).chain(found.below.iter().copied());
            let _gone: Vec<_> = {
                let mut dirs = lock(&self.dirs);
                layers.filter_map(|layer| dirs.remove((id, layer))).collect()
            };
        }
    }

    /// The layers of a directory that is in the upper one, without that.
    pub(super) fn layers_below(&self, id: u64) -> Result<Vec<LayerIndex>> {
        let mut layers = lock(&self.table).layers(id)?;
        layers.retain(|layer| *layer > 0);
        Ok(layers)
    }

    /// Refuses a directory in which there is anything to be seen.
    pub(super) fn check_empty(&self, parent: u64, name: &[u8], found: &Found) -> Result<()> {
        let layers = std::iter::once(found.layer).chain(found.below.iter().copied());
        let mut dirs = Vec::with_capacity(1 + found.below.len());
        for layer in layers {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(self.dir(parent, layer)?, name, flags, Mode::empty())?;
            dirs.push((layer, Arc::new(dir)));
        }
        if merge(self.hides, &dirs)?.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    /// Removes the whiteouts from an upper directory that shows nothing. It is made opaque first: what they hide
    /// shows at no moment.
    pub(super) fn clear(&self, parent: u64, name: &[u8], found: &Found) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(self.dir(parent, 0)?, name, flags, Mode::empty())?;
        let mut marks = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                marks.push(Box::<[u8]>::from(name));
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        if !found.below.is_empty() {
            self.hides.make_opaque(&dir)?;
        }
        marks.iter().try_for_each(|mark| rustix::fs::unlinkat(&dir, &**mark, AtFlags::empty()))?;
        self.hides.unmark_opaque(&dir)
    }
}

fn removal_of(kind: FileType) -> AtFlags {
    if kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() }
}
