//! From a node to descriptors.
//!
//! A directory is held open as `O_PATH` for each of its layers, the most recently used ones; a file is a name in
//! one. While one request resolves a path another may rename a directory on it, so what was opened is compared
//! with what the node says it is, and looked for again when it is something else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::inode::Where;
use super::number::Key;
use super::whiteout::magic;
use super::{LayerIndex, Overlay, ROOT, Result, lock};
use crate::sys;

/// How often a path is walked again that changed underway.
pub(super) const PATIENCE: usize = 8;

/// Where an object is reached.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Name {
        dir: Arc<OwnedFd>,
        name: Box<[u8]>,
    },
    /// Perhaps open as `O_PATH`.
    Open(Arc<OwnedFd>),
    /// Open for work on its content: nothing has to be looked up.
    Data(Arc<OwnedFd>),
}

impl Place {
    pub(super) fn stat(&self) -> Result<Stat> {
        match self {
            Self::Name { dir, name } => rustix::fs::statat(dir, &**name, AtFlags::SYMLINK_NOFOLLOW),
            Self::Open(fd) | Self::Data(fd) => rustix::fs::fstat(fd),
        }
    }

    /// A descriptor that names the object and does nothing else.
    pub(super) fn pin(&self) -> Result<Arc<OwnedFd>> {
        match self {
            Self::Name { dir, name } => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(dir, &**name, flags, Mode::empty()).map(Arc::new)
            }
            Self::Open(fd) | Self::Data(fd) => Ok(Arc::clone(fd)),
        }
    }

    /// Opens a file or directory for work on its content; nothing else can be opened.
    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::LARGEFILE;
        match self {
            Self::Name { dir, name } => {
                rustix::fs::openat(dir, &**name, flags | OFlags::NOFOLLOW, Mode::empty())
            }
            Self::Open(fd) | Self::Data(fd) => {
                rustix::fs::openat(CWD, magic(fd).as_str(), flags, Mode::empty())
            }
        }
    }

    pub(super) fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
        match self {
            Self::Name { dir, name } => {
                rustix::fs::chownat(dir, &**name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Open(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
            Self::Data(fd) => rustix::fs::fchown(fd, uid, gid),
        }
    }

    /// Not for links, which have no mode. Where the kernel has no call for a name that may be one, by a descriptor: chmod(2)
    /// would follow it, out of the layers.
    pub(super) fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match self {
            Self::Name { dir, name } => match sys::mode::change(dir, name, mode.as_raw_mode()) {
                Err(Errno::NOSYS | Errno::PERM) => {
                    rustix::fs::chmodat(CWD, magic(&self.pin()?).as_str(), mode, AtFlags::empty())
                }
                other => other,
            },
            Self::Open(fd) => rustix::fs::chmodat(CWD, magic(fd).as_str(), mode, AtFlags::empty()),
            Self::Data(fd) => rustix::fs::fchmod(fd, mode),
        }
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<()> {
        match self {
            Self::Name { dir, name } => rustix::fs::utimensat(dir, &**name, times, AtFlags::SYMLINK_NOFOLLOW),
            Self::Open(fd) => match rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH) {
                // Linux before 5.8.
                Err(Errno::INVAL) => rustix::fs::utimensat(CWD, magic(fd).as_str(), times, AtFlags::empty()),
                other => other,
            },
            Self::Data(fd) => rustix::fs::futimens(fd, times),
        }
    }
}

impl Overlay {
    pub(super) fn where_is(&self, id: u64) -> Result<Where> {
        lock(&self.table).get(id)
    }

    /// The directory `id` in one of its layers, as `O_PATH`.
    pub(super) fn dir(&self, id: u64, layer: LayerIndex) -> Result<Arc<OwnedFd>> {
        if id == ROOT {
            return self.layers.get(usize::from(layer)).cloned().ok_or(Errno::STALE);
        }
        if let Some(fd) = lock(&self.dirs).get((id, layer)) {
            return Ok(fd);
        }
        for _ in 0..PATIENCE {
            let node = self.where_is(id)?;
            if let Some(fd) = node.pinned {
                return if node.layer == layer { Ok(fd) } else { Err(Errno::NOENT) };
            }
            let opened = self.walk_to(id, layer);
            let fd = match opened {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::AGAIN | Errno::LOOP) => continue,
                other => other?,
            };
            if layer == node.layer && Key::of(&rustix::fs::fstat(&fd)?) != node.key {
                continue;
            }
            let fd = Arc::new(fd);
            let _old = lock(&self.dirs).put((id, layer), Arc::clone(&fd));
            return Ok(fd);
        }
        Err(Errno::STALE)
    }

    /// Opens a directory from the nearest one above that is open.
    fn walk_to(&self, id: u64, layer: LayerIndex) -> Result<OwnedFd> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut at = id;
        let base = loop {
            let (parent, name) = {
                let table = lock(&self.table);
                let (parent, name) = table.step_up(at)?;
                (parent, Box::from(name))
            };
            names.push(name);
            at = parent;
            if at == ROOT {
                break self.layers.get(usize::from(layer)).cloned().ok_or(Errno::STALE)?;
            }
            if let Some(fd) = lock(&self.dirs).get((at, layer)) {
                break fd;
            }
            if names.len() > 100_000 {
                return Err(Errno::LOOP);
            }
        };
        let mut here: Option<OwnedFd> = None;
        // A path may be longer than the kernel takes in one piece.
        for piece in names.rchunks(12) {
            let path = piece.iter().rev().map(|n| &**n).collect::<Vec<_>>().join(&b'/');
            let from: BorrowedFd<'_> = here.as_ref().map_or(base.as_fd(), AsFd::as_fd);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            here = Some(rustix::fs::openat2(from, path, flags, Mode::empty(), resolve)?);
        }
        here.ok_or(Errno::STALE)
    }

    /// Where the object is, as far as can be told without asking the disk.
    pub(super) fn place_of(&self, node: &Where) -> Result<Place> {
        if let Some(fd) = &node.pinned {
            return Ok(Place::Open(Arc::clone(fd)));
        }
        if node.kind == FileType::Directory {
            return self.dir(node.id, node.layer).map(Place::Open);
        }
        Ok(Place::Name { dir: self.dir(node.parent, node.layer)?, name: node.name.clone() })
    }

    /// The object and its state. Whoever changes names in between is noticed.
    pub(super) fn reach(&self, id: u64) -> Result<(Where, Place, Stat)> {
        let (node, place, stat) = self.reach_unasked(id)?;
        let stat = stat.map_or_else(|| place.stat(), Ok)?;
        Ok((node, place, stat))
    }

    /// The same, with the state only where it had to be asked for.
    pub(super) fn reach_unasked(&self, id: u64) -> Result<(Where, Place, Option<Stat>)> {
        for _ in 0..PATIENCE {
            let node = self.where_is(id)?;
            if node.kind == FileType::RegularFile
                && let Some(data) = lock(&self.files).get(id)
            {
                // Another one: brought up since it was opened.
                if data.key == node.key {
                    return Ok((node, Place::Data(Arc::clone(&data.fd)), None));
                }
            }
            let place = match self.place_of(&node) {
                Err(Errno::STALE) => continue,
                other => other?,
            };
            match place.stat() {
                Ok(stat) if Key::of(&stat) == node.key => return Ok((node, place, Some(stat))),
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::STALE)
    }

    /// The upper directory of `id`, which is brought up if it is not there yet.
    pub(super) fn upper_dir(&self, id: u64) -> Result<Arc<OwnedFd>> {
        self.work()?;
        self.copy_up(id)?;
        self.dir(id, 0)
    }
}
