//! `history`: the steps that made an image, newest first, and what each added.

use jiff::Timestamp;

use super::resolve;
use crate::engine::{Engine, Result};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `sha256:…` of the image itself; `None` for the steps below the newest, whose images nobody keeps.
    pub id: Option<String>,
    pub created: Option<Timestamp>,
    pub created_by: String,
    /// Bytes of content of the layer it made; 0 for a step that made none.
    pub size: u64,
    pub comment: String,
}

/// With `platform` (`os/arch[/variant]`), of the image for it in the list that `name` came in.
pub fn history(engine: &Engine, name: &str, platform: Option<&str>) -> Result<Vec<Step>> {
    let image = resolve::resolve_variant(engine, name, platform)?;
    let config = resolve::config(&image)?;
    let sizes = engine.store.layer_sizes()?;
    let mut layers = image.layers.iter().map(|layer| sizes.get(layer).copied().unwrap_or_default());
    let mut steps: Vec<Step> = config
        .history
        .iter()
        .map(|step| Step {
            id: None,
            created: step.created,
            created_by: step.created_by.clone(),
            size: if step.empty_layer { 0 } else { layers.next().unwrap_or_default() },
            comment: step.comment.clone(),
        })
        .collect();
    // A config need not tell how its layers came to be.
    let untold = |size| Step {
        id: None,
        created: config.created,
        created_by: String::new(),
        size,
        comment: String::new(),
    };
    steps.extend(layers.map(untold));
    steps.reverse();
    if let Some(newest) = steps.first_mut() {
        newest.id = Some(image.id);
    }
    Ok(steps)
}
