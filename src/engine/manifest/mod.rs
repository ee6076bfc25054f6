//! `manifest`: lists of images for several platforms, made here and pushed whole.

pub mod inspect;

use std::collections::BTreeMap;

use crate::engine::image::pull::{self, PullRequest};
use crate::engine::image::push::{self, Pushed, Step};
use crate::engine::image::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::{Client, document};
use crate::oci::{Descriptor, Digest, Document, Index, Platform, Reference, media_type};
use crate::store::image::ImageRecord;

/// What is said of an image in a list; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Annotate {
    pub os: Option<String>,
    pub architecture: Option<String>,
    pub variant: Option<String>,
    pub os_version: Option<String>,
    /// Empty leaves them as they are, as does `features`.
    pub os_features: Vec<String>,
    pub features: Vec<String>,
    pub annotations: BTreeMap<String, String>,
}

/// What `create` was asked for.
#[derive(Debug, Clone, Default)]
pub struct NewList {
    /// As typed.
    pub name: String,
    pub images: Vec<String>,
    /// Of an image that is a list in its registry, everything.
    pub all: bool,
    /// One of that name is added to.
    pub amend: bool,
    /// Of the list itself.
    pub annotations: BTreeMap<String, String>,
    /// Plain HTTP will do with a registry that speaks no TLS.
    pub insecure: bool,
}

/// A new list. Gives its full name.
pub fn create(engine: &Engine, request: &NewList) -> Result<String> {
    let NewList { name, images, all, amend, annotations, insecure } = request;
    let reference = list_name(name)?.to_string();
    let entries = entries(engine, images, *all, *insecure)?;
    let exists = || invalid("list", name, "it exists; --amend adds to it, `kelp manifest rm` removes it");
    engine.store.change_image_list(&reference, |known| match (known, *amend) {
        (Some(known), false) => (Some(known), Err(exists())),
        (known, _) => match known.as_deref().map_or_else(|| Ok(empty()), read) {
            Err(e) => (known, Err(e)),
            Ok(mut index) => {
                merge(&mut index, entries);
                index.annotations.extend(annotations.clone());
                (Some(write(&index)), Ok(()))
            }
        },
    })??;
    Ok(reference)
}

/// Adds images to a list. Gives the list's digest as it is then.
pub fn add(engine: &Engine, name: &str, images: &[String], all: bool, annotate: &Annotate) -> Result<Digest> {
    let mut entries = entries(engine, images, all, false)?;
    entries.iter_mut().for_each(|entry| apply(entry, annotate));
    change(engine, name, |index| {
        merge(index, entries);
        Ok(())
    })
}

/// Says something else of one image of a list.
pub fn annotate(engine: &Engine, name: &str, image: &str, annotate: &Annotate) -> Result<Digest> {
    let digest = entry_digest(engine, image)?;
    change(engine, name, |index| {
        let entry = index.manifests.iter_mut().find(|entry| entry.digest.as_str() == digest);
        apply(entry.ok_or_else(|| invalid("image", image, "the list does not have it"))?, annotate);
        Ok(())
    })
}

/// Takes one image out of a list.
pub fn remove(engine: &Engine, name: &str, image: &str) -> Result<Digest> {
    let digest = entry_digest(engine, image)?;
    change(engine, name, |index| {
        let before = index.manifests.len();
        index.manifests.retain(|entry| entry.digest.as_str() != digest);
        if index.manifests.len() < before {
            Ok(())
        } else {
            Err(invalid("image", image, "the list does not have it"))
        }
    })
}

/// Whether there is a list of this name.
pub fn exists(engine: &Engine, name: &str) -> Result<bool> {
    Ok(engine.store.image_list(&list_name(name)?.to_string())?.is_some())
}

/// Pushes the list and its images, to `destination` unless that is its own name; `purge` removes it here then. With
/// `insecure`, plain HTTP will do with a registry that speaks no TLS.
pub fn push(
    engine: &Engine,
    name: &str,
    destination: Option<&str>,
    purge: bool,
    insecure: bool,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Pushed> {
    let reference = list_name(name)?;
    let text = engine.store.image_list(&reference.to_string())?.ok_or_else(|| no_list(name))?;
    let target = match destination {
        Some(text) => list_name(text.strip_prefix("docker://").unwrap_or(text))?,
        None => reference.clone(),
    };
    watch(Step::Repository(&target));
    let client = Client::insecure(&engine.config, insecure);
    let pushed = push::push_list(engine, &client, read(&text)?, text.into_bytes(), &target, watch)?;
    if purge {
        rm(engine, name)?;
    }
    Ok(pushed)
}

/// Removes a list, not its images.
pub fn rm(engine: &Engine, name: &str) -> Result<()> {
    let known =
        engine.store.change_image_list(&list_name(name)?.to_string(), |known| (None, known.is_some()))?;
    if known { Ok(()) } else { Err(no_list(name)) }
}

fn no_list(name: &str) -> Error {
    invalid("list", name, "there is no list of this name; `kelp manifest create` makes one")
}

fn invalid(what: &'static str, value: &str, reason: &str) -> Error {
    Error::Invalid { what, value: value.into(), reason: reason.into() }
}

fn list_name(text: &str) -> Result<Reference> {
    let name = resolve::reference(text)?;
    if name.digest().is_some() {
        return Err(invalid("list", text, "a list that is yet to change has no digest in its name"));
    }
    Ok(name)
}

fn change(engine: &Engine, name: &str, work: impl FnOnce(&mut Index) -> Result<()>) -> Result<Digest> {
    engine.store.change_image_list(&list_name(name)?.to_string(), |known| {
        let Some(text) = known else { return (None, Err(no_list(name))) };
        let changed = read(&text).and_then(|mut index| work(&mut index).map(|()| write(&index)));
        match changed {
            Ok(new) => {
                let digest = Digest::of(new.as_bytes());
                (Some(new), Ok(digest))
            }
            Err(e) => (Some(text), Err(e)),
        }
    })?
}

fn empty() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.into()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn read(text: &str) -> Result<Index> {
    match Document::parse(text.as_bytes(), None).map_err(crate::image::Error::from)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(crate::image::Error::Archive("it is no list".into()).into()),
    }
}

