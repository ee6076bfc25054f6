//! `config.toml` as it is written.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, RegistryTable, Result};
use crate::oci::keys;

/// Every key, with its default. Bounds are checked when the file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    #[serde(deserialize_with = "detach_keys")]
    pub detach_keys: String,
    pub stop_timeout: i64,
    pub snapshotter: Snapshotter,
    /// By `HOST[:PORT]`.
    pub registries: BTreeMap<String, RegistryTable>,
}

/// Who makes root file systems of layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Snapshotter {
    /// The kernel where it can, else kelp.
    #[default]
    Auto,
    /// The kernel's overlay.
    Overlay,
    /// kelp's own overlay, over FUSE.
    Fuse,
    /// A copy for each container.
    Copy,
}

/// The text as it is, if it means something: the error comes with its line.
fn detach_keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match keys::sequence(&text) {
        Ok(_) => Ok(text),
        Err(reason) => {
            let expected = "keys are written as `ctrl-p,ctrl-q` or `a`";
            Err(serde::de::Error::custom(format!("invalid detach keys `{text}`: {reason}; {expected}")))
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            store: None,
            detach_keys: "ctrl-p,ctrl-q".into(),
            stop_timeout: 10,
            snapshotter: Snapshotter::Auto,
            registries: BTreeMap::new(),
        }
    }
}

impl File {
    /// The keys that a file can set, as it spells them.
    pub const KEYS: &'static [&'static str] =
        &["store", "detach-keys", "stop-timeout", "snapshotter", "registries"];

    /// A file that does not exist is a file that sets nothing.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            // A component that is no directory cannot hold a file either.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(source) => Err(Error::Read { path: path.into(), source }),
        }
    }

    /// `path` is named in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            Error::Malformed { path: path.into(), line, reason: e.message().trim().replace('\n', ", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse(Path::new("/c/config.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_is_set_and_keeps_the_other_defaults() {
        let file = File::parse(Path::new("c"), "stop-timeout = 3\n").unwrap();
        assert_eq!(file, File { stop_timeout: 3, ..File::default() });
        assert_eq!(File::parse(Path::new("c"), "").unwrap(), File::default());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(File::read(&dir.path().join("none/config.toml")).unwrap(), File::default());
        assert!(matches!(File::read(dir.path()), Err(Error::Read { .. })));
    }

    #[test]
    fn names_file_line_and_key() {
        let unknown = error("detach-keys = \"a\"\n\nstop-timout = 3\n");
        assert!(unknown.starts_with("/c/config.toml:3: unknown field `stop-timout`"), "{unknown}");
        let keys = error("stop-timeout = 3\ndetach-keys = \"ctrl-p,ctrl-1\"\n");
        assert!(keys.starts_with("/c/config.toml:2: invalid detach keys `ctrl-p,ctrl-1`"), "{keys}");
        let wrong = error("stop-timeout = \"x\"");
        assert!(wrong.starts_with("/c/config.toml:1: invalid type"), "{wrong}");
        assert!(error("\n= 1").starts_with("/c/config.toml:2: "));
    }
}
