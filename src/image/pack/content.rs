//! A file's content on its way into an archive: whole, or without its holes.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use super::header::Head;
use super::{Error, Result, Writer, printable};
use crate::sys;

const CHUNK: usize = 256 << 10;
const BLOCK: u64 = 512;
/// Holes that are worth a map, in bytes together.
const WORTHWHILE: u64 = 64 << 10;
/// Pieces of data of one file: more are written whole. Readers have limits.
const MAX_PIECES: usize = 4096;

impl<W: Write> Writer<'_, W> {
    /// The open file that `stat` was of, as the entry `head`.
    pub(super) fn file(&mut self, file: &OwnedFd, stat: &Stat, mut head: Head) -> Result<()> {
        let failed = |e: Errno| Error::Read {
            path: printable(&head.path),
            source: sys::Error::new("read", e.raw_os_error()),
        };
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let occupied = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
        let pieces = if length.saturating_sub(occupied) >= WORTHWHILE {
            pieces(file, length).map_err(failed)?
        } else {
            None
        };
        let Some(pieces) = pieces else {
            head.size = length;
            self.head_only(&head)?;
            return self.span(file, 0, length, &head.path).and_then(|()| self.pad(length));
        };
        let map = map(&pieces);
        let data: u64 = pieces.iter().map(|(_, length)| length).sum();
        head.size = map.len() as u64 + data;
        head.sparse = Some(length);
        self.head_only(&head)?;
        self.put(&map)?;
        for (offset, length) in pieces {
            self.span(file, offset, length, &head.path)?;
        }
        self.pad(data)
    }

    /// `length` bytes from `offset` on: zeros where the file has ended.
    fn span(&mut self, file: &OwnedFd, offset: u64, length: u64, path: &[u8]) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK))];
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let want = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer[..want], at));
            let read = read.map_err(|e| Error::Read {
                path: printable(path),
                source: sys::Error::new("read", e.raw_os_error()),
            })?;
            if read == 0 {
                buffer.fill(0);
            }
            let piece = if read == 0 { want } else { read };
            self.put(&buffer[..piece])?;
            at += piece as u64;
        }
        Ok(())
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let rest = usize::try_from(length.next_multiple_of(BLOCK) - length).unwrap_or(0);
        self.put(&vec![0; rest])
    }
}

/// Where the file has data: offsets and lengths. `None` where it is better written whole.
fn pieces(file: &OwnedFd, length: u64) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < length {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(None),
            other => other?.min(length),
        };
        let hole = match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Err(Errno::NXIO) => length,
            other => other?.min(length),
        };
        if hole > data {
            found.push((data, hole - data));
        }
        if found.len() > MAX_PIECES {
            return Ok(None);
        }
        at = hole.max(at + 1);
    }
    let data: u64 = found.iter().map(|(_, length)| length).sum();
    if length - data < WORTHWHILE {
        return Ok(None);
    }
    // A hole at the end is told by an empty piece there.
    if found.last().is_none_or(|(offset, piece)| offset + piece < length) {
        found.push((length, 0));
    }
    Ok(Some(found))
}

/// GNU's map of version 1.0: decimal lines, filled up to a block.
fn map(pieces: &[(u64, u64)]) -> Vec<u8> {
    let mut text = format!("{}\n", pieces.len());
    for (offset, length) in pieces {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
