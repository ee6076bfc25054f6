//! `import`: a tar archive of a root file system becomes an image of one layer.

use std::path::PathBuf;

use jiff::Timestamp;

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::{Client, layer, record, source};
use crate::oci::{
    Change, ContainerConfig, Descriptor, Digest, History, ImageConfig, Manifest, Platform, RootFs, media_type,
};
use crate::store::events::Event;

/// Where the archive comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportSource {
    /// `-`.
    Stdin,
    File(PathBuf),
    /// `http://` or `https://`.
    Url(String),
}

/// What `import` was asked for.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    pub source: ImportSource,
    /// As typed; `None` leaves the image without a name.
    pub reference: Option<String>,
    /// Dockerfile instructions, in their order.
    pub changes: Vec<String>,
    pub message: Option<String>,
    /// `os/arch[/variant]`; the host's unless given.
    pub platform: Option<String>,
}

/// The new image's id, `sha256:…`. The calling process must have one thread.
pub fn import(engine: &Engine, request: &ImportRequest) -> Result<String> {
    let reference = request.reference.as_deref().map(resolve::reference).transpose()?;
    if let Some(digest) = reference.as_ref().and_then(|r| r.digest()) {
        let value = digest.to_string();
        return Err(Error::Invalid {
            what: "image name",
            value,
            reason: "an import cannot choose its digest".into(),
        });
    }
    let platform = request.platform.as_deref().map_or_else(|| Ok(Platform::host()), resolve::platform)?;
    let mut config = ContainerConfig::default();
    for text in &request.changes {
        let invalid = |reason: String| Error::Invalid { what: "change", value: text.clone(), reason };
        let change: Change = text.parse().map_err(|e: crate::oci::ChangeError| invalid(e.to_string()))?;
        change.apply(&mut config).map_err(|e| invalid(e.to_string()))?;
    }
    let store = &engine.store;
    let image = super::adding(store, || {
        let (what, archive) = open(engine, &request.source)?;
        let (blob, layer) = layer::receive(store, &what, archive).map_err(|e| e.of(&what))?;
        let message = request.message.clone().unwrap_or_else(|| format!("Imported from {what}"));
        let config = image_config(config, platform, layer.diff_id, message).to_json();
        let id: Digest = digest(&store.put_blob(config.as_bytes())?)?;
        let manifest =
            Manifest::new(Descriptor::new(media_type::CONFIG, id, config.len() as u64), vec![blob]);
        let manifest_digest = digest(&store.put_blob(manifest.to_json().as_bytes())?)?;
        Ok(record::add(store, &manifest_digest, &manifest, reference.as_ref())?)
    })?;
    let name = reference.map_or_else(|| image.id.clone(), |r| r.familiar());
    store.append_event(&Event::new("image", "import", &image.id, [("name".to_string(), name)].into()))?;
    Ok(image.id)
}

/// What the source is called, and its bytes.
fn open(engine: &Engine, from: &ImportSource) -> Result<(String, source::Source)> {
    Ok(match from {
        ImportSource::Stdin => ("-".into(), source::stdin()),
        ImportSource::File(path) => (path.display().to_string(), source::file(path)?),
        ImportSource::Url(url) => source::url(&Client::new(&engine.config), url)?,
    })
}

fn image_config(
    config: ContainerConfig,
    platform: Platform,
    diff_id: Digest,
    comment: String,
) -> ImageConfig {
    let created = Some(Timestamp::now());
    ImageConfig {
        created,
        author: String::new(),
        docker_version: String::new(),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config,
        rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
        history: vec![History { created, comment: comment.clone(), ..History::default() }],
        comment,
    }
}

pub(in crate::engine) fn digest(text: &str) -> Result<Digest> {
    let invalid = |e: crate::oci::InvalidDigest| crate::image::Error::Archive(e.to_string());
    Ok(text.parse().map_err(invalid)?)
}
