//! Index, manifest and config of an image, fetched, verified and judged.

use super::super::{Error, Result};
use super::layers::Wanted;
use crate::oci::{self, Digest, Document, ImageConfig, Manifest, Platform};
use crate::registry::{Repository, Target};

/// Indexes within indexes.
const MAX_DEPTH: usize = 3;

/// What describes an image.
#[derive(Debug)]
pub(super) struct Documents {
    /// What was asked for: an index or a manifest.
    pub digest: Digest,
    pub manifest_digest: Digest,
    pub manifest: Manifest,
    config: ImageConfig,
    /// All of them as they came: index first, config last.
    bytes: Vec<Vec<u8>>,
}

impl Documents {
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.iter().map(Vec::as_slice)
    }

    /// The layers, lowest first, each once.
    pub(super) fn layers(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (blob, diff_id) in self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids) {
            if !wanted.iter().any(|w| w.blob.digest == blob.digest) {
                wanted.push(Wanted { blob: blob.clone(), diff_id: diff_id.clone() });
            }
        }
        wanted
    }
}

/// The documents behind `target`, through indexes by platform.
pub(super) async fn fetch(
    repository: &Repository<'_>,
    target: &Target,
    platform: Option<&Platform>,
) -> Result<Documents> {
    let mut bytes = Vec::new();
    let mut found = repository.manifest(target).await?;
    let digest = found.digest.clone();
    let mut expected = found.media_type.clone();
    for _ in 0..=MAX_DEPTH {
        let document = Document::parse(&found.bytes, expected.as_deref())?;
        bytes.push(std::mem::take(&mut found.bytes));
        let index = match document {
            Document::Manifest(manifest) => {
                return with_config(repository, digest, found.digest, manifest, bytes, platform).await;
            }
            Document::Index(index) => index,
        };
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let entry = index.best(&wanted).ok_or_else(|| {
            let found: Vec<String> = index.platforms().map(ToString::to_string).collect();
            Error::NoPlatform { found: found.join(", "), wanted: wanted.to_string() }
        })?;
        found = repository.manifest(&Target::Digest(entry.digest.clone())).await?;
        if found.bytes.len() as u64 != entry.size {
            return Err(Error::Archive(format!("manifest {} has not the size that is stated", entry.digest)));
        }
        expected = Some(entry.media_type.clone());
    }
    Err(oci::Error::Malformed { what: "image index", reason: "it is nested too deep".into() }.into())
}

async fn with_config(
    repository: &Repository<'_>,
    digest: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
    mut bytes: Vec<Vec<u8>>,
    platform: Option<&Platform>,
) -> Result<Documents> {
    let text = repository.fetch_whole(&manifest.config, "the image config").await?;
    let config = ImageConfig::parse(&text)?;
    let (want, have) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    if want != have {
        let reason = format!("its config names {want} layers, the manifest {have}");
        return Err(oci::Error::Malformed { what: "image", reason }.into());
    }
    if let Some(wanted) = platform.filter(|wanted| !config.platform().satisfies(wanted)) {
        return Err(Error::Platform { found: config.platform().to_string(), wanted: wanted.to_string() });
    }
    bytes.push(text);
    Ok(Documents { digest, manifest_digest, manifest, config, bytes })
}
