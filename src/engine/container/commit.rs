//! `commit`: what a container has changed becomes a layer, and with the layers below it an image.

use std::io::{Cursor, Read};
use std::os::fd::AsFd;

use jiff::Timestamp;

use super::export::Failure;
use super::held::{Held, hold};
use super::{config, inspect};
use crate::engine::image::import::digest;
use crate::engine::image::{self, resolve};
use crate::engine::request::CreateRequest;
use crate::engine::{Engine, Error, Result};
use crate::image::pack::{self, Owners, Writer};
use crate::image::{layer, record};
use crate::oci::{Change, ContainerConfig, Descriptor, Document, History, ImageConfig, Manifest, media_type};
use crate::snapshot::Layers;
use crate::snapshot::diff::Part;
use crate::store::events::Event;
use crate::store::image::ImageRecord;
use crate::store::produced;

const VERB: &str = "commit";
/// Of the root directory, unless an archive says something else.
const ROOT: (u32, u32, u32) = (0o755, 0, 0);
const BLOCK: usize = 512;

/// Whether the container's processes are to stand still meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pause {
    /// docker does; kelp cannot, and says so.
    #[default]
    Unsaid,
    Yes,
    No,
}

/// What `commit` was asked for.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    pub container: String,
    /// As typed; `None` leaves the image without a name.
    pub reference: Option<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Dockerfile instructions, in their order.
    pub changes: Vec<String>,
    pub pause: Pause,
}

/// A new image, and what the user should be told about it.
#[derive(Debug)]
pub struct Committed {
    /// `sha256:…`.
    pub id: String,
    pub warnings: Vec<String>,
}

/// The calling process must have one thread.
pub fn commit(engine: &Engine, request: &CommitRequest) -> Result<Committed> {
    let reference = request.reference.as_deref().map(resolve::reference).transpose()?;
    if let Some(digest) = reference.as_ref().and_then(|r| r.digest()) {
        let (value, reason) = (digest.to_string(), "a commit cannot choose its digest".into());
        return Err(Error::Invalid { what: "image name", value, reason });
    }
    let changes = request.changes.iter().map(|text| parsed(text)).collect::<Result<Vec<_>>>()?;
    let held = hold(engine, &request.container, VERB)?;
    let warnings = check_pause(&held, request.pause)?;
    let Some(base) = &held.record.image_id else {
        let reason = "it was not made from an image, so there is nothing to put a layer on";
        let hint =
            format!("`kelp export {0} | kelp import - NAME` makes an image of all of it", held.record.name);
        return Err(held.cannot(VERB, reason, Some(hint)));
    };
    let store = &engine.store;
    let layers = held.layers(engine, VERB)?;
    let image = image::adding(store, || {
        let base = store.find_image(base).map_err(|e| match e {
            crate::store::Error::NoSuchImage(_) => Error::NoSuchImage(base.clone()),
            other => other.into(),
        })?;
        let mut config = ImageConfig::parse(base.config.as_bytes()).map_err(crate::image::Error::from)?;
        let made = inspect::request(&held.record)?;
        let created_by = config::words(&config.config, &made).1.join(" ");
        config.config = configured(&config.config, &held, &made, &changes)?;
        let mut descriptors = descriptors(engine, &base)?;
        let added = pack_layer(engine, &layers)?;
        let empty_layer = added.is_none();
        if let Some((blob, layer)) = added {
            descriptors.push(blob);
            config.rootfs.diff_ids.push(layer.diff_id);
        }
        tell_origin(&mut config, request, created_by, empty_layer);
        let config = config.to_json();
        let id = digest(&store.put_blob(config.as_bytes())?)?;
        let config = Descriptor::new(media_type::CONFIG, id, config.len() as u64);
        let manifest = Manifest::new(config, descriptors);
        let manifest_digest = digest(&store.put_blob(manifest.to_json().as_bytes())?)?;
        Ok(record::add(store, &manifest_digest, &manifest, reference.as_ref())?)
    })?;
    let event = Event::of_container(&held.record, "commit")
        .with("comment", request.message.clone().unwrap_or_default())
        .with("imageID", &image.id)
        .with("imageRef", reference.map(|r| r.to_string()).unwrap_or_default());
    store.append_event(&event)?;
    Ok(Committed { id: image.id, warnings })
}

fn parsed(text: &str) -> Result<Change> {
    text.parse().map_err(|e: crate::oci::ChangeError| invalid(text, &e))
}

fn invalid(text: &str, error: &crate::oci::ChangeError) -> Error {
    Error::Invalid { what: "change", value: text.into(), reason: error.to_string() }
}

/// Why nothing is paused. Signals would do, and are no way: the container sees them. Its shells take a stopped job for
/// the user's doing, its supervisors for a failure, what was stopped before would go on afterwards, and what is born
/// meanwhile runs. docker and podman pause with the freezer or not at all.
const NO_FREEZER: &str = "pausing takes a control group of its own, which kelp makes none yet";

