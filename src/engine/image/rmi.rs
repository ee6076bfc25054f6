//! `rmi`: a name goes, and with the last one the image.

use crate::engine::{Engine, Result};

#[derive(Debug, Clone, Copy, Default)]
pub struct RmiOptions {
    /// Also an image with several names, or one that containers were made from.
    pub force: bool,
}

/// One line of `rmi`'s output. Displayed as docker words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A familiar reference.
    Untagged(String),
    /// `sha256:…` of an image or a layer.
    Deleted(String),
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untagged(reference) => write!(f, "Untagged: {reference}"),
            Self::Deleted(id) => write!(f, "Deleted: {id}"),
        }
    }
}

pub fn rmi(_engine: &Engine, _image: &str, _options: RmiOptions) -> Result<Vec<Removed>> {
    todo!()
}
