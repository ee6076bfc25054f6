//! From a stored manifest to an image: its config read, its layers unpacked, its record made.

use super::{Error, Result, layer};
use crate::oci::{self, Digest, ImageConfig, Manifest, Reference};
use crate::store::Store;
use crate::store::image::ImageRecord;

/// Unpacks what is missing and records the image under `reference`. `manifest_digest` is the digest of the
/// stored document that `manifest` was read from.
pub fn add(
    store: &Store,
    manifest_digest: &Digest,
    manifest: &Manifest,
    reference: Option<&Reference>,
) -> Result<ImageRecord> {
    let id = &manifest.config.digest;
    let text = store.read_blob(id.as_str(), oci::MAX_DOCUMENT)?;
    if text.len() as u64 != manifest.config.size {
        return Err(Error::Archive(format!("config {id} has not the size that its manifest says")));
    }
    let config = ImageConfig::parse(&text)?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let (want, have) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        return Err(Error::Archive(format!("config {id} names {want} layers, the manifest {have}")));
    }
    let mut size = 0u64;
    for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        size = size.saturating_add(layer::ensure(store, &descriptor.digest, diff_id)?.size);
    }
    let record = ImageRecord {
        id: id.to_string(),
        manifest: manifest_digest.to_string(),
        created: config.created,
        size,
        layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        references: Vec::new(),
        config: String::from_utf8(text).map_err(|_| Error::Archive(format!("config {id} is not UTF-8")))?,
        blobs: manifest.layers.iter().map(|l| l.digest.to_string()).collect(),
    };
    store.add_image(&record, reference.map(|r| r.pinned().to_string()).as_deref())?;
    Ok(record)
}
