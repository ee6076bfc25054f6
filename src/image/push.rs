//! `push`: from what the store has to a registry.
//!
//! All blobs side by side, each asked for before it is sent: what the registry has in this repository stays, what it
//! has in another one that the store knows of is mounted from there. Then the manifests by their digests, the one with
//! the name last: a name in the registry never leads to what is not there. Documents go as they came, so that
//! everything has the digest that it was pulled with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use super::pull::interruptible;
use super::{Error, Result};
use crate::oci::{self, Descriptor, Digest, Document, Manifest, Reference, media_type};
use crate::registry::runtime::{self, Gate};
use crate::registry::{Arrival, Client, Outgoing, Progress, Repository, Source, Target};
use crate::store::Store;
use crate::store::image::ImageRecord;

/// Blobs at a time.
const AT_A_TIME: usize = 5;

/// How far a layer is. Sizes are bytes of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    Preparing,
    Pushing {
        done: u64,
        total: u64,
    },
    /// The transfer broke off for this reason and goes on soon.
    Retrying(String),
    Present,
    /// From this repository of the same registry.
    Mounted(String),
    Pushed,
}

/// Hears how far the layer of a diff-id is.
pub type Watch<'a> = dyn FnMut(&Digest, LayerState) + 'a;

/// What is pushed under one name.
#[derive(Debug)]
pub struct Content {
    images: Vec<Packed>,
    /// `None`: there is one image, and its manifest has the name.
    index: Option<Vec<u8>>,
    /// Manifests of the index that are not here: the registry must have them.
    there: Vec<Digest>,
}

/// A manifest as it is stored, and what it needs.
#[derive(Debug)]
struct Packed {
    bytes: Vec<u8>,
    manifest: Manifest,
    diff_ids: Vec<Digest>,
}

/// What the registry has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    pub digest: Digest,
    /// Bytes of the manifest or index.
    pub size: u64,
}

impl Content {
    pub fn image(store: &Store, image: &ImageRecord) -> Result<Self> {
        Ok(Self { images: vec![Packed::of(store, image)?], index: None, there: Vec::new() })
    }

    /// An index and those of its images that are here. The manifests `there` have to be where it is pushed to.
    pub fn index(store: &Store, bytes: Vec<u8>, images: &[ImageRecord], there: Vec<Digest>) -> Result<Self> {
        let images = images.iter().map(|image| Packed::of(store, image)).collect::<Result<_>>()?;
        Ok(Self { images, index: Some(bytes), there })
    }
}

impl Packed {
    fn of(store: &Store, image: &ImageRecord) -> Result<Self> {
        let bytes = store.read_blob(&image.manifest, oci::MAX_DOCUMENT)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
            return Err(Error::Archive(format!("{} is not a manifest", image.manifest)));
        };
        let diff_id =
            |text: &String| text.parse().map_err(|e: oci::InvalidDigest| Error::Archive(e.to_string()));
        let diff_ids = image.layers.iter().map(diff_id).collect::<Result<_>>()?;
        Ok(Self { bytes, manifest, diff_ids })
    }
}

/// Makes `content` what the registry has under `reference`, which has a tag. The caller holds content in use.
pub fn push(
    store: &Store,
    client: &Client,
    reference: &Reference,
    content: &Content,
    watch: &mut Watch<'_>,
) -> Result<Pushed> {
    let repository = client.repository(reference)?;
    let elsewhere = elsewhere(store, reference)?;
    let push = Push { store, repository: &repository, elsewhere, watch: RefCell::new(watch) };
    let tag = Target::Tag(reference.tag().unwrap_or("latest").to_owned());
    interruptible(push.run(content, &tag))?
}

/// Repositories of the same registry that had a blob when an image came from there or went there.
fn elsewhere(store: &Store, reference: &Reference) -> Result<BTreeMap<String, String>> {
    let mut known = BTreeMap::new();
    for image in store.images()? {
        let pinned = image.references.iter().filter_map(|name| name.parse::<Reference>().ok());
        let mut pinned = pinned.filter(|name| name.digest().is_some() && name.domain() == reference.domain());
        let Some(there) = pinned.find(|name| name.path() != reference.path()) else { continue };
        for blob in image.blobs.iter().chain([&image.id]) {
            known.insert(blob.clone(), there.path().to_owned());
        }
    }
    Ok(known)
}

