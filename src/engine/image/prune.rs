//! `image prune`: what no container was made from goes, without a tag or, with `all`, with one, and what interrupted
//! pulls have left to go on with.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve;
use super::rmi::{Removed, carry_out, deleted_layers};
use crate::engine::container::create::about_to_go;
use crate::engine::filter::Prune;
use crate::engine::{Engine, Result};
use crate::store::container::ContainerRecord;
use crate::store::content::Collected;
use crate::store::image::ImageRecord;
use crate::store::partial::Interrupted;

/// Keys that `--filter` knows.
pub const FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

/// What `image prune` was asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Also images with a tag.
    pub all: bool,
    /// `KEY=VALUE` pairs of `--filter`.
    pub filters: Vec<(String, String)>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub images: Vec<Removed>,
    /// Digests of blobs whose interrupted download would have gone on where it stopped.
    pub downloads: Vec<String>,
    /// Bytes on the disk.
    pub reclaimed: u64,
}

/// Refuses filters that make no sense, before anybody is asked whether to go on.
pub fn check(request: &PruneRequest) -> Result<()> {
    Prune::parse(&request.filters, FILTERS).map(|_| ())
}

/// Containers in `without` count as gone: a dry run of `system prune` has only pretended to remove them.
pub fn prune(engine: &Engine, request: &PruneRequest, without: &[String]) -> Result<Pruned> {
    let filter = Prune::parse(&request.filters, FILTERS)?;
    let all = filter.dangling.map_or(request.all, |dangling| !dangling);
    let store = &engine.store;
    let _room = (!request.dry_run).then(|| store.make_room());
    let users = users(engine, request.dry_run, without)?;
    let used: BTreeSet<&str> = users.iter().filter_map(|row| row.image_id.as_deref()).collect();
    let mut candidates = Vec::new();
    for image in store.images()? {
        let labels = resolve::config(&image)?.config.labels;
        let unused = !used.contains(image.id.as_str()) && (all || image.is_dangling());
        if unused && filter.accepts(image.created, &labels) {
            candidates.push(image);
        }
    }
    let (layers, blobs) = (store.layers_on_disk()?, store.blobs_on_disk()?);
    let (removed, gone) =
        if request.dry_run { pretend(engine, &candidates, &users)? } else { remove(engine, &candidates)? };
    let sum = |digests: &[String], sizes: &BTreeMap<String, u64>| -> u64 {
        digests.iter().filter_map(|digest| sizes.get(digest)).sum()
    };
    let interrupted = match request.dry_run {
        // A filter chooses among images, and these are none.
        _ if filter.chooses() => Interrupted::default(),
        true => store.interrupted()?,
        false => store.forget_interrupted()?,
    };
    let reclaimed = sum(&gone.layers, &layers) + sum(&gone.blobs, &blobs) + interrupted.bytes;
    Ok(Pruned { images: told(removed, gone.layers), downloads: interrupted.blobs, reclaimed })
}

/// Containers that keep their images. One of `--rm` that has ended is about to be removed, and is so first.
fn users(engine: &Engine, dry_run: bool, without: &[String]) -> Result<Vec<ContainerRecord>> {
    let mut users = Vec::new();
    for row in engine.store.container_rows()? {
        let goes = without.contains(&row.id.to_string())
            || row.auto_remove && !dry_run && about_to_go(engine, &row.id)?;
        if !goes {
            users.push(row);
        }
    }
    Ok(users)
}

/// Images that went, each with what there is to say of it, and the content that went with them.
type Gone<'a> = (Vec<(&'a ImageRecord, Vec<Removed>)>, Collected);

/// One line for each thing that went: the layers after the image that stood on them, and once.
fn told(removed: Vec<(&ImageRecord, Vec<Removed>)>, mut layers: Vec<String>) -> Vec<Removed> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for (image, of_image) in removed {
        lines.extend(of_image);
        let went = deleted_layers(image, &layers).into_iter();
        lines.extend(went.filter(|line| seen.insert(line.to_string())));
        seen.extend(image.layers.iter().cloned());
    }
    // Of an image that a killed command has removed, nobody knows which chain they stood in.
    layers.retain(|layer| !seen.contains(layer));
    lines.extend(layers.into_iter().map(Removed::Deleted));
    lines
}

fn remove<'a>(engine: &Engine, candidates: &'a [ImageRecord]) -> Result<Gone<'a>> {
    let store = &engine.store;
    let mut removed = Vec::new();
    for image in candidates {
        // One that gained a name or a container meanwhile stays.
        let gone = carry_out(engine, image, &resolve::references(image), true, &[])?;
        removed.extend(gone.map(|lines| (image, lines)));
    }
    let content = store.remove_unreferenced(|path| store.delete_tree(path))?;
    Ok((removed, content))
}

fn pretend<'a>(
    engine: &Engine,
    candidates: &'a [ImageRecord],
    users: &[ContainerRecord],
) -> Result<Gone<'a>> {
    let store = &engine.store;
    let going: BTreeSet<&str> = candidates.iter().map(|image| image.id.as_str()).collect();
    let all = store.images()?;
    let staying: Vec<_> = all.iter().filter(|image| !going.contains(image.id.as_str())).collect();
    let mut layers: BTreeSet<&String> = users.iter().flat_map(|row| &row.layers).collect();
    layers.extend(staying.iter().flat_map(|image| &image.layers));
    let blobs: BTreeSet<&str> = staying.iter().flat_map(|image| image.all_blobs()).collect();
    let mut removed = Vec::new();
    for image in candidates {
        let names = resolve::references(image);
        let untagged = names.iter().map(|r| Removed::Untagged(r.familiar()));
        removed.push((image, untagged.chain([Removed::Deleted(image.id.clone())]).collect()));
    }
    let gone: BTreeSet<_> = candidates.iter().flat_map(|image| &image.layers).collect();
    let gone_blobs: BTreeSet<_> = candidates.iter().flat_map(ImageRecord::all_blobs).collect();
    let content = Collected {
        layers: gone.difference(&layers).map(|d| (*d).clone()).collect(),
        blobs: gone_blobs.difference(&blobs).map(|d| (*d).to_owned()).collect(),
    };
    Ok((removed, content))
}
