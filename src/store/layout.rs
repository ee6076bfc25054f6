//! Where everything lies, and the marker that says the place is ours.
//!
//! Paths only: nothing here opens the database. No path leaves the root, whatever a digest or an id says. Every
//! directory is 0700 and every file 0600: what containers wrote (setuid files among it) is nobody else's.

use std::path::{Path, PathBuf};

use super::id::ContainerId;

/// The paths of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of a store that was opened before, by this process or by the one that gave the path. An absolute path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn marker(&self) -> PathBuf {
        self.root.join("kelp-store")
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("kelp.db")
    }

    pub fn events(&self) -> PathBuf {
        self.root.join("events.log")
    }

    /// Which driver makes roots here, as it was found out in this boot.
    pub fn snapshotter(&self) -> PathBuf {
        self.root.join("snapshotter")
    }

    pub fn staging_dir(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub fn containers_dir(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.containers_dir().join(id.as_str())
    }

    /// The lowest layer of every root: the mount points that every container has, and nothing in them.
    pub fn skeleton_dir(&self) -> PathBuf {
        self.root.join("skeleton")
    }

    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The tree of one unpacked layer. `diff_id` is `sha256:` and 64 hex digits.
    pub fn layer_dir(&self, diff_id: &str) -> PathBuf {
        self.layers_dir().join(file_name(diff_id))
    }

    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// The file of one blob. `digest` is `sha256:` and 64 hex digits.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.blobs_dir().join(file_name(digest))
    }
}

impl Layout {
    /// The directories that every store has, outer ones first.
    pub(super) fn directories(&self) -> [PathBuf; 5] {
        [
            self.staging_dir(),
            self.containers_dir(),
            self.layers_dir(),
            self.root.join("blobs"),
            self.blobs_dir(),
        ]
    }
}

/// The hex digits of a digest. Whatever is no hex digit becomes `_`, so that a digest nobody has parsed names
/// nothing, and nothing elsewhere.
pub(super) fn file_name(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().map(|c| if c.is_ascii_hexdigit() { c } else { '_' }).collect()
}
