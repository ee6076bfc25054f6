//! `logs`: what a container has printed, and goes on printing.

use std::io;

use jiff::Timestamp;

use crate::engine::{Engine, Result};
pub use crate::shim::log::Stream;

/// Which part of the log, and in which form.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing younger.
    pub until: Option<Timestamp>,
}

/// Reads `--since` and `--until`: a duration back from now (`10m`, `1h30m`), Unix seconds with an optional
/// fraction, or RFC 3339 with or without zone and time of day.
pub fn parse_time(_option: &'static str, _text: &str) -> Result<Timestamp> {
    todo!()
}

/// Hands the log to `out`, in order, a piece at a time. An error of `out` ends the reading; a broken pipe
/// counts as the reader's wish and is no error.
pub fn logs(
    _engine: &Engine,
    _container: &str,
    _options: &LogsOptions,
    _out: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<()> {
    todo!()
}
