//! The nodes that the kernel knows: their numbers, their places, and how often each was told.
//!
//! A node lives while the kernel has it or one of its children.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::number::{Key, Numbers};
use super::{LayerIndex, ROOT, Result};

/// What a name in a directory leads to.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub layer: LayerIndex,
    pub stat: Stat,
    /// Of a directory: the layers whose directories show through below, from the top down.
    pub below: Vec<LayerIndex>,
}

impl Found {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

#[derive(Debug)]
struct Node {
    lookups: u64,
    /// Nodes that have this one as their parent.
    children: u32,
    layer: LayerIndex,
    kind: FileType,
    /// It was asked for `security.capability`, and has none; the kernel asks again and again.
    powerless: bool,
    parent: u64,
    name: Box<[u8]>,
    key: Key,
    rest: Option<Box<Rest>>,
}

/// What few nodes have.
#[derive(Debug, Default)]
struct Rest {
    below: Vec<LayerIndex>,
    /// Its name was taken away, and this is how it is still reached.
    pinned: Option<Arc<OwnedFd>>,
    /// Further names of a file in a lower layer.
    aliases: Vec<(u64, Box<[u8]>)>,
    /// Of a directory, once it was asked.
    heritage: Option<Heritage>,
}

/// What a directory hands on to what is made in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heritage {
    /// An access control list.
    pub list: bool,
    /// Its group, because it is setgid; the id on disk.
    pub group: Option<u32>,
}

/// A node at one moment.
#[derive(Debug, Clone)]
pub(super) struct Where {
    pub id: u64,
    pub layer: LayerIndex,
    pub kind: FileType,
    pub parent: u64,
    pub name: Box<[u8]>,
    pub key: Key,
    pub pinned: Option<Arc<OwnedFd>>,
    /// More than one layer shows through.
    pub merged: bool,
}

/// How a found name was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    As(u64),
    /// It is a lower name of a file that was brought up under another one, and has to be linked to that.
    LinkTo(u64),
}

/// A node that nobody knows any more.
#[derive(Debug)]
pub(super) struct Gone {
    pub id: u64,
    /// Of a directory.
    pub layers: Vec<LayerIndex>,
    /// Dropped by whoever is told, who holds no lock.
    pub pinned: Option<Arc<OwnedFd>>,
}

#[derive(Debug)]
pub(super) struct Table {
    nodes: HashMap<u64, Node>,
    numbers: Numbers,
    /// Directories that can be reached by more than one path, as bind mounts in a lower layer can.
    twins: HashMap<(u64, Box<[u8]>), u64>,
    power_changes: u64,
}

impl Table {
    pub(super) fn new(root: &Found) -> Self {
        let key = Key::of(&root.stat);
        let mut table = Self {
            nodes: HashMap::new(),
            numbers: Numbers::new(key),
            twins: HashMap::new(),
            power_changes: 0,
        };
        let rest = Rest { below: root.below.clone(), ..Rest::default() };
        table.nodes.insert(
            ROOT,
            Node {
                lookups: 1,
                children: 0,
                layer: root.layer,
                kind: FileType::Directory,
                powerless: false,
                parent: ROOT,
                name: Box::default(),
                key,
                rest: Some(Box::new(rest)),
            },
        );
        table
    }

    pub(super) fn number(&mut self, key: Key) -> u64 {
        self.numbers.of(key)
    }

    /// A number that is no file's.
    pub(super) fn fresh(&mut self) -> u64 {
        self.numbers.fresh()
    }

    /// The kernel is told of `name` in `parent` once more.
    pub(super) fn enter(&mut self, parent: u64, name: &[u8], found: &Found) -> Result<Entered> {
        let key = Key::of(&found.stat);
        let mut id = self.number(key);
        let is_dir = found.kind() == FileType::Directory;
        if is_dir && self.nodes.get(&id).is_some_and(|n| !n.is_at(parent, name)) {
            let twin = (parent, Box::from(name));
            id = match self.twins.get(&twin) {
                Some(id) => *id,
                None => {
                    let id = self.fresh();
                    self.twins.insert(twin, id);
                    id
                }
            };
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            if node.key != key && !is_dir && node.layer < found.layer {
                return Ok(Entered::LinkTo(id));
            }
            node.lookups += 1;
            node.key = key;
            node.layer = found.layer;
            if is_dir {
                return Ok(Entered::As(id));
            }
            if !node.is_at(parent, name) {
                self.another_name(id, parent, name);
            }
            return Ok(Entered::As(id));
        }
        self.nodes.get_mut(&parent).ok_or(Errno::STALE)?.children += 1;
        let below = &found.below;
        let rest = (!below.is_empty()).then(|| Box::new(Rest { below: below.clone(), ..Rest::default() }));
        let (layer, kind, name) = (found.layer, found.kind(), Box::from(name));
        self.nodes.insert(
            id,
            Node { lookups: 1, children: 0, layer, kind, powerless: false, parent, name, key, rest },
        );
        Ok(Entered::As(id))
    }

