//! The bytes that a storage job makes of stored files, on their way to whoever asked for them.
//!
//! The end of the bytes is the end of the job, and a job that has failed is an error there: what ends too early is
//! never taken for whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::userns::{self, Job};
use super::{Result, Store};
use crate::sys::{self, process};

const CHUNK: usize = 256 << 10;
/// For a job that has failed to say so.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(20);

/// A job under way. Dropped, it ends.
#[derive(Debug)]
pub struct Produced {
    pipe: File,
    /// `None` once it has ended well.
    job: Option<Job<()>>,
}

/// A pipe for a job: its end for reading, and the one for writing.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    Ok(process::pipe()?)
}

/// Begins `work` in a child that is root of the user namespace; what it writes is what is read. It has no
/// descriptors but those in `kept`. The calling process must have one thread.
pub fn begin(
    store: &Store,
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce(&mut dyn Write) -> std::result::Result<(), String>,
) -> Result<Produced> {
    let (read, write) = pipe()?;
    let all: Vec<_> = kept.iter().copied().chain([write.as_fd()]).collect();
    let out = &write;
    let job = userns::begin_inside(store, &all, || {
        let out = out.try_clone().map_err(|e| e.to_string())?;
        sys::limits::many_files();
        let mut out = BufWriter::with_capacity(CHUNK, File::from(out));
        work(&mut out)?;
        out.flush().map_err(|e| e.to_string())
    })?;
    Ok(Produced { pipe: read.into(), job: Some(job) })
}

impl Read for Produced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.end().map_err(|e| io::Error::other(e.to_string()))?;
        }
        Ok(read)
    }
}

impl Produced {
    /// Waits for the end of the job, of which nothing more is read.
    pub fn end(&mut self) -> Result<()> {
        match self.job.take() {
            Some(job) => job.finish(),
            None => Ok(()),
        }
    }

    /// The bytes, without a word on their end.
    pub fn rest(&self) -> &File {
        &self.pipe
    }

    /// Ends the job, of whose bytes nothing more is wanted. Where they were not read to their end, only a job that has
    /// failed by itself is an error.
    pub fn finish_after(&mut self, read_to_end: bool) -> Result<()> {
        if read_to_end
            || sys::process::readable_within(
                self.job.as_ref().map_or(self.pipe.as_fd(), AsFd::as_fd),
                Some(PATIENCE),
            )
            .unwrap_or(false)
        {
            return self.end();
        }
        // Dropped with this.
        Ok(())
    }
}
