//! `pull`: from a reference to a recorded image.
//!
//! Documents first: the digest behind a tag, then index, manifest and config, each verified and judged before anything
//! is done about it. Then all layers side by side ([`layers`]), each in one pass: what arrives is hashed and written to
//! the blob's file by this process, and read from there, decompressed, hashed and unpacked by a child in the user
//! namespace. Nothing has a name before it was verified, and the image is recorded when everything else is.
//!
//! Whatever ends the process, the next pull goes on: the first bytes of a blob stay in staging, and what is finished is
//! protected by a lease. This process has one thread throughout, because it forks between and during requests.

mod documents;
mod layers;

use std::cell::RefCell;

use super::{Error, Result, record};
use crate::oci::{Digest, Platform, Reference};
use crate::registry::runtime::{self, Either};
use crate::registry::{Client, Repository, Target};
use crate::store::Store;
use crate::store::content::Staged;
use crate::store::image::ImageRecord;
use crate::sys::signal::Signals;

use documents::Documents;

/// What there is to see of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The registry has the image. Its layers follow, unless all is here.
    Begins,
    Layer {
        digest: Digest,
        state: LayerState,
    },
}

/// How far a layer is. Sizes are bytes of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    /// It is going to be fetched.
    Waiting {
        total: u64,
    },
    /// It is in the store.
    Present,
    Downloading {
        done: u64,
        total: u64,
    },
    /// The transfer broke off for this reason and goes on soon.
    Retrying(String),
    Downloaded,
    Extracting,
    Done,
}

/// What a pull came to.
#[derive(Debug, Clone)]
pub struct Pulled {
    pub image: ImageRecord,
    /// What the registry calls it: the digest of the index, or of the manifest where there is no index.
    pub digest: Digest,
    /// Whether something had to be fetched, or a name moved.
    pub is_new: bool,
}

/// Hears the events of one pull.
pub type Watch<'a> = dyn FnMut(Event) + 'a;

/// Makes the image of `reference` for `platform` (the host's, when there is a choice and `None`) the one in the store.
/// The calling process must have one thread, and hold the store's content in use.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    platform: Option<&Platform>,
    watch: &mut Watch<'_>,
) -> Result<Pulled> {
    // What is addressed by its content cannot have changed.
    if let Some(digest) = reference.digest()
        && let Some(image) = known(store, reference, digest, platform)?
    {
        return Ok(Pulled { image, digest: digest.clone(), is_new: false });
    }
    let repository = client.repository(reference)?;
    let pull = Pull { store, repository: &repository, reference, platform, watch: RefCell::new(watch) };
    interruptible(pull.run())?
}

/// Tags of the repository: all, or at least `enough` of them.
pub fn tags(client: &Client, reference: &Reference, enough: Option<usize>) -> Result<Vec<String>> {
    let repository = client.repository(reference)?;
    Ok(interruptible(repository.tags(enough))??)
}

/// Runs `work`, unless a signal asks to stop: then it is dropped as it is, which puts everything away properly.
pub(crate) fn interruptible<T>(work: impl Future<Output = T>) -> Result<T> {
    let signals =
        Signals::take(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]).map_err(crate::store::Error::from)?;
    match runtime::run(runtime::first(work, runtime::readable(&signals)))? {
        Either::First(done) => Ok(done),
        Either::Second(_) => Err(Error::Interrupted(signals.next().ok().flatten().unwrap_or(libc::SIGINT))),
    }
}

/// An image of this digest that is here and for the platform.
fn known(
    store: &Store,
    reference: &Reference,
    digest: &Digest,
    platform: Option<&Platform>,
) -> Result<Option<ImageRecord>> {
    let name = format!("{}@{digest}", reference.repository());
    for image in store.images_by_digest(&name)? {
        let config = crate::oci::ImageConfig::parse(image.config.as_bytes())?;
        // A manifest is for one platform; only an index leaves a choice.
        let only = platform.is_none() && image.manifest == digest.as_str();
        if only || config.platform().satisfies(&platform.cloned().unwrap_or_else(Platform::host)) {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

struct Pull<'a> {
    store: &'a Store,
    repository: &'a Repository<'a>,
    reference: &'a Reference,
    platform: Option<&'a Platform>,
    watch: RefCell<&'a mut Watch<'a>>,
}

impl Pull<'_> {
    fn tell(&self, event: Event) {
        (self.watch.borrow_mut())(event);
    }

    async fn run(&self) -> Result<Pulled> {
        let target = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, tag) => Target::Tag(tag.unwrap_or("latest").to_owned()),
        };
        let target = match self.repository.resolve(&target).await? {
            Some(digest) => {
                if let Some(image) = known(self.store, self.reference, &digest, self.platform)? {
                    self.tell(Event::Begins);
                    let is_new = self.tag(&image, &digest)?;
                    return Ok(Pulled { image, digest, is_new });
                }
                Target::Digest(digest)
            }
            None => target,
        };
        let documents = documents::fetch(self.repository, &target, self.platform).await?;
        self.tell(Event::Begins);
        let image = self.add(&documents).await?;
        self.tag(&image, &documents.digest)?;
        Ok(Pulled { image, digest: documents.digest, is_new: true })
    }

    /// Names the image. Whether that changed anything.
    fn tag(&self, image: &ImageRecord, digest: &Digest) -> Result<bool> {
        let name = self.reference.to_string();
        let is_new = match self.reference.digest() {
            Some(_) => false,
            None if image.references.contains(&name) => false,
            None => {
                self.store.tag(&image.id, &name)?;
                true
            }
        };
        let repository = self.reference.repository();
        if !image.references.contains(&format!("{repository}@{digest}")) {
            self.store.add_repo_digest(&image.id, &repository, digest.as_str())?;
        }
        Ok(is_new)
    }

    /// Everything into the store. What failed for good is not kept for another time.
    async fn add(&self, documents: &Documents) -> Result<ImageRecord> {
        let store = self.store;
        let wanted = documents.layers();
        let contents = wanted.iter().flat_map(|w| [w.blob.digest.to_string(), w.diff_id.to_string()]);
        let lease = store.lease(documents.manifest_digest.as_str(), contents)?;
        let added = match layers::fetch_all(self, &wanted).await {
            Ok(()) => self.record(documents),
            Err(e) => Err(e),
        };
        match &added {
            Err(e) if !e.is_of_content() => {}
            Err(_) => {
                lease.end(store)?;
                // Of an image that can never be, nothing is worth keeping.
                for layer in &wanted {
                    if let Staged::Ready(partial) = store.try_partial(layer.blob.digest.as_str())? {
                        partial.discard();
                    }
                }
            }
            Ok(_) => lease.end(store)?,
        }
        added
    }

    fn record(&self, documents: &Documents) -> Result<ImageRecord> {
        for document in documents.all() {
            self.store.put_blob(document)?;
        }
        let manifest = documents.manifest_digest.as_str();
        let recorded = record::add(self.store, &documents.manifest_digest, &documents.manifest, None)?;
        let image = self.store.find_image(&recorded.id)?;
        if image.manifest == manifest {
            return Ok(image);
        }
        // The same image, packed differently.
        self.store.set_manifest(&image.id, manifest, &recorded.blobs)?;
        Ok(self.store.find_image(&recorded.id)?)
    }
}
