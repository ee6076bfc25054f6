//! Why the settings cannot be used.

use std::io;
use std::path::PathBuf;

use crate::error::Hint;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `HOME` nor `/etc/passwd` names a home.
    #[error("cannot find the home directory: HOME is not set, and /etc/passwd has no entry for this user")]
    NoHome,
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Not TOML, an unknown key, or a value of the wrong type. `line` counts from 1.
    #[error("{}:{line}: {reason}", .path.display())]
    Malformed { path: PathBuf, line: usize, reason: String },
    #[error("{place} names a client certificate without its key, or a key without its certificate")]
    HalfPair { place: String },
    #[error("{}: `{key}` must be an absolute path or begin with ~/, not `{value}`", .file.display())]
    RelativePath { file: PathBuf, key: &'static str, value: String },
    #[error("invalid KELP_LOG `{value}`: error, warn, info, debug or trace is expected")]
    LogLevel { value: String },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some("set HOME to a directory of yours".into()),
            Self::Malformed { .. } => Some("kelp's config/config.toml has every key with its default".into()),
            _ => None,
        }
    }
}
