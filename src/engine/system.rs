//! `system`: the store itself: whether it is sound, what it occupies, and making room.

use std::collections::{BTreeMap, BTreeSet};

use super::container::ps::{self, Query, Summary};
use super::image::images::{self, ImageRow, ImagesQuery};
use super::{Engine, Result, container, image};
pub use crate::store::check::{CheckOptions, Finding};
use crate::store::container::Status;
use crate::store::image::ImageRecord;
use crate::store::usage::DiskUsage;

/// Verifies the store and lists what is wrong; an empty list is a healthy store. Changes nothing.
pub fn check(engine: &Engine, options: CheckOptions) -> Result<Vec<Finding>> {
    Ok(engine.store.check(options)?)
}

/// One kind of things, in bytes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    pub total: usize,
    /// Images that containers were made from; containers that run.
    pub active: usize,
    pub size: u64,
    /// Of `size`, what a prune of this kind would give back.
    pub reclaimable: u64,
}

/// What the store occupies. The sizes of the kinds together are what `du` says of it.
#[derive(Debug, Clone, Default)]
pub struct DiskFree {
    pub images: Kind,
    pub containers: Kind,
    /// The database, the log of events, work in progress.
    pub metadata: Kind,
    pub image_list: Vec<ImageUse>,
    pub container_list: Vec<ContainerUse>,
}

/// One image.
#[derive(Debug, Clone)]
pub struct ImageUse {
    /// Under the first of its names.
    pub row: ImageRow,
    /// Bytes on the disk that other images need too.
    pub shared: u64,
    /// Bytes on the disk that only it needs.
    pub unique: u64,
    pub containers: usize,
}

/// One container.
#[derive(Debug, Clone)]
pub struct ContainerUse {
    pub row: Summary,
    /// Bytes on the disk: writable layer, log, configuration.
    pub size: u64,
}

pub fn df(engine: &Engine) -> Result<DiskFree> {
    let store = &engine.store;
    let usage = store.disk_usage()?;
    let rows = ps::list(engine, &Query { all: true, details: true, ..Query::default() })?;
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for id in rows.iter().filter_map(|row| row.image_id.as_deref()) {
        *users.entry(id).or_default() += 1;
    }
    let images = store.images()?;
    let mut sharers: BTreeMap<Piece<'_>, usize> = BTreeMap::new();
    for piece in images.iter().flat_map(pieces) {
        *sharers.entry(piece).or_default() += 1;
    }
    let mut first_rows: BTreeMap<String, ImageRow> = BTreeMap::new();
    for row in images::images(engine, &ImagesQuery::default())? {
        first_rows.entry(row.id.clone()).or_insert(row);
    }
    let stood_on = store.container_rows()?;
    let mut needed: BTreeSet<Piece<'_>> =
        stood_on.iter().flat_map(|c| &c.layers).map(|l| Piece::Layer(l)).collect();
    let mut image_list = Vec::new();
    for image in &images {
        let own = pieces(image);
        let containers = users.get(image.id.as_str()).copied().unwrap_or_default();
        let (shared, unique): (Vec<_>, Vec<_>) = own.iter().partition(|p| sharers.get(p) > Some(&1));
        let sum = |pieces: Vec<&Piece<'_>>| pieces.iter().map(|piece| piece.size(&usage)).sum();
        if let Some(row) = first_rows.remove(&image.id) {
            image_list.push(ImageUse { row, shared: sum(shared), unique: sum(unique), containers });
        }
        if containers > 0 {
            needed.extend(own);
        }
    }
    // A prune of images takes this too.
    let interrupted = store.interrupted()?.bytes;
    let size = usage.layers.values().chain(usage.blobs.values()).sum::<u64>();
    let kept = needed.iter().map(|piece| piece.size(&usage)).sum::<u64>();
    let active = image_list.iter().filter(|image| image.containers > 0).count();
    Ok(DiskFree {
        images: Kind {
            total: images.len(),
            active,
            size: size + interrupted,
            reclaimable: size.saturating_sub(kept) + interrupted,
        },
        containers: containers(&rows, &usage),
        metadata: Kind { total: 1, active: 1, size: usage.rest.saturating_sub(interrupted), reclaimable: 0 },
        image_list,
        container_list: rows.into_iter().map(|row| of_container(row, &usage)).collect(),
    })
}

/// Content by digest. A layer that was stored uncompressed has the digest of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Layer(&'a str),
    Blob(&'a str),
}

impl Piece<'_> {
    fn size(self, usage: &DiskUsage) -> u64 {
        let size = match self {
            Self::Layer(diff_id) => usage.layers.get(diff_id),
            Self::Blob(digest) => usage.blobs.get(digest),
        };
        size.copied().unwrap_or_default()
    }
}

fn pieces(image: &ImageRecord) -> BTreeSet<Piece<'_>> {
    image.layers.iter().map(|layer| Piece::Layer(layer)).chain(image.all_blobs().map(Piece::Blob)).collect()
}

fn of_container(row: Summary, usage: &DiskUsage) -> ContainerUse {
    let size = usage.containers.get(row.id.as_str()).copied().unwrap_or_default();
    ContainerUse { row, size }
}

fn containers(rows: &[Summary], usage: &DiskUsage) -> Kind {
    let runs = |row: &&Summary| matches!(row.status, Status::Running | Status::Paused | Status::Restarting);
    let running: BTreeSet<&str> = rows.iter().filter(runs).map(|row| row.id.as_str()).collect();
    let size = usage.containers.values().sum();
    let stopped = usage.containers.iter().filter(|(id, _)| !running.contains(id.as_str()));
    Kind { total: rows.len(), active: running.len(), size, reclaimable: stopped.map(|(_, size)| size).sum() }
}

/// What `system prune` was asked for.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Every image that no container was made from, not only those without a tag.
    pub all: bool,
    /// `KEY=VALUE` pairs of `--filter`.
    pub filters: Vec<(String, String)>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    pub containers: container::prune::Pruned,
    pub images: image::prune::Pruned,
}

impl PruneRequest {
    fn containers(&self) -> container::prune::PruneRequest {
        container::prune::PruneRequest { filters: self.filters.clone(), dry_run: self.dry_run }
    }

    fn images(&self) -> image::prune::PruneRequest {
        image::prune::PruneRequest { all: self.all, filters: self.filters.clone(), dry_run: self.dry_run }
    }
}

/// Refuses filters that make no sense, before anybody is asked whether to go on.
pub fn check_prune(request: &PruneRequest) -> Result<()> {
    container::prune::check(&request.containers())
}

/// Stopped containers first: then fewer images are in use.
pub fn prune(engine: &Engine, request: &PruneRequest) -> Result<Pruned> {
    check_prune(request)?;
    let containers = container::prune::prune(engine, &request.containers())?;
    let images = image::prune::prune(engine, &request.images(), &containers.containers)?;
    Ok(Pruned { containers, images })
}
