//! One layer archive to one directory on disk, in the kernel overlay's format.
//!
//! # Theory of operation
//!
//! The archive is hostile, and so is everything it has already written: a link made by one entry must not carry
//! a later one out of the layer. So no path string is ever handed to the kernel. A name is split into
//! components ([`name`]); its parent is opened below the root with `openat2(RESOLVE_IN_ROOT |
//! RESOLVE_NO_MAGICLINKS)`, and everything else happens with the parent's descriptor and the last component,
//! links not followed ([`tree`]). `RESOLVE_IN_ROOT` rather than `RESOLVE_BENEATH`, because a directory that is a
//! link within the same layer is followed inside the layer, as docker's chroot does; it cannot lead outside,
//! whatever it says. Lower layers are not looked at: a layer's tree depends on its archive alone, as docker's
//! does, so it can be shared by diff-id.
//!
//! The archive is read once, front to back ([`archive`]), and never held: memory is one chunk, one entry's
//! metadata, and the times of directories, which are set last. Every count and length has a bound ([`Limits`]
//! and the constants of `archive`). Where readers of tar disagree about what an archive says, it is refused
//! rather than guessed (sizes on entries without content, two extended headers in a row, a global header with more than
//! comments, a lone zero block); `agreement` holds this reader to three others.
//!
//! On any error the caller throws the staged directory away; nothing outside of it was touched.

mod archive;
mod attributes;
mod error;
mod name;
mod pax;
mod sparse;
mod tree;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::os::fd::OwnedFd;

pub use archive::{Entry, Kind, Reader};
pub use error::Error;

use crate::sys::space::Space;
use crate::sys::userns::IdMap;

/// What an archive may make at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// Bytes of content that are written.
    pub bytes: u64,
}

impl Limits {
    /// Entries of a layer. The largest images known have about a tenth.
    pub const ENTRIES: u64 = 4_000_000;
    /// Left free on the disk that is written to.
    pub const RESERVE: u64 = 32 << 20;

    /// As much as the file system of `dir` has room for, if it says.
    pub fn for_disk(dir: impl std::os::fd::AsFd) -> Result<Self, Error> {
        let space = Space::around(dir).map_err(|source| Error::Sys { entry: ".".into(), source })?;
        Ok(Self { entries: Self::ENTRIES, bytes: space.bytes.saturating_sub(Self::RESERVE) })
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: u64,
    /// Bytes of content of its files, hard links counted once.
    pub size: u64,
}

/// What unpacking into a directory that is in use keeps to: `cp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    pub owners: Owners,
    /// The directory itself stays as it is, whatever the archive says of it.
    pub keep_root: bool,
}

/// Whom the files belong to afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Whom the archive says.
    Archive,
    /// Root of the user namespace.
    Root,
    /// Whoever unpacks: outside of containers. Nothing is set-uid or set-gid, and of attributes only `user.` counts.
    Caller,
}

/// The top of the archive under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The first component of every name; `.` is before all of them.
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

impl Rename {
    fn apply(&self, name: &mut Vec<u8>) {
        let trimmed = name.strip_prefix(b"./").unwrap_or(name);
        let rest = match self.from.as_slice() {
            b"." => Some(if trimmed == b"." { b"" } else { trimmed }),
            from => trimmed.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with(b"/")),
        };
        if let Some(rest) = rest {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            *name = if rest.is_empty() { self.to.clone() } else { [&self.to, rest].join(&b'/') };
        }
    }
}

/// Unpacks the uncompressed archive `input` into the directory `into`, over what is there. Links on the way to an entry
/// are followed inside `into`; a directory never takes the place of anything else, nor the reverse.
pub fn copy_into(
    input: impl BufRead,
    into: OwnedFd,
    ids: &IdMap,
    copying: Copying,
    rename: Option<&Rename>,
) -> Result<Unpacked, Error> {
    let mut reader = Reader::new(input);
    let mut tree = tree::Tree::copying(into, ids, copying);
    let mut done = Unpacked::default();
    while let Some(mut entry) = reader.next_entry()? {
        if let Some(rename) = rename {
            rename.apply(&mut entry.name);
            if entry.kind == Kind::HardLink {
                rename.apply(&mut entry.link);
            }
        }
        done.entries += 1;
        done.size = done.size.saturating_add(entry.stored_size);
        tree.add(&entry, &mut reader)?;
    }
    tree.finish()?;
    reader.drain()?;
    Ok(done)
}

/// Unpacks the uncompressed archive `input` into the empty directory `root`, and reads `input` to its end. The
/// calling process must be root of the user namespace that `ids` describes.
pub fn unpack(input: impl BufRead, root: OwnedFd, ids: &IdMap, limits: Limits) -> Result<Unpacked, Error> {
    let mut reader = Reader::new(input);
    let mut tree = tree::Tree::new(root, ids);
    let mut done = Unpacked::default();
    while let Some(entry) = reader.next_entry()? {
        done.entries += 1;
        if done.entries > limits.entries {
            return Err(Error::TooManyEntries(limits.entries));
        }
        done.size = done.size.saturating_add(entry.stored_size);
        if done.size > limits.bytes {
            return Err(Error::TooLarge { limit: limits.bytes });
        }
        tree.add(&entry, &mut reader)?;
    }
    tree.finish()?;
    reader.drain()?;
    Ok(done)
}
