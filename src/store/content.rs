//! Blobs and layers on their way into the store: written in staging, verified, renamed, recorded.

use std::io::{self, Write};
use std::path::Path;

use super::{Result, Store};

/// Held while content is being added and no image refers to it yet: nothing unreferenced is deleted meanwhile.
#[derive(Debug)]
pub struct ContentUse(#[allow(dead_code, reason = "held, not read")] std::os::fd::OwnedFd);

/// A blob being written. Dropped without `commit`, it is as if it had never been.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, _buf: &[u8]) -> io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}

impl BlobWriter<'_> {
    /// Verifies, syncs and records the blob; `expected` is the digest it must have. Gives its digest and size.
    pub fn commit(self, _expected: Option<&str>) -> Result<(String, u64)> {
        let _ = self.store;
        todo!()
    }
}

/// A layer being unpacked.
#[derive(Debug)]
pub struct LayerStage<'a> {
    store: &'a Store,
}

impl LayerStage<'_> {
    /// The empty directory to unpack into; it becomes the layer's root, with the mode and owner given to it.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Syncs the file system, gives the directory its name and records it. `size` is what its files hold, in
    /// bytes. A layer that somebody else recorded meanwhile is kept, and this one goes.
    pub fn commit(self, _diff_id: &str, _size: u64) -> Result<()> {
        let _ = self.store;
        todo!()
    }
}

impl Store {
    /// To be held from the first blob or layer of an image until [`Store::add_image`].
    pub fn use_content(&self) -> Result<ContentUse> {
        todo!()
    }

    pub fn blob_writer(&self) -> Result<BlobWriter<'_>> {
        todo!()
    }

    /// Writes a small blob whole. Gives its digest.
    pub fn put_blob(&self, _bytes: &[u8]) -> Result<String> {
        todo!()
    }

    pub fn blob_exists(&self, _digest: &str) -> Result<bool> {
        todo!()
    }

    /// Reads a blob of at most `limit` bytes whole.
    pub fn read_blob(&self, _digest: &str, _limit: u64) -> Result<Vec<u8>> {
        todo!()
    }

    pub fn layer_exists(&self, _diff_id: &str) -> Result<bool> {
        todo!()
    }

    /// Begins a layer. With a `diff_id` it waits for whoever unpacks the same one, and gives `None` when the
    /// layer is there.
    pub fn stage_layer(&self, _diff_id: Option<&str>) -> Result<Option<LayerStage<'_>>> {
        todo!()
    }

    /// Records a layer whose directory is in place already.
    pub fn record_layer(&self, _diff_id: &str, _size: u64) -> Result<()> {
        todo!()
    }

    /// Diff-ids of the layers that neither an image nor a container stands on.
    pub fn unreferenced_layers(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// Digests of the blobs that no image needs.
    pub fn unreferenced_blobs(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// Deletes every unreferenced layer and blob, unless content is being added at this moment: then whoever
    /// removes an image next does it. `delete` removes the staged tree of one layer. Gives what went.
    pub fn remove_unreferenced(&self, _delete: impl FnMut(&Path) -> Result<()>) -> Result<Vec<String>> {
        todo!()
    }
}
