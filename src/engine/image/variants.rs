//! `images --tree`: each image with those of its list that are here, one for each platform, and what they occupy.

use std::collections::{BTreeMap, BTreeSet};

use super::images::{self, ImagesQuery};
use super::resolve;
use crate::engine::{Engine, Result};
use crate::store::image::ImageRecord;

/// An image under its names, and the variants of it that are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Familiar, sorted; empty for an image without a tag.
    pub names: Vec<String>,
    /// The one that has the names. Its sizes are those of all variants together.
    pub image: Variant,
    /// By platform. The image itself is among them.
    pub variants: Vec<Variant>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub platform: String,
    /// `sha256:…`.
    pub id: String,
    /// Bytes on the disk, unpacked layers and blobs.
    pub disk: u64,
    /// Bytes on the disk of its blobs, as received.
    pub content: u64,
    /// Whether a container was made from it.
    pub in_use: bool,
}

/// What sizes are looked up in.
struct Measured {
    layers: BTreeMap<String, u64>,
    blobs: BTreeMap<String, u64>,
    users: BTreeSet<String>,
}

/// The families of the images that `query` means, by name. Those without a tag too with `all`, unless they belong to
/// one that has; without it only where the query asks for them.
pub fn families(engine: &Engine, query: &ImagesQuery, all: bool) -> Result<Vec<Family>> {
    let store = &engine.store;
    let users = store.container_rows()?.into_iter().filter_map(|row| row.image_id).collect();
    let measured = Measured { layers: store.layers_on_disk()?, blobs: store.blobs_on_disk()?, users };
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in images::images(engine, query)? {
        let name = row.repository.zip(row.tag).map(|(repository, tag)| format!("{repository}:{tag}"));
        names.entry(row.id).or_default().extend(name);
    }
    let all = all || query.filters.iter().any(|(key, value)| key == "dangling" && value != "false");
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let mut families = Vec::new();
    let (named, nameless): (Vec<_>, Vec<_>) = names.into_iter().partition(|(_, names)| !names.is_empty());
    for (id, mut names) in named.into_iter().chain(nameless.into_iter().filter(|_| all)) {
        if names.is_empty() && shown.contains(&id) {
            continue;
        }
        names.sort();
        let family = measured.family(engine, names, &id)?;
        shown.extend(family.variants.iter().map(|variant| variant.id.clone()));
        families.push(family);
    }
    families.sort_by(|a, b| (a.names.is_empty(), &a.names).cmp(&(b.names.is_empty(), &b.names)));
    Ok(families)
}

impl Measured {
    fn family(&self, engine: &Engine, names: Vec<String>, id: &str) -> Result<Family> {
        let image = resolve::resolve(engine, id)?;
        let mut records = vec![image];
        // What has a tag of its own is a family of its own.
        let others = resolve::siblings(engine, &records[0])?;
        records.extend(others.into_iter().filter(ImageRecord::is_dangling));
        let mut variants = records.iter().map(|record| self.variant(record)).collect::<Result<Vec<_>>>()?;
        let (layers, blobs) = pieces(&records);
        let content = self.sum(&self.blobs, &blobs);
        let whole = Variant {
            disk: content + self.sum(&self.layers, &layers),
            content,
            in_use: variants.iter().any(|variant| variant.in_use),
            ..variants[0].clone()
        };
        variants.sort_by(|a, b| a.platform.cmp(&b.platform));
        Ok(Family { names, image: whole, variants })
    }

    fn variant(&self, record: &ImageRecord) -> Result<Variant> {
        let (layers, blobs) = pieces(std::slice::from_ref(record));
        let content = self.sum(&self.blobs, &blobs);
        Ok(Variant {
            platform: resolve::config(record)?.platform().to_string(),
            id: record.id.clone(),
            disk: content + self.sum(&self.layers, &layers),
            content,
            in_use: self.users.contains(&record.id),
        })
    }

    fn sum(&self, sizes: &BTreeMap<String, u64>, digests: &BTreeSet<&str>) -> u64 {
        digests.iter().filter_map(|digest| sizes.get(*digest)).sum()
    }
}

/// Layers and blobs that images are made of, each once.
fn pieces(records: &[ImageRecord]) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let layers = records.iter().flat_map(|record| record.layers.iter().map(String::as_str)).collect();
    (layers, records.iter().flat_map(ImageRecord::all_blobs).collect())
}