    /// The node, which is no directory, was seen under another name than its own.
    fn another_name(&mut self, id: u64, parent: u64, name: &[u8]) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let lost = node.rest.as_ref().is_some_and(|r| r.pinned.is_some());
        if lost {
            self.rename(id, parent, name);
            if let Some(rest) = self.nodes.get_mut(&id).and_then(|n| n.rest.as_mut()) {
                rest.pinned = None;
                rest.aliases.retain(|(p, n)| !(*p == parent && **n == *name));
            }
            return;
        }
        if node.layer == 0 {
            // Any of its names does, and each is told when it is looked for.
            return;
        }
        let aliases = &mut node.rest.get_or_insert_default().aliases;
        if !aliases.iter().any(|(p, n)| *p == parent && **n == *name) {
            aliases.push((parent, Box::from(name)));
        }
    }

    /// One more lookup of a node that the kernel is told of otherwise.
    pub(super) fn again(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups += 1;
        }
    }

    /// The kernel dropped `count` lookups. The nodes that are gone with them.
    pub(super) fn forget(&mut self, id: u64, count: u64) -> Vec<Gone> {
        let mut gone = Vec::new();
        if let Some(node) = self.nodes.get_mut(&id).filter(|_| id != ROOT) {
            node.lookups = node.lookups.saturating_sub(count);
        }
        let mut id = id;
        while let Some(node) = self.nodes.get(&id) {
            if node.lookups > 0 || node.children > 0 || id == ROOT {
                break;
            }
            let parent = node.parent;
            let layers = self.layers(id).unwrap_or_default();
            let pinned = self.nodes.remove(&id).and_then(|node| node.rest?.pinned);
            gone.push(Gone { id, layers, pinned });
            if let Some(above) = self.nodes.get_mut(&parent) {
                above.children = above.children.saturating_sub(1);
            }
            id = parent;
        }
        gone
    }

    pub(super) fn get(&self, id: u64) -> Result<Where> {
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        let rest = node.rest.as_ref();
        Ok(Where {
            id,
            layer: node.layer,
            kind: node.kind,
            parent: node.parent,
            name: node.name.clone(),
            key: node.key,
            pinned: rest.and_then(|r| r.pinned.clone()),
            merged: rest.is_some_and(|r| !r.below.is_empty()),
        })
    }

    /// The node that the kernel knows under this name, if it knows any.
    pub(super) fn known_as(&mut self, parent: u64, name: &[u8], found: &Found) -> Option<u64> {
        let id = self.number(Key::of(&found.stat));
        let node = self.nodes.get(&id)?;
        if found.kind() != FileType::Directory || node.is_at(parent, name) {
            return Some(id);
        }
        self.twins.get(&(parent, Box::from(name))).copied().filter(|id| self.nodes.contains_key(id))
    }

    pub(super) fn knows(&self, id: u64) -> bool {
        self.nodes.contains_key(&id)
    }

    pub(super) fn has_key(&self, id: u64, key: Key) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.key == key)
    }

    /// The layers of a directory, from the top down.
    pub(super) fn layers(&self, id: u64) -> Result<Vec<LayerIndex>> {
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        if node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let below = node.rest.iter().flat_map(|r| r.below.iter().copied());
        Ok(std::iter::once(node.layer).chain(below).collect())
    }

    /// Parent and name of a node; the root is its own parent.
    pub(super) fn step_up(&self, id: u64) -> Result<(u64, &[u8])> {
        let node = self.nodes.get(&id).ok_or(Errno::STALE)?;
        Ok((node.parent, &node.name))
    }

    /// The node has been brought up: this is its file from now on.
    pub(super) fn brought_up(&mut self, id: u64, key: Key) {
        self.numbers.keep(key, id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.kind == FileType::Directory {
            let layer = node.layer;
            node.rest.get_or_insert_default().below.insert(0, layer);
        }
        node.layer = 0;
        node.key = key;
    }

    /// Further names of a lower file, which are to be links of what it becomes. Those that the kernel forgot are
    /// linked when it asks for them again.
    pub(super) fn take_aliases(&mut self, id: u64) -> Vec<(u64, Box<[u8]>)> {
        let rest = self.nodes.get_mut(&id).and_then(|n| n.rest.as_mut());
        let mut aliases = rest.map(|r| std::mem::take(&mut r.aliases)).unwrap_or_default();
        aliases.retain(|(parent, _)| self.nodes.contains_key(parent));
        aliases
    }

    pub(super) fn rename(&mut self, id: u64, parent: u64, name: &[u8]) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let old = std::mem::replace(&mut node.parent, parent);
        node.name = Box::from(name);
        if let Some(above) = self.nodes.get_mut(&parent) {
            above.children += 1;
        }
        if let Some(above) = self.nodes.get_mut(&old) {
            above.children = above.children.saturating_sub(1);
        }
        // A directory with a name is pinned by nothing.
        let _ = self.forget(old, 0);
    }

    /// The name is gone. The node under it is reached through `fd` from now on, unless it has another name.
    pub(super) fn unlinked(&mut self, id: u64, parent: u64, name: &[u8], fd: Arc<OwnedFd>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let at = node.is_at(parent, name);
        let rest = node.rest.get_or_insert_default();
        rest.aliases.retain(|(p, n)| !(*p == parent && **n == *name));
        if !at {
            return;
        }
        rest.pinned = Some(fd);
        let aliases = rest.aliases.clone();
        if let Some((parent, name)) = aliases.iter().find(|(parent, _)| self.nodes.contains_key(parent)) {
            self.another_name(id, *parent, name);
        }
    }

    /// The last name on disk is gone: its inode may come again for something else.
    pub(super) fn forget_number(&mut self, key: Key) {
        self.numbers.forget(key);
    }

    /// What is found with this key from now on is another file than the node that had it.
    pub(super) fn part(&mut self, key: Key) {
        let number = self.fresh();
        self.numbers.keep(key, number);
    }

    pub(super) fn heritage(&self, id: u64) -> Option<Heritage> {
        self.nodes.get(&id)?.rest.as_ref()?.heritage
    }

    /// `None`: it may have changed.
    pub(super) fn set_heritage(&mut self, id: u64, heritage: Option<Heritage>) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|n| n.kind == FileType::Directory) {
            node.rest.get_or_insert_default().heritage = heritage;
        }
    }

    /// Whether the file is known to have no capabilities.
    pub(super) fn is_powerless(&self, id: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.powerless)
    }

    /// How often capabilities were changed, of whichever file.
    pub(super) fn power_changes(&self) -> u64 {
        self.power_changes
    }

    /// The file had no capabilities at a moment after there had been so many changes.
    pub(super) fn set_powerless(&mut self, id: u64, changes: u64) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|_| changes == self.power_changes) {
            node.powerless = true;
        }
    }

    /// The file's capabilities have changed.
    pub(super) fn set_power(&mut self, id: u64) {
        self.power_changes += 1;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.powerless = false;
        }
    }
}

