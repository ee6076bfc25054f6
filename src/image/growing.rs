//! A file that one process writes and another reads while it grows.
//!
//! What was written is announced through an eventfd, which adds up: no announcement is ever lost or waited for, however
//! far the reader is behind. The file itself is the buffer between the two, so a slow reader holds up no download.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::EventfdFlags;

use super::Result;
use crate::store;
use crate::sys::Context;

/// The writer's end.
#[derive(Debug)]
pub struct Notice(OwnedFd);

/// Added to the announcements when there will be no more. No file has so many bytes.
const END: u64 = 1 << 62;

/// The reader's end: reads up to the end and no further, waiting for what is not there yet.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    told: OwnedFd,
    at: u64,
    there: u64,
    /// In bytes; `None` until it is announced.
    size: Option<u64>,
}

/// Two ends for the file, of which nothing is announced yet. A `size` that is not known is announced at the end.
pub(super) fn watch(file: &File, size: Option<u64>) -> Result<(Notice, Growing)> {
    let told = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).op("eventfd").map_err(store::Error::from)?;
    let ours = told.try_clone().op("dup").map_err(store::Error::from)?;
    let file = file.try_clone().op("dup").map_err(store::Error::from)?;
    Ok((Notice(ours), Growing { file, told, at: 0, there: 0, size }))
}

impl Notice {
    /// So many more bytes are in the file.
    pub fn more(&self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            rustix::io::write(&self.0, &bytes.to_ne_bytes())?;
        }
        Ok(())
    }

    /// What is in the file is all of it.
    pub fn end(&self) -> io::Result<()> {
        self.more(END)
    }
}

impl Growing {
    /// The same, with descriptors of its own: for the process that reads.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        let (file, told) = (self.file.try_clone()?, self.told.try_clone()?);
        Ok(Self { file, told, ..*self })
    }

    /// Takes in one announcement.
    fn hear(&mut self, bytes: u64) {
        let total = self.there.saturating_add(bytes % END);
        if bytes >= END {
            self.size.get_or_insert(total);
        }
        self.there = total.min(self.size.unwrap_or(u64::MAX));
    }

    /// What it needs open.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.file.as_fd(), self.told.as_fd()]
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.there {
            if self.size == Some(self.at) {
                return Ok(0);
            }
            let mut more = [0; 8];
            match rustix::io::read(&self.told, &mut more) {
                Ok(_) => self.hear(u64::from_ne_bytes(more)),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let wanted = usize::try_from(self.there - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if n == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_what_is_announced_and_ends_at_the_size() {
        let mut file = tempfile::tempfile().unwrap();
        let (notice, mut growing) = watch(&file, Some(10)).unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            growing.read_to_string(&mut text).map(|_| text)
        });
        for piece in ["hell", "o, ", "you and more"] {
            file.write_all(piece.as_bytes()).unwrap();
            notice.more(piece.len() as u64).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(reader.join().unwrap().unwrap(), "hello, you");
    }

    #[test]
    fn ends_where_it_is_said() {
        let mut file = tempfile::tempfile().unwrap();
        let (notice, mut growing) = watch(&file, None).unwrap();
        file.write_all(b"hello").unwrap();
        notice.more(5).unwrap();
        let mut first = [0; 3];
        growing.read_exact(&mut first).unwrap();
        file.write_all(b", you").unwrap();
        notice.more(5).unwrap();
        notice.end().unwrap();
        let mut rest = String::new();
        growing.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "lo, you");
        let (notice, mut nothing) = watch(&file, None).unwrap();
        notice.end().unwrap();
        assert_eq!(nothing.read(&mut first).unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_shorter_than_announced_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let (notice, mut growing) = watch(&file, Some(10)).unwrap();
        notice.more(10).unwrap();
        assert!(growing.read(&mut [0; 4]).is_err());
    }
}
