//! Content: read, write, allocate, copy, sync.
//!
//! The kernel tells of no opening and no closing (it would be two requests for each), so descriptors of content
//! are kept by use, and opened again when they are needed again; a file without a name is opened through the
//! descriptor that pins it. A file is brought up when the first byte of it is written.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FileType, OFlags, Stat, StatVfs};
use rustix::io::Errno;

use super::inode::Where;
use super::number::Key;
use super::threads::{LARGE, by_deputy_if};
use super::{Overlay, Result, lock};
use crate::sys;

/// Within this, the kernel has told what nobody has open any more, and a worker clears it away.
const FORGOTTEN_BY_NOW: Duration = Duration::from_millis(1);

/// A file open for work on its content.
#[derive(Debug)]
pub(super) struct Data {
    pub fd: Arc<OwnedFd>,
    /// Of the file, whatever it is called.
    pub key: Key,
    pub writable: bool,
}

impl Overlay {
    pub(super) fn read(&self, id: u64, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let data = self.data(id, false)?;
        loop {
            match rustix::io::pread(&data.fd, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                // Less than was asked for is the end of the file.
                other => return other,
            }
        }
    }

    /// Does `work`, which may be done twice, once more when the disk was full while it cleared away what had been removed.
    ///
    /// With the kernel's overlay the room is there when unlink(2) returns. Here the kernel tells later that nobody has
    /// the file open any more, and a large one takes tens of milliseconds; what a shell writes meanwhile would be lost,
    /// as it does not look at what close(2) says.
    fn with_room<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(Errno::NOSPC) => {
                std::thread::sleep(FORGOTTEN_BY_NOW);
                drop(self.clearing.write().unwrap_or_else(PoisonError::into_inner));
                work()
            }
            other => other,
        }
    }

    /// `unprivileged`: the writer has no power over the file, which loses setuid and setgid. `whole`: less than all of
    /// it is an error, for whoever does not look at how much was written.
    pub(super) fn write(
        &self,
        id: u64,
        offset: u64,
        bytes: &[u8],
        unprivileged: bool,
        whole: bool,
    ) -> Result<usize> {
        self.with_room(|| {
            let data = self.data(id, true)?;
            if unprivileged {
                let (_, place, stat) = self.reach(id)?;
                self.drop_privileges(&place, &stat)?;
            }
            write_at(&data.fd, offset, bytes, whole)
        })
    }

    pub(super) fn truncate(&self, node: &Where, size: u64) -> Result<()> {
        match node.kind {
            FileType::RegularFile => {
                let data = self.data(node.id, true)?;
                let is_long = || {
                    rustix::fs::fstat(&data.fd).is_ok_and(|stat| size_of(&stat).saturating_sub(size) > LARGE)
                };
                self.with_room(|| {
                    let fd = Arc::clone(&data.fd);
                    by_deputy_if(is_long, move || rustix::fs::ftruncate(&fd, size)).unwrap_or(Err(Errno::IO))
                })
            }
            FileType::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn fallocate(&self, id: u64, offset: u64, length: u64, mode: u32) -> Result<()> {
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        self.with_room(|| {
            let data = self.data(id, true)?;
            let allocate = move || rustix::fs::fallocate(&data.fd, mode, offset, length);
            by_deputy_if(|| length > LARGE, allocate).unwrap_or(Err(Errno::IO))
        })
    }

    /// At most `length` bytes; how many.
    pub(super) fn copy_range(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Result<usize> {
        let target = self.data(to.0, true)?;
        let source = self.data(from.0, false)?;
        let (mut input, mut output) = (from.1, to.1);
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        let copy = move || {
            rustix::fs::copy_file_range(&source.fd, Some(&mut input), &target.fd, Some(&mut output), most)
        };
        by_deputy_if(|| length > LARGE, copy).unwrap_or(Err(Errno::IO))
    }

    /// Makes what was written survive a crash of the machine, unless nothing is meant to.
    pub(super) fn sync(&self, id: u64, data_only: bool) -> Result<()> {
        let node = self.where_is(id)?;
        if self.volatile || node.layer > 0 || !self.has_upper() {
            return Ok(());
        }
        match node.kind {
            FileType::RegularFile => {
                let data = self.data(id, false)?;
                if data_only { rustix::fs::fdatasync(&data.fd) } else { rustix::fs::fsync(&data.fd) }
            }
            FileType::Directory => {
                let (_, place, _) = self.reach(id)?;
                rustix::fs::fsync(place.open(OFlags::RDONLY | OFlags::DIRECTORY)?)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn statfs(&self) -> Result<StatVfs> {
        rustix::fs::fstatvfs(self.layers.first().ok_or(Errno::STALE)?)
    }

    /// The file open for work on its content; for writing it is brought up first.
    pub(super) fn data(&self, id: u64, write: bool) -> Result<Arc<Data>> {
        let kept = lock(&self.files).get(id).filter(|data| data.writable || !write);
        if let Some(data) = kept {
            return Ok(data);
        }
        if write {
            self.copy_up(id)?;
        }
        for _ in 0..8 {
            let node = self.where_is(id)?;
            match node.kind {
                FileType::RegularFile => {}
                FileType::Directory => return Err(Errno::ISDIR),
                _ => return Err(Errno::INVAL),
            }
            let place = match self.place_of(&node) {
                Err(Errno::STALE) => continue,
                other => other?,
            };
            let upper = node.layer == 0 && self.has_upper();
            let writable = upper.then(|| place.open(OFlags::RDWR));
            let (fd, writable) = match writable {
                Some(Ok(fd)) => (fd, true),
                // Renamed since.
                Some(Err(Errno::NOENT | Errno::LOOP)) => continue,
                Some(Err(e)) if write => return Err(e),
                _ => match place.open(OFlags::RDONLY) {
                    Err(Errno::NOENT | Errno::LOOP) => continue,
                    fd => (fd?, false),
                },
            };
            let key = Key::of(&rustix::fs::fstat(&fd)?);
            if key != node.key {
                continue;
            }
            if let Some(data) = self.keep_open(id, Data { fd: fd.into(), key, writable }) {
                return Ok(data);
            }
        }
        Err(Errno::STALE)
    }

    /// Remembers the open file. `None`: it was forgotten or brought up meanwhile, and the descriptor is worth nothing.
    pub(super) fn keep_open(&self, id: u64, data: Data) -> Option<Arc<Data>> {
        let data = Arc::new(data);
        let _old = lock(&self.files).put(id, Arc::clone(&data));
        // Looked at after it is there: whoever brings the file up takes it away after telling the table.
        if lock(&self.table).has_key(id, data.key) {
            return Some(data);
        }
        let _again = lock(&self.files).remove(id);
        None
    }
}

/// As [`Overlay::write`] counts.
fn write_at(file: &OwnedFd, offset: u64, bytes: &[u8], whole: bool) -> Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) if done == 0 || whole => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// A file's length; a directory's grows with the names in it.
pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// What the kernel said.
pub(super) fn errno(e: sys::Error) -> Errno {
    Errno::from_raw_os_error(e.errno())
}