impl Node {
    fn is_at(&self, parent: u64, name: &[u8]) -> bool {
        self.parent == parent && *self.name == *name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(layer: LayerIndex, kind: FileType, inode: u64) -> Found {
        let mut stat = rustix::fs::stat("/").unwrap();
        (stat.st_dev, stat.st_ino, stat.st_mode) = (7, inode, kind.as_raw_mode());
        Found { layer, stat, below: Vec::new() }
    }

    fn entered(table: &mut Table, parent: u64, name: &[u8], found: &Found) -> u64 {
        match table.enter(parent, name, found).unwrap() {
            Entered::As(id) => id,
            Entered::LinkTo(id) => panic!("is to be linked to {id}"),
        }
    }

    fn table() -> Table {
        Table::new(&found(0, FileType::Directory, 2))
    }

    #[test]
    fn what_is_forgotten_comes_back_under_its_number() {
        let mut table = table();
        let dir = entered(&mut table, ROOT, b"d", &found(1, FileType::Directory, 10));
        let file = entered(&mut table, dir, b"f", &found(1, FileType::RegularFile, 11));
        assert_eq!(entered(&mut table, dir, b"f", &found(1, FileType::RegularFile, 11)), file);
        assert!(table.forget(dir, 1).is_empty(), "a child keeps its directory");
        assert!(table.forget(file, 1).is_empty(), "it was told twice");
        assert_eq!(table.forget(file, 1).iter().map(|gone| gone.id).collect::<Vec<_>>(), [file, dir]);
        assert_eq!(table.get(file).unwrap_err(), Errno::STALE);
        let dir = entered(&mut table, ROOT, b"d", &found(1, FileType::Directory, 10));
        assert_eq!(entered(&mut table, dir, b"f", &found(1, FileType::RegularFile, 11)), file);
    }

    #[test]
    fn what_was_brought_up_keeps_its_number() {
        let mut table = table();
        let file = entered(&mut table, ROOT, b"f", &found(1, FileType::RegularFile, 11));
        table.brought_up(file, Key::new(7, 99));
        table.forget(file, 1);
        assert_eq!(entered(&mut table, ROOT, b"f", &found(0, FileType::RegularFile, 99)), file);
        // A lower name of the same file belongs to it.
        let other = table.enter(ROOT, b"g", &found(1, FileType::RegularFile, 11)).unwrap();
        assert_eq!(other, Entered::LinkTo(file));
    }

    #[test]
    fn a_directory_seen_twice_is_two() {
        let mut table = table();
        let a = entered(&mut table, ROOT, b"a", &found(1, FileType::Directory, 10));
        let b = entered(&mut table, ROOT, b"b", &found(1, FileType::Directory, 10));
        assert_ne!(a, b);
        assert_eq!(entered(&mut table, ROOT, b"b", &found(1, FileType::Directory, 10)), b);
    }

    #[test]
    fn a_node_is_small() {
        // Beside it the table keeps its number; names are on the heap.
        assert!(size_of::<Node>() + size_of::<u64>() < 120, "{}", size_of::<Node>());
    }
}
