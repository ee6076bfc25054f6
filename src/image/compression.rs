//! Compressed streams: told by their first bytes, as docker does, never by names or media types.

use std::io::{self, Cursor, Read};

use super::{Error, Result};
use crate::oci::media_type;

/// log2 of the bytes that a zstd stream may look back, and so of the memory it costs: 64 MiB, which everything but
/// `--ultra -22` and `--long=27` keeps to.
const ZSTD_WINDOW_LOG: u32 = 26;
/// Memory that an xz stream may ask for, in bytes. The strongest preset needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// Bytes needed by [`Compression::of`].
    const MAGIC: usize = 6;

    fn of(start: &[u8]) -> Self {
        if start.starts_with(b"\x1f\x8b") {
            Self::Gzip
        } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
            Self::Zstd
        } else if start.starts_with(b"\xfd7zXZ\0") {
            Self::Xz
        } else if start.starts_with(b"BZh") {
            Self::Bzip2
        } else {
            Self::None
        }
    }

    /// Looks at the beginning of `source`; the reader given back has all of it.
    pub fn detect<R: Read>(what: &str, mut source: R) -> Result<(Self, impl Read + use<R>)> {
        let mut start = Vec::with_capacity(Self::MAGIC);
        let read = source.by_ref().take(Self::MAGIC as u64).read_to_end(&mut start);
        read.map_err(|source| Error::Read { what: what.into(), source })?;
        Ok((Self::of(&start), Cursor::new(start).chain(source)))
    }

    /// The uncompressed bytes of `source`.
    pub fn decoder<'a>(self, source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Xz => {
                let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, xz2::stream::CONCATENATED)?;
                Box::new(xz2::read::XzDecoder::new_stream(source, stream))
            }
            // The format itself bounds what a decoder needs: blocks of at most 900 kB.
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        })
    }

    /// The media type of a layer compressed so; `None` where the image format has no word for it.
    pub fn layer_media_type(self) -> Option<&'static str> {
        match self {
            Self::None => Some(media_type::LAYER),
            Self::Gzip => Some(media_type::LAYER_GZIP),
            Self::Zstd => Some(media_type::LAYER_ZSTD),
            Self::Xz | Self::Bzip2 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_kind_is_told_and_read() {
        let text = b"hello, layer".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (bytes, expected) in [
            (text.clone(), Compression::None),
            (gzip.finish().unwrap(), Compression::Gzip),
            (zstd, Compression::Zstd),
            (xz.finish().unwrap(), Compression::Xz),
            (bzip2.finish().unwrap(), Compression::Bzip2),
        ] {
            let (kind, reader) = Compression::detect("x", &bytes[..]).unwrap();
            assert_eq!(kind, expected);
            let mut out = Vec::new();
            kind.decoder(reader).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text);
        }
        let (kind, reader) = Compression::detect("x", &b"BZh91AY&SY"[..]).unwrap();
        assert!(kind.decoder(reader).unwrap().read_to_end(&mut Vec::new()).is_err());
        assert!(Compression::detect("x", &b""[..]).is_ok());
    }
}
