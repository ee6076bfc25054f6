//! Image records: which config a reference names, which layers it is made of, which blobs it needs.

mod table;

use jiff::Timestamp;

use super::id::ContainerId;

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
    /// Full references, sorted: `docker.io/library/alpine:latest`, and `docker.io/library/alpine@sha256:…` for what
    /// a registry called it. Without any the image is dangling.
    pub references: Vec<String>,
    /// The image config, the JSON document whose digest is `id`.
    pub config: String,
    /// Every blob it needs to be saved or pushed again: layers as received. Manifest and config are meant
    /// without being named.
    pub blobs: Vec<String>,
}

impl ImageRecord {
    /// Whether it has no tag. What a registry called it by digest does not keep it from being pruned, as with docker.
    pub fn is_dangling(&self) -> bool {
        self.references.iter().all(|reference| reference.contains('@'))
    }

    /// Digests of every blob that it needs, and of the indexes by whose digest registries call it.
    pub fn all_blobs(&self) -> impl Iterator<Item = &str> {
        let pinned = self.references.iter().filter_map(|r| r.split_once('@')).map(|(_, digest)| digest);
        self.blobs.iter().map(String::as_str).chain([self.id.as_str(), &self.manifest]).chain(pinned)
    }
}

/// What is to go of an image, and what that was decided from.
#[derive(Debug, Clone)]
pub struct Removal<'a> {
    /// As it was read.
    pub image: &'a ImageRecord,
    /// The containers made from it that do not stand in the way.
    pub users: Vec<ContainerId>,
    /// Full references that go.
    pub untag: Vec<String>,
    /// Whether the image goes too, with all its references.
    pub delete: bool,
}
