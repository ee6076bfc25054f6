//! Listings of merged directories.
//!
//! A listing is made when a reader begins and stays while readers go on in it. An entry keeps its offset for as long
//! as the listing is remembered, over all that is created and removed meanwhile; new names come behind all others.
//! So a reader sees every name that was there all the time exactly once.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attr::Attr;
use super::file::size_of;
use super::inode::Found;
use super::number::Key;
use super::threads::by_deputy_if;
use super::whiteout::{Form, is_whiteout};
use super::{LayerIndex, Overlay, Result, lock};

/// Entries beyond which a listing is long: of those only a few are remembered.
const LONG: usize = 10_000;
const LONG_ONES: usize = 4;
/// Size of a directory on the disk beyond which listing it takes long: a few hundred names.
const LARGE_DIRECTORY: u64 = 16 << 10;
/// The offset behind `..`; those of entries follow.
const FIRST: u64 = 2;

#[derive(Debug)]
pub(super) struct Listing {
    stale: AtomicBool,
    items: Vec<Item>,
    next: u64,
}

/// One name.
#[derive(Debug)]
pub(super) struct Item {
    pub name: Box<[u8]>,
    pub kind: FileType,
    pub layer: LayerIndex,
    pub key: Key,
    /// Of the entry behind this one.
    pub offset: u64,
}

/// An entry of a listing on its way into a reply.
pub(super) struct Line<'a> {
    pub name: &'a [u8],
    /// Where the next read goes on.
    pub offset: u64,
    pub what: Seen<'a>,
}

/// `.` and `..`, or a name.
pub(super) enum Seen<'a> {
    Dot(u64),
    Item(&'a Item),
}

impl Listing {
    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// The entries behind `offset`.
    pub(super) fn after(&self, offset: u64) -> &[Item] {
        let start = self.items.partition_point(|item| item.offset <= offset);
        self.items.get(start..).unwrap_or_default()
    }
}

impl Overlay {
    /// Hands over entries behind `offset` until `add` says that there is room for no more.
    pub(super) fn list(
        &self,
        id: u64,
        offset: u64,
        mut add: impl FnMut(Line<'_>) -> Result<bool>,
    ) -> Result<()> {
        let listing = self.listing(id, offset)?;
        if offset < 1 && add(Line { name: b".", offset: 1, what: Seen::Dot(id) })? {
            return Ok(());
        }
        if offset < FIRST {
            let above = Seen::Dot(self.parent_of(id)?);
            if add(Line { name: b"..", offset: FIRST, what: above })? {
                return Ok(());
            }
        }
        for item in listing.after(offset) {
            if add(Line { name: &item.name, offset: item.offset, what: Seen::Item(item) })? {
                break;
            }
        }
        Ok(())
    }

    /// What a reader at `offset` reads from: at the beginning what there is now, later what it began with.
    fn listing(&self, id: u64, offset: u64) -> Result<Arc<Listing>> {
        let known = lock(&self.listings).get(id);
        if let Some(known) = &known
            && (offset > 0 || !known.stale.load(Ordering::Relaxed))
        {
            return Ok(Arc::clone(known));
        }
        let (layers, removed) = {
            let table = lock(&self.table);
            (table.layers(id)?, table.get(id)?.pinned.is_some())
        };
        let mut dirs = Vec::with_capacity(layers.len());
        for layer in layers.into_iter().filter(|_| !removed) {
            dirs.push((layer, self.dir(id, layer)?));
        }
        // Marked before it is read: what changes meanwhile makes the next reader look again.
        let size = |(_, dir): &(_, Arc<OwnedFd>)| rustix::fs::fstat(dir).map_or(0, |stat| size_of(&stat));
        let is_long = || dirs.iter().any(|dir| size(dir) > LARGE_DIRECTORY);
        let (hides, to_read) = (self.hides, dirs.clone());
        let list = move || merge(hides, &to_read).map(|items| Arc::new(number(items, known.as_deref())));
        let fresh = by_deputy_if(is_long, list).unwrap_or(Err(Errno::IO))?;
        {
            let mut listings = lock(&self.listings);
            if fresh.items.len() > LONG {
                listings.shrink(LONG_ONES).clear();
            }
            listings.put(id, Arc::clone(&fresh)).clear();
        }
        if !lock(&self.table).knows(id) {
            let _gone = lock(&self.listings).remove(id);
        }
        Ok(fresh)
    }

    /// What the kernel is told about an entry along with its name; counts as a lookup. `None`: it is gone.
    pub(super) fn look_at(&self, parent: u64, item: &Item) -> Result<Option<Attr>> {
        let found = if item.kind == FileType::Directory {
            self.find(parent, &item.name)?
        } else {
            match self.find_here(parent, item.layer, &item.name)? {
                Some(stat) if !is_whiteout(&stat) && Key::of(&stat) == item.key => {
                    Some(Found { layer: item.layer, stat, below: Vec::new() })
                }
                // Replaced or brought up since.
                _ => self.find(parent, &item.name)?,
            }
        };
        found.map(|found| self.enter(parent, &item.name, found)).transpose()
    }

    pub(super) fn number_of(&self, item: &Item) -> u64 {
        lock(&self.table).number(item.key)
    }

    /// A number that is nobody's: the kernel's forgets of it mean nothing.
    pub(super) fn stranger(&self) -> u64 {
        lock(&self.table).fresh()
    }

    /// The directory above, for `..`.
    pub(super) fn parent_of(&self, id: u64) -> Result<u64> {
        lock(&self.table).step_up(id).map(|(parent, _)| parent)
    }
}

/// The names that the directories `dirs`, from the top down, show together.
pub(super) fn merge(hides: Form, dirs: &[(LayerIndex, Arc<OwnedFd>)]) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut seen: HashSet<Box<[u8]>> = HashSet::new();
    for (index, (layer, dir)) in dirs.iter().enumerate() {
        let (more, first) = (index + 1 < dirs.len(), index == 0);
        let mut hidden = Vec::new();
        for item in read_layer(*layer, dir)? {
            if let Some(name) = hides.hidden_by(&item.name) {
                hidden.push(Box::from(name));
                continue;
            }
            if !first && seen.contains(&item.name) {
                continue;
            }
            if more {
                hidden.push(item.name.clone());
            }
            if item.kind != FileType::Unknown {
                items.push(item);
            }
        }
        seen.extend(hidden);
    }
    Ok(items)
}

