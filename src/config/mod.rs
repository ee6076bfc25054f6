//! `config.toml`, the environment and the defaults, resolved once into one immutable [`Config`].
//!
//! The only reader of the environment.

use std::path::PathBuf;

/// Everything that can be set, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store: `$XDG_DATA_HOME/kelp`.
    pub store: PathBuf,
    /// `$XDG_CACHE_HOME/kelp`; may be deleted at any time.
    pub cache: PathBuf,
    /// `ctrl-p,ctrl-q` unless set.
    pub detach_keys: String,
    /// Seconds that `stop` waits unless the container says otherwise.
    pub stop_timeout: i64,
}
