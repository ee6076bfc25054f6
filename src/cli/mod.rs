//! The command line: clap types, one file per command; tables, templates, error text, completion, man pages.

use std::process::ExitCode;

/// Runs one command.
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
