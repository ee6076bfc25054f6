//! Image records: which config a reference names, which layers it is made of, which blobs it needs.

mod table;

use jiff::Timestamp;

/// An image as the database knows it. Its id is the digest of its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// `sha256:…` of the image config, a blob of the store.
    pub id: String,
    /// `sha256:…` of the manifest, a blob of the store.
    pub manifest: String,
    pub created: Option<Timestamp>,
    /// The sum of what its layers hold when unpacked, in bytes.
    pub size: u64,
    /// Diff-ids, lowest layer first.
    pub layers: Vec<String>,
    /// Full references (`docker.io/library/alpine:latest`), sorted; empty for a dangling image.
    pub references: Vec<String>,
    /// The image config, the JSON document whose digest is `id`.
    pub config: String,
    /// Every blob it needs to be saved or pushed again: layers as received. Manifest and config are meant
    /// without being named.
    pub blobs: Vec<String>,
}
