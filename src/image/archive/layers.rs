//! The form that layers get in an archive: as stored, or rewritten for readers that know less.
//!
//! A tar header states the size before the content, so a rewritten layer is made twice (decompressing, which is
//! cheap) or kept in staging meanwhile (compressing).

use std::fs::File;
use std::io::{self, Read, Write};

use flate2::write::GzEncoder;

use super::super::{Compression, Error, Result};
use crate::oci::{Descriptor, Digest, Hasher, media_type};
use crate::store::Store;
use crate::store::staging::Scratch;

const CHUNK: usize = 256 << 10;

/// What becomes of the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LayerForm {
    /// The archive's manifest is the stored one.
    #[default]
    Stored,
    /// What is compressed with zstd becomes plain: older docker (before 23) reads everything else.
    WithoutZstd,
    /// Plain tar, all of them.
    Plain,
    /// gzip, all of them.
    Gzip,
}

/// Where a layer's bytes come from.
#[derive(Debug)]
pub(super) enum Content {
    /// The blob as it is.
    Stored(Digest),
    /// The blob, decompressed.
    Plain(Digest),
    /// Compressed anew.
    Made(Scratch),
}

/// A layer as it will stand in the archive.
#[derive(Debug)]
pub(super) struct Shaped {
    pub(super) descriptor: Descriptor,
    pub(super) content: Content,
}

impl LayerForm {
    /// Shapes one stored layer. `diff_id` is the digest of its uncompressed content.
    pub(super) fn shape(self, store: &Store, layer: &Descriptor, diff_id: &Digest) -> Result<Shaped> {
        let (compression, _) = detect(store, &layer.digest)?;
        let wanted = match (self, compression) {
            (Self::Stored, _) => compression,
            (Self::WithoutZstd, Compression::Zstd) | (Self::Plain, _) => Compression::None,
            (Self::WithoutZstd, other) => other,
            (Self::Gzip, _) => Compression::Gzip,
        };
        if wanted == compression {
            let content = Content::Stored(layer.digest.clone());
            return Ok(Shaped { descriptor: layer.clone(), content });
        }
        match wanted {
            Compression::Gzip => compress(store, &layer.digest),
            _ => plain(store, layer, diff_id),
        }
    }
}

impl Content {
    /// The bytes, read from their beginning.
    pub(super) fn open(&self, store: &Store) -> Result<Box<dyn Read>> {
        Ok(match self {
            Self::Stored(digest) => Box::new(store.open_blob(digest.as_str())?),
            Self::Plain(digest) => Box::new(decompressed(store, digest)?),
            Self::Made(scratch) => {
                let path = scratch.path().join(LAYER);
                let opened = File::open(&path);
                Box::new(opened.map_err(|source| Error::Read { what: path.display().to_string(), source })?)
            }
        })
    }
}

/// In the directory of a [`Content::Made`].
const LAYER: &str = "layer";

fn detect(store: &Store, blob: &Digest) -> Result<(Compression, impl Read + Send + use<>)> {
    Compression::detect(blob.as_str(), store.open_blob(blob.as_str())?)
}

fn decompressed(store: &Store, blob: &Digest) -> Result<impl Read + use<>> {
    let (compression, source) = detect(store, blob)?;
    compression.decoder(source).map_err(|e| unreadable(blob, e))
}

fn unreadable(blob: &Digest, source: io::Error) -> Error {
    Error::Read { what: format!("blob {blob}"), source }
}

fn plain(store: &Store, layer: &Descriptor, diff_id: &Digest) -> Result<Shaped> {
    let mut count = Counter::new(io::sink());
    copy(&mut decompressed(store, &layer.digest)?, &mut count).map_err(|e| unreadable(&layer.digest, e))?;
    let (found, size) = (count.hasher.finish(), count.size);
    if found != *diff_id {
        return Err(Error::DiffId { expected: diff_id.clone(), found });
    }
    let content = Content::Plain(layer.digest.clone());
    Ok(Shaped { descriptor: Descriptor::new(media_type::LAYER, found, size), content })
}

fn compress(store: &Store, blob: &Digest) -> Result<Shaped> {
    let scratch = store.scratch()?;
    let path = scratch.path().join(LAYER);
    let failed = |source| Error::Write { what: path.display().to_string(), source };
    let file = File::create_new(&path).map_err(failed)?;
    let mut encoder = GzEncoder::new(Counter::new(file), flate2::Compression::fast());
    copy(&mut decompressed(store, blob)?, &mut encoder).map_err(failed)?;
    let done = encoder.finish().map_err(failed)?;
    let descriptor = Descriptor::new(media_type::LAYER_GZIP, done.hasher.finish(), done.size);
    Ok(Shaped { descriptor, content: Content::Made(scratch) })
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Digest and length of what passes through.
struct Counter<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W> Counter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::default(), size: 0 }
    }
}

impl<W: Write> Write for Counter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
