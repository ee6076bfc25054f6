//! Why content is not taken in or given out.

use std::io;

use crate::error::Hint;
use crate::oci::Digest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("cannot write {what}")]
    Write { what: String, source: io::Error },
    /// The archive as a whole makes no sense.
    #[error("the archive is refused: {0}")]
    Archive(String),
    #[error("the archive is refused")]
    Tar(#[from] super::unpack::Error),
    #[error("the layer's content has the digest {found}, {expected} was expected")]
    DiffId { expected: Digest, found: Digest },
    #[error("the image is for {found}, not for {wanted}")]
    Platform { found: String, wanted: String },
    #[error(transparent)]
    Download(#[from] crate::registry::Error),
    #[error(transparent)]
    Oci(#[from] crate::oci::Error),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Some("free some space on that disk".into())
            }
            Self::Download(e) => e.hint(),
            Self::Store(e) => e.hint(),
            _ => None,
        }
    }
}
