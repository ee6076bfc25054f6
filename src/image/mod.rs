//! Content: archives to layers, layers to images, images to archives.
//!
//! A blob is stored under its digest before anything is made of it: as received, but for what `import`
//! compresses itself. A layer is unpacked from its stored blob, once for each diff-id, and is recorded only when
//! its uncompressed bytes have that digest. Decompression happens in this process: no program is started, least
//! of all one from an image.

pub mod archive;
pub mod blob;
mod compression;
mod error;
mod growing;
pub mod layer;
pub mod pull;
pub mod record;
pub mod source;
pub mod unpack;

pub use crate::registry::{Client, Error as RegistryError};
pub use compression::Compression;
pub use error::{Error, Result};
