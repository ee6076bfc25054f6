//! `logs`: what a container has printed, and goes on printing.

use std::io;

use jiff::Timestamp;

use crate::engine::{Engine, Result};
pub use crate::shim::log::Stream;
use crate::shim::log::{self, Query};

/// Which part of the log, and in which form.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Each line's attributes, which no log of kelp's has, and a space before its text.
    pub details: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing younger.
    pub until: Option<Timestamp>,
}

/// Hands the log to `out`, in order, a piece at a time. An error of `out` ends the reading; a broken pipe
/// counts as the reader's wish and is no error.
pub fn logs(
    engine: &Engine,
    container: &str,
    options: &LogsOptions,
    out: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let record = engine.store.find_container(container)?;
    let directory = engine.store.layout().container_dir(&record.id);
    let query = Query {
        follow: options.follow,
        timestamps: options.timestamps,
        details: options.details,
        tail: options.tail,
        since: options.since,
        until: options.until,
    };
    Ok(log::read(&directory, &query, out)?)
}
