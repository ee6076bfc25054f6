//! Other people's formats: digests, references, manifests, indexes, image configs, docker's archives. Parsing
//! and writing of documents, and of docker's key sequences, no I/O.
//!
//! Every document is foreign: it is read whole within [`MAX_DOCUMENT`], its lists are counted, and what two
//! readers could understand differently is refused. `oci-spec` serves `runtime`; its image types are not used
//! here, because they take any digest algorithm, know nothing of docker's fields (health check, `OnBuild`) and
//! keep maps in random order, which would give one image two ids.

mod change;
mod config;
mod digest;
mod docker;
pub mod keys;
mod manifest;
mod platform;
mod reference;

pub use change::{Change, ChangeError};
pub use config::{ContainerConfig, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{Digest, Hasher, InvalidDigest};
pub use docker::{DockerArchiveItem, parse_archive_manifest};
pub use manifest::{Descriptor, Document, Index, Layout, Manifest, media_type};
pub use platform::Platform;
pub use reference::{InvalidReference, Reference};

/// Bytes that a manifest, index or image config may have. containerd's and the registries' own bound.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// Layers of one image. The kernel's overlay takes 500.
pub const MAX_LAYERS: usize = 500;
/// Entries of an index, images of an archive.
pub const MAX_MANIFESTS: usize = 1024;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the {what} is larger than {MAX_DOCUMENT} bytes")]
    TooLarge { what: &'static str },
    #[error("the {what} is not valid: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("the {what} is ambiguous: it has both `layers` and `manifests`")]
    Ambiguous { what: &'static str },
    #[error("the {what} has {count} {of}, more than the {limit} allowed")]
    TooMany { what: &'static str, of: &'static str, count: usize, limit: usize },
    #[error("the {what} has the media type `{media_type}`, which is not known here")]
    MediaType { what: &'static str, media_type: String },
}

/// `bytes` as JSON of type `T`, within the size limit.
fn parse_document<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::TooLarge { what });
    }
    serde_json::from_slice(bytes).map_err(|e| Error::Malformed { what, reason: e.to_string() })
}

fn limit(what: &'static str, of: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit { Err(Error::TooMany { what, of, count, limit }) } else { Ok(()) }
}

/// Go writes empty lists and maps as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
