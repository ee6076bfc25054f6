//! Images to move about: a Debian root file system of 206 MB, in one layer and in ten.
//!
//! That is what the fixture of Debian 13 holds, filled up with programs and libraries of the one of Debian 12: files as
//! they are found in images, with their sizes, names and compressibility.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::harness::{Image, Release, Sandbox};

/// Bytes of all files together.
const SIZE: u64 = 206_000_000;

/// One entry of an archive.
struct Entry {
    path: PathBuf,
    header: Header,
    link: Option<PathBuf>,
    content: Vec<u8>,
}

/// The root file system, in so many layers of about the same size.
pub fn image(sandbox: &Sandbox, layers: u64) -> Image {
    let mut stack = Stack::new(layers);
    for entry in entries(&sandbox.debian_tar(Release::Trixie)) {
        stack.add(entry);
    }
    for mut entry in entries(&sandbox.debian_tar(Release::Bookworm)) {
        if stack.size + entry.content.len() as u64 > SIZE || entry.header.entry_type() == EntryType::Link {
            continue;
        }
        if entry.path.starts_with("usr") {
            entry.path = Path::new("opt/bookworm").join(entry.path);
            stack.add(entry);
        }
    }
    let archives = stack.layers.into_iter().map(|layer| layer.into_inner().unwrap());
    archives.fold(Image::default(), Image::archive)
}

fn entries(archive: &Path) -> impl Iterator<Item = Entry> {
    let mut all = Vec::new();
    for entry in Archive::new(File::open(archive).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap();
        let path = path.strip_prefix(".").unwrap_or(&path).to_owned();
        if path.as_os_str().is_empty() {
            continue;
        }
        let link = entry.link_name().unwrap();
        let link = link.map(|l| l.strip_prefix(".").unwrap_or(&l).to_owned());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        all.push(Entry { path, header: entry.header().clone(), link, content });
    }
    all.into_iter()
}

/// The layers so far.
struct Stack {
    layers: Vec<Builder<Vec<u8>>>,
    wanted: u64,
    /// Bytes of files.
    size: u64,
    directories: BTreeMap<PathBuf, Header>,
    /// Directories of the topmost layer.
    made: BTreeSet<PathBuf>,
    /// Files and the layer that has them.
    files: BTreeMap<PathBuf, (usize, Vec<u8>)>,
}

impl Stack {
    fn new(wanted: u64) -> Self {
        Self {
            layers: vec![Builder::new(Vec::new())],
            wanted,
            size: 0,
            directories: BTreeMap::new(),
            made: BTreeSet::new(),
            files: BTreeMap::new(),
        }
    }

    fn add(&mut self, entry: Entry) {
        let here = self.layers.len() - 1;
        if self.size >= SIZE / self.wanted * self.layers.len() as u64 && (here as u64) < self.wanted - 1 {
            self.layers.push(Builder::new(Vec::new()));
            self.made.clear();
        }
        self.above(&entry.path);
        let here = self.layers.len() - 1;
        let top = &mut self.layers[here];
        let Entry { path, mut header, link, mut content } = entry;
        self.size += content.len() as u64;
        match (header.entry_type(), link) {
            (EntryType::Link, Some(target)) => match self.files.get(&target) {
                // A layer is whole in itself: a link into another one is a copy.
                Some((layer, there)) if *layer != here => {
                    content.clone_from(there);
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(content.len() as u64);
                    top.append_data(&mut header, &path, content.as_slice()).unwrap();
                    self.size += content.len() as u64;
                }
                _ => top.append_link(&mut header, &path, target).unwrap(),
            },
            (_, Some(target)) => top.append_link(&mut header, &path, target).unwrap(),
            (EntryType::Directory, None) => {
                top.append_data(&mut header, &path, std::io::empty()).unwrap();
                self.made.insert(path.clone());
                self.directories.insert(path, header);
            }
            (_, None) => {
                top.append_data(&mut header, &path, content.as_slice()).unwrap();
                self.files.insert(path, (here, content));
            }
        }
    }

    /// The directories above `path`, which every layer has for itself, as docker writes them.
    fn above(&mut self, path: &Path) {
        let mut missing: Vec<&Path> = path.ancestors().skip(1).filter(|a| !self.made.contains(*a)).collect();
        missing.reverse();
        for dir in missing {
            if let Some(mut header) = self.directories.get(dir).cloned() {
                let top = self.layers.last_mut().unwrap();
                top.append_data(&mut header, dir, std::io::empty()).unwrap();
                self.made.insert(dir.to_owned());
            }
        }
    }
}
