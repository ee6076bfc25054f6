//! The terminal of the user: raw mode and the way back from it, its size, the keys that detach.

use super::error::Result;

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    todo!()
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    todo!()
}

/// Rows and columns of the terminal on stdin, stdout or stderr, the first that is one.
pub fn size() -> Option<(u16, u16)> {
    todo!()
}

/// The keys of `--detach-keys`, as bytes. Empty: nothing detaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`, `a,b`, `` (none): docker's syntax.
    pub fn parse(_text: &str) -> Result<Self> {
        Ok(Self { sequence: Vec::new() })
    }
}