fn write(index: &Index) -> String {
    serde_json::to_string(index).expect("strings and maps of strings are always JSON")
}

/// An image that is there already is replaced.
fn merge(index: &mut Index, entries: Vec<Descriptor>) {
    for entry in entries {
        index.manifests.retain(|known| known.digest != entry.digest);
        index.manifests.push(entry);
    }
}

fn apply(entry: &mut Descriptor, annotate: &Annotate) {
    let platform = entry.platform.get_or_insert_with(|| Box::new(Platform::host()));
    for (field, value) in
        [(&mut platform.os, &annotate.os), (&mut platform.architecture, &annotate.architecture)]
    {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    for (field, value) in
        [(&mut platform.variant, &annotate.variant), (&mut platform.os_version, &annotate.os_version)]
    {
        if value.is_some() {
            field.clone_from(value);
        }
    }
    for (field, value) in
        [(&mut platform.os_features, &annotate.os_features), (&mut platform.features, &annotate.features)]
    {
        if !value.is_empty() {
            field.clone_from(value);
        }
    }
    entry.annotations.extend(annotate.annotations.clone());
}

/// The digest of an image's manifest: as given, or of the image that is meant.
fn entry_digest(engine: &Engine, image: &str) -> Result<String> {
    match image.parse::<Digest>() {
        Ok(digest) => Ok(digest.to_string()),
        Err(_) => Ok(resolve::resolve(engine, image)?.manifest),
    }
}

/// What a list says of these images. Those that are not here are pulled; with `all`, every one of a list.
fn entries(engine: &Engine, images: &[String], all: bool, insecure: bool) -> Result<Vec<Descriptor>> {
    let mut entries = Vec::new();
    for name in images {
        let name = name.strip_prefix("docker://").unwrap_or(name);
        if all {
            entries.extend(every(engine, name, insecure)?);
            continue;
        }
        let image = match resolve::resolve(engine, name) {
            Err(e) if e.is_missing() => {
                fetch(engine, name, None, insecure)?;
                resolve::resolve(engine, name)?
            }
            other => other?,
        };
        entries.push(entry(engine, &image)?);
    }
    Ok(entries)
}

fn fetch(engine: &Engine, name: &str, platform: Option<String>, insecure: bool) -> Result<String> {
    let request = PullRequest { name: name.into(), platform, all_tags: false, insecure };
    let pulled = pull::pull(engine, &request, &mut |_| {})?;
    pulled.into_iter().next().map(|image| image.id).ok_or_else(|| Error::NoSuchImage(name.into()))
}

/// What a registry has under the name, for each platform: as its list says it, every image here.
fn every(engine: &Engine, name: &str, insecure: bool) -> Result<Vec<Descriptor>> {
    let reference = resolve::reference(name)?;
    let bytes = document::fetch(&Client::insecure(&engine.config, insecure), &reference)?;
    let parsed = Document::parse(&bytes, None).map_err(crate::image::Error::from)?;
    let Document::Index(index) = parsed else {
        let image = engine.store.find_image(&fetch(engine, name, None, insecure)?)?;
        return Ok(vec![entry(engine, &image)?]);
    };
    // By digest: the name may move meanwhile, and keeps meaning here what it means.
    let pinned = format!("{}@{}", reference.repository(), Digest::of(&bytes));
    let mut entries = Vec::new();
    for said in index.images() {
        let Some(platform) = &said.platform else { continue };
        let id = fetch(engine, &pinned, Some(platform.to_string()), insecure)?;
        let image = engine.store.find_image(&id)?;
        let mut entry = entry(engine, &image)?;
        if said.digest == entry.digest {
            entry.platform = Some(platform.clone());
            entry.annotations.clone_from(&said.annotations);
        } else if !media_type::is_index(&said.media_type) {
            let reason = format!("it has several images for {platform}, which --all cannot tell apart");
            return Err(invalid("image", name, &reason));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(engine: &Engine, image: &ImageRecord) -> Result<Descriptor> {
    let bytes = engine.store.read_blob(&image.manifest, crate::oci::MAX_DOCUMENT)?;
    let Document::Manifest(manifest) = Document::parse(&bytes, None).map_err(crate::image::Error::from)?
    else {
        return Err(crate::image::Error::Archive(format!("{} is not a manifest", image.manifest)).into());
    };
    let kind = manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
    let mut entry = Descriptor::new(kind, Digest::of(&bytes), bytes.len() as u64);
    entry.platform = Some(Box::new(resolve::config(image)?.platform()));
    Ok(entry)
}
