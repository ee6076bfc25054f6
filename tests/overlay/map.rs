//! A file's pages in memory, shared with everybody who has the file.

#![allow(unsafe_code, reason = "pages of a file in memory are a pointer, whoever offers them")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// The first `length` bytes of a file, as they are from here on. Touching what lies behind the file's end is fatal.
#[derive(Debug)]
pub struct Map {
    at: *mut u8,
    length: usize,
}

impl Map {
    /// `file` is open for reading and writing.
    pub fn new(file: &File, length: usize) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (hint, fd) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(hint, length, protection, libc::MAP_SHARED, fd, 0) };
        assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { at: at.cast(), length }
    }

    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= self.length);
        // SAFETY: within the mapping, as was just checked.
        let from = unsafe { self.at.add(offset) };
        // SAFETY: as many bytes are there; nobody else has `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length);
        // SAFETY: within the mapping, as was just checked.
        let to = unsafe { self.at.add(offset) };
        // SAFETY: as many bytes are there; the file is this test's alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Writes the pages back.
    pub fn sync(&self) {
        // SAFETY: exactly the mapping.
        let synced = unsafe { libc::msync(self.at.cast(), self.length, libc::MS_SYNC) };
        assert_eq!(synced, 0, "msync: {}", std::io::Error::last_os_error());
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping, which nobody uses any more.
        unsafe { libc::munmap(self.at.cast(), self.length) };
    }
}
