//! Appends to the log, in batches, and survives a full disk.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::Stream;
use crate::sys::Result;

/// The log of a running container. Its shim is the only writer.
#[derive(Debug)]
pub struct Writer {
    _private: (),
}

impl Writer {
    /// Opens `dir/log`, made with mode 0600 when missing; output is appended.
    pub fn open(_dir: &Path) -> Result<Self> {
        todo!()
    }

    /// Records what was read from one stream.
    pub fn write(&mut self, _stream: Stream, _bytes: &[u8]) {
        todo!()
    }

    /// The log file, readable too.
    pub fn file(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
