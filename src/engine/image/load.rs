//! `load`: the images of an archive (OCI layout or docker's) come into the store.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::archive::{self, Found};
use crate::image::source;
use crate::store::events::Event;

/// What `load` was asked for.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// `None` reads stdin, which must not be a terminal.
    pub input: Option<PathBuf>,
    /// `os/arch[/variant]`: which manifest of a multi-platform image; the host's unless given.
    pub platform: Option<String>,
}

/// One line of `load`'s output. Displayed as docker words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// A familiar reference.
    Image(String),
    /// `sha256:…` of an image without a name.
    Id(String),
    /// A familiar reference was taken from the image of this id.
    Renamed { reference: String, old: String },
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(reference) => write!(f, "Loaded image: {reference}"),
            Self::Id(id) => write!(f, "Loaded image ID: {id}"),
            Self::Renamed { reference, old } => write!(
                f,
                "The image {reference} already exists, renaming the old one with ID {old} to empty string"
            ),
        }
    }
}

/// What was loaded, in the archive's order. The calling process must have one thread.
pub fn load(engine: &Engine, request: &LoadRequest) -> Result<Vec<Loaded>> {
    let platform = request.platform.as_deref().map(resolve::platform).transpose()?;
    let (what, archive) = match &request.input {
        Some(path) => (path.display().to_string(), source::file(path)?),
        None if std::io::stdin().is_terminal() => {
            return Err(Error::Terminal("requested load from stdin, but stdin is a terminal"));
        }
        None => ("stdin".into(), source::stdin()),
    };
    let add =
        || archive::read(&engine.store, &what, archive, platform.as_ref()).map_err(|e| e.of(&what).into());
    let found = super::adding(&engine.store, add)?;
    let mut lines = Vec::new();
    for Found { image, references, replaced } in found {
        for (reference, old) in replaced {
            lines.push(Loaded::Renamed { reference: reference.familiar(), old });
        }
        let names: Vec<String> = references.iter().map(crate::oci::Reference::familiar).collect();
        let name = names.first().cloned().unwrap_or_else(|| image.id.clone());
        engine.store.append_event(&Event::new(
            "image",
            "load",
            &image.id,
            [("name".to_string(), name)].into(),
        ))?;
        if names.is_empty() {
            lines.push(Loaded::Id(image.id));
        }
        lines.extend(names.into_iter().map(Loaded::Image));
    }
    Ok(lines)
}
