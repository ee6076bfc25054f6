//! `logout`: what `login` kept is forgotten.

use std::path::PathBuf;

use super::Result;
use crate::config::Config;
use crate::config::credentials;

/// What `logout` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// docker's name of the registry.
    pub server: String,
    /// Whether anything was kept.
    pub was_in: bool,
    /// A file of another program that has credentials for the server all the same.
    pub left_in: Option<PathBuf>,
}

pub fn logout(config: &Config, server: &str) -> Result<LoggedOut> {
    Ok(LoggedOut {
        was_in: config.credentials.forget(server)?,
        server: credentials::key(server).to_owned(),
        left_in: config.credentials.also_in(server).map(Into::into),
    })
}
