//! Renaming.
//!
//! A directory that a lower layer has a part in cannot be moved: its parts would have to move with it. That is
//! `EXDEV`, as the kernel's overlay has it, and mv(1) copies instead.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::inode::Found;
use super::number::Key;
use super::whiteout::{Form, is_whiteout};
use super::{Overlay, Result, checked, lock};

/// What to do with what has the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Replace,
    Refuse,
    Exchange,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub dir: u64,
    pub name: &'a [u8],
}

impl Overlay {
    pub(super) fn rename(&self, from: At<'_>, to: At<'_>, target: Target) -> Result<()> {
        let (old, new) = (checked(from.name)?, checked(to.name)?);
        if self.hides.reserves(new) {
            return Err(Errno::INVAL);
        }
        self.work()?;
        let source = self.find(from.dir, old)?.ok_or(Errno::NOENT)?;
        let there = self.find(to.dir, new)?;
        match (target, &there) {
            (Target::Refuse, Some(_)) => return Err(Errno::EXIST),
            (Target::Exchange, None) => return Err(Errno::NOENT),
            _ => {}
        }
        if there.as_ref().is_some_and(|there| Key::of(&there.stat) == Key::of(&source.stat)) {
            return Ok(());
        }
        if !can_move(&source) {
            return Err(Errno::XDEV);
        }
        match there {
            Some(there) if target == Target::Exchange => self.exchange(from, to, &source, &there),
            there => self.move_over(from, to, source, there),
        }
    }

    fn move_over(&self, from: At<'_>, to: At<'_>, source: Found, there: Option<Found>) -> Result<()> {
        let is_dir = source.kind() == FileType::Directory;
        if let Some(there) = &there {
            match (is_dir, there.kind() == FileType::Directory) {
                (true, false) => return Err(Errno::NOTDIR),
                (false, true) => return Err(Errno::ISDIR),
                (true, true) => self.check_empty(to.dir, to.name, there)?,
                (false, false) => {}
            }
        }
        let source = self.brought_up(from, source)?;
        let dirs = (self.upper_dir(from.dir)?, self.upper_dir(to.dir)?);
        self.cover(from, to, &source)?;
        let mut pin = None;
        if let Some(there) = &there {
            if is_dir && there.layer == 0 {
                self.clear(to.dir, to.name, there)?;
            }
            pin = Some(self.pin_child(to.dir, to.name, there)?);
        }
        let hide = self.shows(from.dir, &self.layers_below(from.dir)?, from.name)?;
        let over_whiteout = self.find_here(to.dir, 0, to.name)?.is_some_and(|stat| is_whiteout(&stat));
        self.move_upper((&dirs.0, from.name), (&dirs.1, to.name), hide, over_whiteout && (is_dir || hide))?;
        if let (Some(there), Some(pin)) = (&there, pin) {
            self.now_gone(to.dir, to.name, there, pin);
        }
        self.now_at(from, to, &source);
        Ok(())
    }

    /// `hide`: a whiteout has to be left behind. `swap`: there is one where the object goes, and they change places.
    fn move_upper(
        &self,
        from: (&Arc<OwnedFd>, &[u8]),
        to: (&Arc<OwnedFd>, &[u8]),
        hide: bool,
        swap: bool,
    ) -> Result<()> {
        let step = |flags| rustix::fs::renameat_with(from.0, from.1, to.0, to.1, flags);
        if self.hides == Form::Dotted {
            if hide {
                self.hides.hide(from.0, from.1)?;
            }
            step(RenameFlags::empty())?;
            return self.hides.unhide(to.0, to.1);
        }
        if swap {
            step(RenameFlags::EXCHANGE)?;
            return if hide { Ok(()) } else { rustix::fs::unlinkat(from.0, from.1, AtFlags::empty()) };
        }
        if !hide {
            return step(RenameFlags::empty());
        }
        match step(RenameFlags::WHITEOUT) {
            Err(Errno::INVAL | Errno::PERM) => {
                step(RenameFlags::empty())?;
                self.hides.hide(from.0, from.1)
            }
            other => other,
        }
    }

    fn exchange(&self, from: At<'_>, to: At<'_>, source: &Found, there: &Found) -> Result<()> {
        if !can_move(there) {
            return Err(Errno::XDEV);
        }
        let source = self.brought_up(from, source.clone())?;
        let there = self.brought_up(to, there.clone())?;
        let dirs = (self.upper_dir(from.dir)?, self.upper_dir(to.dir)?);
        self.cover(from, to, &source)?;
        self.cover(to, from, &there)?;
        rustix::fs::renameat_with(&dirs.0, from.name, &dirs.1, to.name, RenameFlags::EXCHANGE)?;
        let ids = {
            let mut table = lock(&self.table);
            (table.known_as(from.dir, from.name, &source), table.known_as(to.dir, to.name, &there))
        };
        let mut table = lock(&self.table);
        if let Some(id) = ids.0 {
            table.rename(id, to.dir, to.name);
        }
        if let Some(id) = ids.1 {
            table.rename(id, from.dir, from.name);
        }
        drop(table);
        self.changed(from.dir);
        self.changed(to.dir);
        Ok(())
    }

    /// Brings up what is to be moved. As it is found then.
    fn brought_up(&self, at: At<'_>, found: Found) -> Result<Found> {
        if found.layer == 0 {
            return Ok(found);
        }
        let known = lock(&self.table).known_as(at.dir, at.name, &found);
        match known {
            Some(id) => self.copy_up(id)?,
            None => {
                // The kernel moves only what it knows; whoever else asks pays for one lookup.
                let attr = self.enter(at.dir, at.name, found)?;
                let done = self.copy_up(attr.id);
                self.forget(attr.id, 1);
                done?;
            }
        }
        self.find(at.dir, at.name)?.ok_or(Errno::NOENT)
    }

    /// A directory that comes to where lower layers show through hides what they have under its new name.
    fn cover(&self, from: At<'_>, to: At<'_>, found: &Found) -> Result<()> {
        if found.kind() != FileType::Directory || self.layers_below(to.dir)?.is_empty() {
            return Ok(());
        }
        self.hides.make_opaque(self.pin_child(from.dir, from.name, found)?)
    }

    fn now_at(&self, from: At<'_>, to: At<'_>, found: &Found) {
        let mut table = lock(&self.table);
        if let Some(id) = table.known_as(from.dir, from.name, found) {
            table.rename(id, to.dir, to.name);
        }
        drop(table);
        self.changed(from.dir);
        self.changed(to.dir);
    }
}

/// Whether nothing below has a part in it.
fn can_move(found: &Found) -> bool {
    found.kind() != FileType::Directory || (found.layer == 0 && found.below.is_empty())
}
