//! Short files of the kernel's.

use std::io::Read;
use std::path::Path;

use super::{Context, Result};

/// More than any line that the kernel shows of a process, in bytes.
const SIZE: usize = 4096;

/// A file of `/proc` that is a few lines at most, cut off at 4 KiB. One buffer of the right size: std would ask for
/// such a file, whose length the kernel does not tell, in a handful of small reads.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(SIZE);
    let file = std::fs::File::open(path).op_on("open", path)?;
    file.take(SIZE as u64).read_to_end(&mut bytes).op_on("read", path)?;
    Ok(bytes)
}
