//! The container's log: what it printed, when, on which stream.
//!
//! One file, in the format that Kubernetes' CRI prescribes:
//!
//! ```text
//! 2026-11-21T10:00:00.123456789Z stdout F a whole line
//! 2026-11-21T10:00:00.123456789Z stdout P a piece of one
//! ```
//!
//! `F` stands where a line ended, `P` where it goes on in the next record of that stream. A record holds at most
//! [`MAX_CONTENT`] bytes of content and no line feed, so any record can be found from any offset. Times never
//! go backwards within one run of the container, so that they can be searched.

mod reader;
mod writer;

pub use reader::{Query, read};
pub(super) use reader::{Record, blocks};
pub use writer::Writer;

/// The log's name in the container's directory.
const FILE: &str = "log";

/// The bytes before the content: time, stream, flag, and a space after each.
const HEADER: usize = 40;

/// The most content a record holds, in bytes.
pub const MAX_CONTENT: usize = 16 * 1024;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// As it stands in a record: six bytes.
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
