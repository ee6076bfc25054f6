//! Short files of the kernel's.

use std::io::Read;
use std::path::Path;

use super::{Context, Result};

/// More than any file that is asked for here has, in bytes.
const SIZE: usize = 4096;

/// A file of `/proc` that is a few lines at most, cut off at 4 KiB. One buffer of the right size: std would ask for
/// such a file, whose length the kernel does not tell, in a handful of small reads.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    let mut buffer = [0; SIZE];
    let mut file = std::fs::File::open(path).op_on("open", path)?;
    // The kernel gives what it has at once: less than there was room for is all of it.
    let have = file.read(&mut buffer).op_on("read", path)?;
    Ok(buffer[..have].to_vec())
}