fn check_pause(held: &Held, pause: Pause) -> Result<Vec<String>> {
    let hint = "--pause=false commits it as it runs";
    match pause {
        _ if !held.is_running() => Ok(Vec::new()),
        Pause::No => Ok(Vec::new()),
        Pause::Yes => {
            let reason = format!("it runs, and cannot be paused: {NO_FREEZER}");
            let hint = format!("stop it first (kelp stop {}), or {hint}", held.record.name);
            Err(held.cannot(VERB, &reason, Some(hint)))
        }
        Pause::Unsaid => Ok(vec![format!(
            "{} runs on while it is committed ({NO_FREEZER}): what it writes at this moment may be in the image in part \
             (--pause=false says that this is meant)",
            held.record.name
        )]),
    }
}

/// The configuration of the container, which is that of its image and of whoever made it, and the changes.
fn configured(
    image: &ContainerConfig,
    held: &Held,
    request: &CreateRequest,
    changes: &[Change],
) -> Result<ContainerConfig> {
    let mut config = config::of(image, request);
    // A bare name has taken the image's away.
    config.env.retain(|entry| entry.contains('='));
    // docker does not hand triggers on.
    config.on_build.clear();
    config.labels.clone_from(&held.record.labels);
    let mut has_command = false;
    for change in changes {
        change.apply(&mut config).map_err(|e| invalid(change.keyword(), &e))?;
        match change.keyword() {
            "CMD" => has_command = true,
            // The old command was meant for the old entry point.
            "ENTRYPOINT" if !has_command => config.cmd.clear(),
            _ => {}
        }
    }
    Ok(config)
}

fn tell_origin(config: &mut ImageConfig, commit: &CommitRequest, created_by: String, empty_layer: bool) {
    let created = Some(Timestamp::now());
    let author = commit.author.clone().unwrap_or_default();
    let comment = commit.message.clone().unwrap_or_default();
    config.created = created;
    config.docker_version.clear();
    config.author.clone_from(&author);
    config.comment.clone_from(&comment);
    config.history.push(History { created, created_by, author, comment, empty_layer });
}

/// The layers of the image below, by OCI's names for what they are.
fn descriptors(engine: &Engine, base: &ImageRecord) -> Result<Vec<Descriptor>> {
    let bytes = engine.store.read_blob(&base.manifest, crate::oci::MAX_DOCUMENT)?;
    let parsed = Document::parse(&bytes, None).map_err(crate::image::Error::from)?;
    let Document::Manifest(Manifest { mut layers, .. }) = parsed else {
        return Err(crate::image::Error::Archive(format!("{} is not a manifest", base.manifest)).into());
    };
    for layer in &mut layers {
        layer.media_type = match layer.media_type.as_str() {
            media_type::DOCKER_LAYER_GZIP => media_type::LAYER_GZIP.into(),
            media_type::DOCKER_LAYER => media_type::LAYER.into(),
            media_type::DOCKER_LAYER_ZSTD => media_type::LAYER_ZSTD.into(),
            other => other.into(),
        };
    }
    Ok(layers)
}

/// The container's changes as a stored layer, compressed with gzip, which every other tool reads. `None` where it has
/// changed nothing: such a layer is not one, as with docker.
fn pack_layer(engine: &Engine, layers: &Layers) -> Result<Option<(Descriptor, layer::Layer)>> {
    let mut produced = produced::begin(&engine.store, &[], |out| {
        let mut archive = Writer::new(out, Owners::Seen);
        let pack = || -> std::result::Result<u64, Failure> {
            layers.walk_layer::<Failure>(&mut |part| add(&mut archive, &part))?;
            Ok(archive.finish()?)
        };
        pack().map(|_| ()).map_err(|e| crate::error::chain(&e))
    })?;
    let mut start = Vec::with_capacity(BLOCK);
    let read = produced.by_ref().take(BLOCK as u64).read_to_end(&mut start);
    read.map_err(|source| crate::image::Error::Read { what: WHAT.into(), source })?;
    if start.iter().all(|b| *b == 0) {
        produced.end()?;
        return Ok(None);
    }
    let whole = Cursor::new(start).chain(produced);
    let packed = flate2::read::GzEncoder::new(whole, flate2::Compression::fast());
    Ok(Some(layer::receive(&engine.store, WHAT, packed)?))
}

fn is_plain_root(dir: impl AsFd) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|s| (s.st_mode & 0o7777, s.st_uid, s.st_gid) == ROOT)
}

const WHAT: &str = "the container's changes";

fn add(archive: &mut Writer<'_, impl std::io::Write>, part: &Part<'_>) -> std::result::Result<(), Failure> {
    match part {
        Part::Whiteout { path } => archive.whiteout(path)?,
        Part::Opaque { path } => archive.opaque(path)?,
        Part::Entry { dir, path: b".", .. } if is_plain_root(dir) => {}
        Part::Entry { dir, name, path } => {
            if name.as_encoded_bytes().starts_with(b".wh.") {
                return Err(pack::Error::Whiteout { path: String::from_utf8_lossy(path).into_owned() }.into());
            }
            archive.entry(dir, name, path)?;
        }
    }
    Ok(())
}
