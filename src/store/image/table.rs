//! Images and their references in the database.

use super::ImageRecord;
use crate::store::{Result, Store};

impl Store {
    /// Records an image whose layers and blobs are in place (`MissingContent` otherwise), and what else it is
    /// called: `reference` moves here from whatever had it. An image that is there already gains the reference.
    /// Durable when it returns.
    pub fn add_image(&self, _image: &ImageRecord, _reference: Option<&str>) -> Result<()> {
        todo!()
    }

    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        todo!()
    }

    /// By full reference, by id, or by the beginning of an id that no other shares, with or without `sha256:`.
    /// The caller has normalised references. `NoSuchImage`, `AmbiguousPrefix`.
    pub fn find_image(&self, _name_or_id: &str) -> Result<ImageRecord> {
        todo!()
    }

    /// `reference` names the image `id` from here on, and no other.
    pub fn tag(&self, _id: &str, _reference: &str) -> Result<()> {
        todo!()
    }

    /// Whether there was such a reference.
    pub fn untag(&self, _reference: &str) -> Result<bool> {
        todo!()
    }

    /// Forgets the image and its references. Containers keep their layers; what nobody needs any more goes with
    /// [`Store::remove_unreferenced`].
    pub fn remove_image(&self, _id: &str) -> Result<()> {
        todo!()
    }
}
