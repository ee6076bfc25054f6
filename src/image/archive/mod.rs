//! Archives of images: OCI layouts and docker's, read and written.

mod layers;
mod read;
mod write;

pub use layers::LayerForm;
pub use read::{Found, read};
pub use write::{Format, Named, write};
