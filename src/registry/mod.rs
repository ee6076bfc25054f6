//! The network, so far as images need it: one file by its URL. Knows no disk.
//!
//! The client has threads of its own while a [`download::Download`] lives, and none before and after.

pub mod download;

pub use download::{Download, Error, download};
