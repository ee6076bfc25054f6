//! Random numbers, from the kernel alone.

use super::{Context, Result};

/// Fills the buffer, of at most 256 bytes, which the kernel gives whole; see getrandom(2).
pub fn fill(bytes: &mut [u8]) -> Result<()> {
    debug_assert!(bytes.len() <= 256, "more than the kernel gives at once");
    rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty()).op("getrandom").map(|_| ())
}
