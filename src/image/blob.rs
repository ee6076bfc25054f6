//! Streams into the blob store.

use std::io::{Read, Write};

use super::{Compression, Error, Result};
use crate::oci::{Descriptor, Digest};
use crate::store::Store;

/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;
/// Of what is compressed here: as fast as the disk.
const ZSTD_LEVEL: i32 = 1;

/// Stores a layer archive, as [`pack_layer`] makes it.
pub fn receive_layer(store: &Store, what: &str, source: impl Read + Send) -> Result<Descriptor> {
    let mut blob = store.blob_writer()?;
    let media_type = pack_layer(store, what, source, &mut blob)?;
    let (digest, size) = blob.commit(None)?;
    Ok(Descriptor::new(media_type, parsed(&digest)?, size))
}

/// Writes a layer archive to a blob of `store` and gives the blob's media type. gzip and zstd go as received; a plain
/// tar, xz or bzip2 becomes zstd, so that the store does not hold every file twice at full length and every stored
/// layer can be saved and pushed.
pub(super) fn pack_layer(
    store: &Store,
    what: &str,
    source: impl Read + Send,
    blob: &mut impl Write,
) -> Result<&'static str> {
    let (compression, source) = Compression::detect(what, source)?;
    let received = Some(compression).filter(|c| matches!(c, Compression::Gzip | Compression::Zstd));
    if let Some(media_type) = received.and_then(Compression::layer_media_type) {
        copy(store, what, source, blob)?;
        return Ok(media_type);
    }
    let plain = compression.decoder(source).map_err(|e| read_failed(what, e))?;
    let mut encoder =
        zstd::stream::write::Encoder::new(blob, ZSTD_LEVEL).map_err(|e| write_failed(store, e))?;
    copy(store, what, plain, &mut encoder)?;
    encoder.finish().map_err(|e| write_failed(store, e))?;
    Ok(crate::oci::media_type::LAYER_ZSTD)
}

/// Stores a stream as it is, checked against `expected` when there is one. Gives digest and size.
pub fn receive(
    store: &Store,
    what: &str,
    source: impl Read,
    expected: Option<&Digest>,
) -> Result<(Digest, u64)> {
    let mut blob = store.blob_writer()?;
    copy(store, what, source, &mut blob)?;
    let (digest, size) = blob.commit(expected.map(Digest::as_str))?;
    Ok((parsed(&digest)?, size))
}

pub(super) fn parsed(digest: &str) -> Result<Digest> {
    digest.parse().map_err(|e: crate::oci::InvalidDigest| Error::Archive(e.to_string()))
}

fn copy(store: &Store, what: &str, mut source: impl Read, sink: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => sink.write_all(&buffer[..n]).map_err(|e| write_failed(store, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(read_failed(what, e)),
        }
    }
}

fn read_failed(what: &str, source: std::io::Error) -> Error {
    Error::Read { what: what.into(), source }
}

fn write_failed(store: &Store, source: std::io::Error) -> Error {
    Error::Write { what: format!("to the file system of {}", store.root().display()), source }
}
