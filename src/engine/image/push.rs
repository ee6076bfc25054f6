//! `push`: images go to registries.

use super::{resolve, with_content};
use crate::engine::{Engine, Error, Result};
use crate::image::Client;
use crate::image::push::{self, Content};
use crate::oci::{self, Digest, Document, Index, Reference};
use crate::store::events::Event as StoreEvent;
use crate::store::image::ImageRecord;

pub use crate::image::push::{LayerState, Pushed};

/// Pushes a list that was made here, and what it names. As with podman, a list does not keep its images: `rmi` is
/// believed, and frees their space. As with docker, one that the registry has in that repository need not be here.
pub fn push_list(
    engine: &Engine,
    client: &Client,
    index: Index,
    bytes: Vec<u8>,
    target: &Reference,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Pushed> {
    let store = &engine.store;
    let pushed = with_content(store, || {
        let (mut images, mut there) = (Vec::new(), Vec::new());
        for entry in &index.manifests {
            match store.images_of_manifest(entry.digest.as_str())?.into_iter().next() {
                Some(image) => images.push(image),
                None => there.push(entry.digest.clone()),
            }
        }
        let content = Content::index(store, bytes, &images, there)?;
        Ok(push::push(store, client, target, &content, &mut |diff_id, state| {
            watch(Step::Layer(diff_id, state));
        })?)
    });
    store.remove_unreferenced(|path| store.delete_tree(path))?;
    let pushed = pushed?;
    watch(Step::Pushed(target, &pushed));
    Ok(pushed)
}

/// What `push` was asked for.
#[derive(Debug, Clone, Default)]
pub struct PushRequest {
    /// As typed.
    pub name: String,
    /// Every tag of the repository that is here.
    pub all_tags: bool,
    /// `os/arch[/variant]`: this image alone, not the list it came in.
    pub platform: Option<String>,
}

/// What is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Where it goes. Comes first, and once.
    Repository(&'a Reference),
    /// The layer of this diff-id.
    Layer(&'a Digest, LayerState),
    /// The image came in a list of which not everything is here: it goes alone, under its own digest.
    Alone {
        list: &'a Digest,
        image: &'a str,
    },
    Pushed(&'a Reference, &'a Pushed),
}

/// What was pushed, under each name. The calling process must have one thread.
pub fn push(
    engine: &Engine,
    request: &PushRequest,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<Vec<(Reference, Pushed)>> {
    let reference = resolve::reference(&request.name)?;
    if reference.digest().is_some() {
        return Err(invalid(request, "cannot push a digest reference"));
    }
    let references =
        if request.all_tags { tags(engine, request, &reference)? } else { vec![reference.clone()] };
    watch(Step::Repository(&reference));
    let client = Client::new(&engine.config);
    let store = &engine.store;
    let pushed = with_content(store, || {
        references.into_iter().map(|reference| one(engine, &client, request, reference, watch)).collect()
    });
    // What was removed meanwhile could not go.
    store.remove_unreferenced(|path| store.delete_tree(path))?;
    pushed
}

fn invalid(request: &PushRequest, reason: &str) -> Error {
    Error::Invalid { what: "image name", value: request.name.clone(), reason: reason.into() }
}

fn tags(engine: &Engine, request: &PushRequest, reference: &Reference) -> Result<Vec<Reference>> {
    // `alpine` is `alpine:latest`: what was typed tells them apart.
    if request.name.rsplit('/').next().unwrap_or_default().contains(':') {
        return Err(invalid(request, "tag can't be used with --all-tags/-a"));
    }
    let mut found = Vec::new();
    for image in engine.store.images()? {
        let names = resolve::references(&image).into_iter();
        found.extend(names.filter(|n| n.digest().is_none() && n.repository() == reference.repository()));
    }
    found.sort();
    if found.is_empty() {
        let name = reference.familiar_repository();
        return Err(Error::NotHere(format!("an image does not exist locally with the tag: {name}")));
    }
    Ok(found)
}

fn one(
    engine: &Engine,
    client: &Client,
    request: &PushRequest,
    reference: Reference,
    watch: &mut dyn FnMut(Step<'_>),
) -> Result<(Reference, Pushed)> {
    let store = &engine.store;
    let image = match store.find_image(&reference.to_string()) {
        Err(crate::store::Error::NoSuchImage(_)) => {
            if let (Some(text), None) = (store.image_list(&reference.to_string())?, &request.platform) {
                let parsed = Document::parse(text.as_bytes(), None).map_err(crate::image::Error::from)?;
                if let Document::Index(index) = parsed {
                    let pushed = push_list(engine, client, index, text.into_bytes(), &reference, watch)?;
                    return Ok((reference, pushed));
                }
            }
            let name = reference.familiar();
            return Err(Error::NotHere(format!("an image does not exist locally with the tag: {name}")));
        }
        other => other?,
    };
    let list = list_of(engine, &image)?;
    let (content, images) = match (list, &request.platform) {
        (list, Some(wanted)) => {
            let image = for_platform(image, list, &request.name, wanted)?;
            (Content::image(store, &image)?, vec![image])
        }
        (Some(list), None) if list.is_whole => {
            (Content::index(store, list.bytes, &list.images, Vec::new())?, list.images)
        }
        (list, None) => {
            if let Some(list) = list {
                watch(Step::Alone { list: &list.digest, image: &image.manifest });
            }
            (Content::image(store, &image)?, vec![image])
        }
    };
    let pushed = push::push(store, client, &reference, &content, &mut |diff_id, state| {
        watch(Step::Layer(diff_id, state));
    })?;
    for image in &images {
        store.add_repo_digest(&image.id, &reference.repository(), pushed.digest.as_str())?;
        let name = [("name".to_string(), reference.familiar())].into();
        store.append_event(&StoreEvent::new("image", "push", &image.id, name))?;
    }
    watch(Step::Pushed(&reference, &pushed));
    Ok((reference, pushed))
}

/// The list that an image came in.
struct List {
    digest: Digest,
    bytes: Vec<u8>,
    /// Those of its images that are here.
    images: Vec<ImageRecord>,
    is_whole: bool,
}

/// The image itself, or one that came in the same list.
fn for_platform(image: ImageRecord, list: Option<List>, name: &str, wanted: &str) -> Result<ImageRecord> {
    let Err(error) = resolve::require_platform(&image, name, wanted) else { return Ok(image) };
    let mut others = list.map_or_else(Vec::new, |list| list.images).into_iter();
    others.find(|other| resolve::require_platform(other, name, wanted).is_ok()).ok_or(error)
}

/// One of which everything is here goes before one of which not.
fn list_of(engine: &Engine, image: &ImageRecord) -> Result<Option<List>> {
    let store = &engine.store;
    let mut part = None;
    for reference in resolve::references(image) {
        let Some(digest) = reference.digest().filter(|d| d.as_str() != image.manifest) else { continue };
        // What a registry called it may be known without the document.
        if !store.blob_exists(digest.as_str())? {
            continue;
        }
        let bytes = store.read_blob(digest.as_str(), oci::MAX_DOCUMENT)?;
        let Ok(Document::Index(index)) = Document::parse(&bytes, None) else { continue };
        if !index.manifests.iter().any(|entry| entry.digest.as_str() == image.manifest) {
            continue;
        }
        let mut images = Vec::new();
        for entry in &index.manifests {
            images.extend(store.images_of_manifest(entry.digest.as_str())?.into_iter().next());
        }
        let is_whole = images.len() == index.manifests.len();
        let list = List { digest: digest.clone(), bytes, images, is_whole };
        if is_whole {
            return Ok(Some(list));
        }
        part = Some(list);
    }
    Ok(part)
}
