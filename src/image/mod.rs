//! Content: archives to layers, layers to images, images to archives.
//!
//! Blobs are stored as received, but for what `import` compresses itself. A layer is unpacked from its blob, once for
//! each diff-id: from the stored one, or while it arrives ([`pull`], [`layer::receive`]). Blob and layer get their
//! names only when the bytes of both have the digests that they should. Decompression happens in this process: no
//! program is started, least of all one from an image.

pub mod archive;
pub mod blob;
mod compression;
pub mod document;
mod error;
mod growing;
pub mod layer;
pub mod pack;
pub mod place;
pub mod pull;
pub mod push;
pub mod record;
pub mod search;
pub mod source;
pub mod unpack;

pub use crate::registry::{Client, Error as RegistryError};
pub use compression::Compression;
pub use error::{Error, Result};
