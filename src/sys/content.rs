//! One file's content into another: blocks shared where the file system can, else copied without the holes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::{Errno, retry_on_intr};

use super::{Context, Result};

/// How the content came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// Both files have the same blocks until one is written to; nothing was read.
    Shared,
    Written,
}

/// Fills `to`, which is empty and open for writing, with the first `size` bytes of `from`.
pub fn copy(from: impl AsFd, to: impl AsFd, size: u64) -> Result<Copied> {
    let (from, to) = (from.as_fd(), to.as_fd());
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(Copied::Shared);
    }
    copy_data(from, to, size).op("copy a file's content").map(|()| Copied::Written)
}

/// Has the disk begin to write what the file holds, as ext4 does for a file that takes another's name
/// (`auto_da_alloc`), so that what was written does not wait for the next half minute. sync_file_range(2).
pub fn start_writing(file: impl AsFd) -> Result<()> {
    // SAFETY: the call takes a descriptor, which `file` keeps open, and numbers.
    let done = unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 {
        return Ok(());
    }
    match std::io::Error::last_os_error() {
        // A file system, or a sandbox, that does not have it.
        e if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ESPIPE)) => Ok(()),
        e => Err(e).op("sync_file_range"),
    }
}

fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::ftruncate(to, size))?;
    let mut at = 0;
    while at < size {
        let (start, end) = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => (start, rustix::fs::seek(from, SeekFrom::Hole(start))?),
            // Nothing but a hole to the end.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL) => (at, size),
            Err(e) => return Err(e),
        };
        copy_range(from, to, start, end.min(size))?;
        at = end;
    }
    Ok(())
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> rustix::io::Result<()> {
    let (mut input, mut output) = (start, start);
    while input < end {
        let length = usize::try_from(end - input).unwrap_or(usize::MAX).min(1 << 30);
        let at = input;
        let copy = || rustix::fs::copy_file_range(from, Some(&mut input), to, Some(&mut output), length);
        match retry_on_intr(copy) {
            // The file is shorter than it said.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::IO) => {
                return copy_through(from, to, at, end);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn copy_through(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> rustix::io::Result<()> {
    let mut buffer = vec![0u8; 1 << 17];
    let mut at = start;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = retry_on_intr(|| rustix::io::pread(from, &mut buffer[..length], at))?;
        if read == 0 {
            break;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = retry_on_intr(|| rustix::io::pwrite(to, rest, at))?;
            rest = &rest[written..];
            at += written as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(b"begin").unwrap();
        from.seek(SeekFrom::Start(8 << 20)).unwrap();
        from.write_all(b"end").unwrap();
        let mut to = tempfile::tempfile().unwrap();
        let size = from.metadata().unwrap().len();
        copy(&from, &to, size).unwrap();
        let meta = to.metadata().unwrap();
        assert_eq!(meta.len(), size);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut text = Vec::new();
        to.rewind().unwrap();
        to.read_to_end(&mut text).unwrap();
        assert!(text.starts_with(b"begin\0") && text.ends_with(b"\0end"));
    }

    #[test]
    fn a_file_that_shrank_is_no_error() {
        let from = tempfile::tempfile().unwrap();
        let to = tempfile::tempfile().unwrap();
        copy(&from, &to, 100).unwrap();
        assert!(to.metadata().unwrap().len() <= 100);
    }
}
