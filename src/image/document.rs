//! One document of a registry, as it is there.

use super::Result;
use super::pull::interruptible;
use crate::oci::{Descriptor, Reference};
use crate::registry::{Client, Target};

/// The manifest or index behind `reference`, verified where that has a digest.
pub fn fetch(client: &Client, reference: &Reference) -> Result<Vec<u8>> {
    let repository = client.repository(reference)?;
    let target = match reference.digest() {
        Some(digest) => Target::Digest(digest.clone()),
        None => Target::Tag(reference.tag().unwrap_or("latest").to_owned()),
    };
    Ok(interruptible(repository.manifest(&target))??.bytes)
}

/// The config that a manifest of the same repository names, verified.
pub fn config(client: &Client, reference: &Reference, config: &Descriptor) -> Result<Vec<u8>> {
    let repository = client.repository(reference)?;
    Ok(interruptible(repository.fetch_whole(config, "the config"))??)
}