/// One layer's names as they are there; whiteouts are of no known kind.
fn read_layer(layer: LayerIndex, dir: &OwnedFd) -> Result<Vec<Item>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    let device = rustix::fs::fstat(&open)?.st_dev;
    let mut items = Vec::new();
    for entry in Dir::new(open)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let mut kind = entry.file_type();
        if matches!(kind, FileType::CharacterDevice | FileType::Unknown) {
            kind = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => FileType::Unknown,
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e),
            };
        }
        let (name, key) = (Box::from(name.to_bytes()), Key::new(device, entry.ino()));
        items.push(Item { name, kind, layer, key, offset: 0 });
    }
    Ok(items)
}

/// Gives every entry its offset: the one that it has in `before`, or a new one.
fn number(mut items: Vec<Item>, before: Option<&Listing>) -> Listing {
    let mut next = before.map_or(FIRST, |b| b.next);
    let known: HashMap<&[u8], u64> =
        before.into_iter().flat_map(|b| b.items.iter().map(|i| (&*i.name, i.offset))).collect();
    for item in &mut items {
        item.offset = known.get(&*item.name).copied().unwrap_or_else(|| {
            next += 1;
            next
        });
    }
    if before.is_some() {
        items.sort_unstable_by_key(|item| item.offset);
    }
    Listing { stale: AtomicBool::new(false), items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(names: &[&str]) -> Vec<Item> {
        let item = |name: &&str| Item {
            name: name.as_bytes().into(),
            kind: FileType::RegularFile,
            layer: 0,
            key: Key::new(0, 0),
            offset: 0,
        };
        names.iter().map(item).collect()
    }

    fn names(items: &[Item]) -> String {
        items.iter().map(|i| String::from_utf8_lossy(&i.name).into_owned()).collect()
    }

    #[test]
    fn offsets_survive_what_comes_and_goes() {
        let first = number(items(&["a", "b", "c", "d"]), None);
        let at = first.after(FIRST)[1].offset;
        assert_eq!(names(first.after(at)), "cd");
        let second = number(items(&["x", "d", "b", "c"]), Some(&first));
        assert_eq!(names(second.after(at)), "cdx");
        assert_eq!(names(second.after(FIRST)), "bcdx");
        let third = number(items(&["a", "x"]), Some(&second));
        assert_eq!(names(third.after(FIRST)), "xa", "a name that comes again is a new one");
    }
}
