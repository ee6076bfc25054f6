//! `image tree`: the layers of an image, and which other images end in one of them or stand on it.

use super::resolve;
use crate::engine::{Engine, Result};
use crate::oci::Reference;
use crate::store::image::ImageRecord;

/// An image, its layers, and its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub id: String,
    /// Familiar.
    pub tags: Vec<String>,
    /// Bytes, unpacked.
    pub size: u64,
    /// Lowest first.
    pub layers: Vec<LayerNode>,
}

/// One layer of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerNode {
    /// Diff-id.
    pub id: String,
    /// Bytes, unpacked.
    pub size: u64,
    /// Names of the images that end here, by id where they have none.
    pub top_of: Vec<String>,
}

pub fn tree(engine: &Engine, name: &str) -> Result<Tree> {
    let image = resolve::resolve(engine, name)?;
    let sizes = engine.store.layer_sizes()?;
    let all = engine.store.images()?;
    let layers = (0..image.layers.len()).map(|at| LayerNode {
        id: image.layers[at].clone(),
        size: sizes.get(&image.layers[at]).copied().unwrap_or_default(),
        top_of: all.iter().filter(|other| other.layers == image.layers[..=at]).flat_map(names).collect(),
    });
    Ok(Tree { layers: layers.collect(), tags: tags(&image), id: image.id, size: image.size })
}

/// The images that have all layers of this one and further ones.
pub fn dependents(engine: &Engine, name: &str) -> Result<Vec<Tree>> {
    let image = resolve::resolve(engine, name)?;
    let above = |other: &ImageRecord| {
        other.layers.len() > image.layers.len() && other.layers.starts_with(&image.layers)
    };
    let mut trees = Vec::new();
    for other in engine.store.images()?.iter().filter(|other| above(other)) {
        trees.push(tree(engine, &other.id)?);
    }
    Ok(trees)
}

fn tags(image: &ImageRecord) -> Vec<String> {
    resolve::references(image).iter().filter(|r| r.digest().is_none()).map(Reference::familiar).collect()
}

fn names(image: &ImageRecord) -> Vec<String> {
    let tags = tags(image);
    if tags.is_empty() { vec![image.id.clone()] } else { tags }
}
