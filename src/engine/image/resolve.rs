//! From a word to an image: a reference, an id, or the beginning of an id.

use crate::engine::{Engine, Result};
use crate::store::image::ImageRecord;

/// The image that `name` means. There is no registry client: what is not here must be imported or loaded, and
/// the error says so.
pub fn resolve(_engine: &Engine, _name: &str) -> Result<ImageRecord> {
    todo!()
}

/// Fails unless `image` is for the platform `wanted` (`os/arch[/variant]`).
pub fn require_platform(_image: &ImageRecord, _name: &str, _wanted: &str) -> Result<()> {
    todo!()
}
