//! From a word to an image: a reference, an id, or the beginning of an id.

use crate::engine::{Engine, Error, Result};
use crate::oci::{ImageConfig, Platform, Reference};
use crate::store;
use crate::store::image::ImageRecord;

/// The image here that `name` means. No registry is asked: that is `pull`'s.
pub fn resolve(engine: &Engine, name: &str) -> Result<ImageRecord> {
    resolve_for(engine, name, None)
}

/// The digest of a list means one image for each platform of it that was pulled: that for the platform `wanted`
/// (`os/arch[/variant]`, the host's unless given), and where none is, the one that was pulled last. All other names
/// mean one image, whatever is wanted.
pub fn resolve_for(engine: &Engine, name: &str, wanted: Option<&str>) -> Result<ImageRecord> {
    // A name goes before the beginning of an id, as with docker.
    let reference = name.parse::<Reference>();
    if let Ok(reference) = &reference
        && let Some(image) = by_reference(engine, &reference.pinned(), wanted)?
    {
        return Ok(image);
    }
    match engine.store.find_image(name) {
        Err(store::Error::NoSuchImage(_)) => match reference {
            Ok(reference) => Err(Error::NoSuchImage(reference.familiar())),
            Err(_) if is_id(name) => Err(Error::NoSuchImage(name.into())),
            Err(e) => Err(Error::Invalid { what: "image", value: name.into(), reason: e.to_string() }),
        },
        other => Ok(other?),
    }
}

/// `repository@digest` is what a registry gave under that digest, or what is tagged in the repository and has it.
fn by_reference(engine: &Engine, reference: &Reference, wanted: Option<&str>) -> Result<Option<ImageRecord>> {
    let Some(digest) = reference.digest() else {
        return match engine.store.find_image(&reference.to_string()) {
            Err(store::Error::NoSuchImage(_)) => Ok(None),
            other => Ok(Some(other?)),
        };
    };
    let called_so = engine.store.images_by_digest(&reference.to_string())?;
    if let Some(last) = called_so.first() {
        let wanted = wanted.map_or_else(|| Ok(Platform::host()), platform)?;
        for image in &called_so {
            if config(image)?.platform().satisfies(&wanted) {
                return Ok(Some(image.clone()));
            }
        }
        return Ok(Some(last.clone()));
    }
    let in_repository = |image: &ImageRecord| {
        references(image).iter().any(|known| known.repository() == reference.repository())
    };
    Ok(engine.store.images_of_manifest(digest.as_str())?.into_iter().find(in_repository))
}

/// What the image is called by digest: as registries called it, and in repositories that no registry has seen its
/// tags of, by the digest that a push would give it.
pub(super) fn digests(image: &ImageRecord) -> Vec<Reference> {
    let known = references(image);
    let mut digests: Vec<Reference> = known.iter().filter(|r| r.digest().is_some()).cloned().collect();
    for tagged in known.iter().filter(|r| r.digest().is_none()) {
        if !digests.iter().any(|r| r.repository() == tagged.repository()) {
            let own = format!("{}@{}", tagged.repository(), image.manifest).parse();
            digests.extend(own.ok());
        }
    }
    digests
}

fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Fails unless `image` is for the platform `wanted` (`os/arch[/variant]`).
pub fn require_platform(image: &ImageRecord, name: &str, wanted: &str) -> Result<()> {
    let wanted = platform(wanted)?;
    let config = config(image)?;
    let found = config.platform();
    if found.satisfies(&wanted) {
        return Ok(());
    }
    Err(Error::Platform { image: name.into(), found: found.to_string(), wanted: wanted.to_string() })
}

/// The image that `name` means; with `wanted`, the one of that platform in the list that it came in.
pub fn resolve_variant(engine: &Engine, name: &str, wanted: Option<&str>) -> Result<ImageRecord> {
    let image = resolve(engine, name)?;
    match wanted {
        Some(wanted) => of_platform(engine, image, name, wanted),
        None => Ok(image),
    }
}

/// The image itself, or another that a registry called by the same digest.
pub(super) fn of_platform(
    engine: &Engine,
    image: ImageRecord,
    name: &str,
    wanted: &str,
) -> Result<ImageRecord> {
    let Err(error) = require_platform(&image, name, wanted) else { return Ok(image) };
    let mut others = siblings(engine, &image)?.into_iter();
    others.find(|other| require_platform(other, name, wanted).is_ok()).ok_or(error)
}

/// The other images that a registry called by a digest of this one: they came in one list.
pub(super) fn siblings(engine: &Engine, image: &ImageRecord) -> Result<Vec<ImageRecord>> {
    let mut found: Vec<ImageRecord> = Vec::new();
    for reference in image.references.iter().filter(|reference| reference.contains('@')) {
        let same = engine.store.images_by_digest(reference)?;
        found.extend(same.into_iter().filter(|other| other.id != image.id));
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    Ok(found)
}

/// `--platform` as typed.
pub(super) fn platform(text: &str) -> Result<Platform> {
    text.parse().map_err(|reason| Error::Invalid { what: "platform", value: text.into(), reason })
}

/// A reference as typed.
pub(in crate::engine) fn reference(text: &str) -> Result<Reference> {
    let reason = |e: crate::oci::InvalidReference| e.to_string();
    text.parse().map_err(|e| Error::Invalid { what: "image name", value: text.into(), reason: reason(e) })
}

/// The record's config, read.
pub(in crate::engine) fn config(image: &ImageRecord) -> Result<ImageConfig> {
    Ok(ImageConfig::parse(image.config.as_bytes()).map_err(crate::image::Error::from)?)
}

/// The record's names, read. The store holds nothing that is not a reference.
pub(super) fn references(image: &ImageRecord) -> Vec<Reference> {
    image.references.iter().filter_map(|r| r.parse().ok()).collect()
}
