//! stdout: buffered, written once, quiet when the reader has gone.

use std::io::{self, IsTerminal, Write};

use super::escape;
use super::failure::Failure;

/// Prints one line at once: an id, a name.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    raw(&format!("{text}\n"))
}

/// Prints a text as it is, in one write.
pub(super) fn raw(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Prints what a template or an encoder made of foreign data: as it is into a pipe or a file, escaped on a terminal.
pub(super) fn foreign(text: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() { raw(&escape::lines(text)) } else { raw(text) }
}