struct Push<'a> {
    store: &'a Store,
    repository: &'a Repository<'a>,
    /// By digest of a blob.
    elsewhere: BTreeMap<String, String>,
    watch: RefCell<&'a mut Watch<'a>>,
}

impl Push<'_> {
    async fn run(&self, content: &Content, tag: &Target) -> Result<Pushed> {
        for digest in &content.there {
            if !self.repository.has_manifest(digest).await? {
                return Err(Error::Gone(digest.clone()));
            }
        }
        self.blobs(content).await?;
        for image in &content.images {
            let digest = Digest::of(&image.bytes);
            let named = content.index.is_none();
            let target = if named { tag.clone() } else { Target::Digest(digest) };
            let kind = image.manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
            self.repository.put_manifest(&target, kind, &image.bytes).await?;
        }
        let document = match &content.index {
            None => content.images.first().map(|image| &image.bytes),
            Some(bytes) => {
                let Document::Index(index) = Document::parse(bytes, None)? else {
                    return Err(Error::Archive("it is no list of manifests".into()));
                };
                let kind = index.media_type.as_deref().unwrap_or(media_type::INDEX);
                self.repository.put_manifest(tag, kind, bytes).await?;
                Some(bytes)
            }
        };
        let document = document.ok_or_else(|| Error::Archive("there is no image in it".into()))?;
        Ok(Pushed { digest: Digest::of(document), size: document.len() as u64 })
    }

    /// Configs and layers, each once. An error ends all of them.
    async fn blobs(&self, content: &Content) -> Result<()> {
        let mut wanted: BTreeMap<&Digest, (&Descriptor, Option<&Digest>)> = BTreeMap::new();
        let mut order = Vec::new();
        for image in &content.images {
            let layers = image.manifest.layers.iter().zip(image.diff_ids.iter().map(Some));
            for (blob, diff_id) in layers.chain([(&image.manifest.config, None)]) {
                if wanted.insert(&blob.digest, (blob, diff_id)).is_none() {
                    order.push((blob, diff_id));
                }
            }
        }
        for diff_id in order.iter().filter_map(|(_, diff_id)| *diff_id) {
            self.tell(diff_id, LayerState::Preparing);
        }
        let gate = Gate::new(AT_A_TIME);
        let work = order.into_iter().map(|(blob, diff_id)| {
            let gate = &gate;
            let one = async move {
                let _place = gate.enter().await;
                let named = |error: Error| match (error, blob.digest.clone()) {
                    // The blob that happened to be asked for first has no part in these.
                    (e, _) if matches!(e, Error::Interrupted(_)) || e.is_of_host() => e,
                    (e, digest) if diff_id.is_some() => Error::Layer { digest, source: Box::new(e) },
                    (e, digest) => Error::Config { digest, source: Box::new(e) },
                };
                self.blob(blob, diff_id).await.map_err(named)
            };
            Box::pin(one) as Pin<Box<dyn Future<Output = Result<()>> + '_>>
        });
        runtime::all(work).await.map(|_| ())
    }

    async fn blob(&self, blob: &Descriptor, diff_id: Option<&Digest>) -> Result<()> {
        let tell = |state| {
            if let Some(diff_id) = diff_id {
                self.tell(diff_id, state);
            }
        };
        let file = self.store.open_blob(blob.digest.as_str())?;
        let mount_from = self.elsewhere.get(blob.digest.as_str()).map(String::as_str);
        let outgoing =
            Outgoing { digest: &blob.digest, size: blob.size, source: Arc::new(Stored(file)), mount_from };
        let mut heard = |progress: Progress<'_>| match progress {
            Progress::Sent(done) => tell(LayerState::Pushing { done, total: blob.size }),
            Progress::Retrying(error) => tell(LayerState::Retrying(crate::error::chain(error))),
        };
        tell(match self.repository.upload(&outgoing, &mut heard).await? {
            Arrival::Present => LayerState::Present,
            Arrival::Mounted => LayerState::Mounted(mount_from.unwrap_or_default().to_owned()),
            Arrival::Sent => LayerState::Pushed,
        });
        Ok(())
    }

    fn tell(&self, diff_id: &Digest, state: LayerState) {
        (self.watch.borrow_mut())(diff_id, state);
    }
}

/// A blob of the store.
#[derive(Debug)]
struct Stored(File);

impl Source for Stored {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
