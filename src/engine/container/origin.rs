//! What a container is made from: where its root and its defaults come from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oci_spec::image::{Config as ImageConfig, ImageConfiguration};

use crate::engine::request::{CreateRequest, RootfsSource};
use crate::engine::{Engine, Error, Result, image};
use crate::oci::Platform;
use crate::snapshot::Recipe;
use crate::store::container::{ContainerRecord, Phase};
use crate::store::id::{ContainerId, Name};

/// An image, or a directory of the host's.
pub(super) struct Origin {
    /// As the user named it.
    name: String,
    id: Option<String>,
    pub layers: Vec<String>,
    pub config: Option<ImageConfig>,
    /// `os/arch` of an image that is for other machines, which nobody asked for.
    foreign: Option<String>,
}

impl Origin {
    pub(super) fn find(engine: &Engine, request: &CreateRequest) -> Result<Self> {
        match &request.rootfs {
            RootfsSource::Directory { path, .. } => Ok(Self {
                name: path.display().to_string(),
                id: None,
                layers: Vec::new(),
                config: None,
                foreign: None,
            }),
            RootfsSource::Image(name) => {
                let record = image::resolve::resolve_for(engine, name, request.platform.as_deref())?;
                if let Some(wanted) = &request.platform {
                    image::resolve::require_platform(&record, name, wanted)?;
                }
                let whole: ImageConfiguration =
                    serde_json::from_str(&record.config).map_err(|e| damaged(name, &e))?;
                let made_for =
                    Platform::new(&whole.os().to_string(), &whole.architecture().to_string(), None);
                let foreign = request.platform.is_none() && !made_for.satisfies(&Platform::host());
                let config = whole.config().clone().unwrap_or_default();
                Ok(Self {
                    name: name.clone(),
                    id: Some(record.id),
                    layers: record.layers,
                    config: Some(config),
                    foreign: foreign.then(|| made_for.to_string()),
                })
            }
        }
    }

    pub(super) fn recipe(&self, request: &CreateRequest) -> Recipe {
        match &request.rootfs {
            RootfsSource::Image(_) => Recipe::Layers(self.layers.clone()),
            RootfsSource::Directory { path, write_through } => {
                Recipe::Directory { path: path.clone(), write_through: *write_through }
            }
        }
    }

    /// The record of a container that has never run. What it was made by is still to be written into it.
    pub(super) fn record(
        &self,
        id: ContainerId,
        name: Name,
        command: Vec<String>,
        request: &CreateRequest,
    ) -> ContainerRecord {
        ContainerRecord {
            id,
            name,
            created: Timestamp::now(),
            started: None,
            finished: None,
            phase: Phase::Created,
            exit_code: None,
            oom_killed: false,
            error: String::new(),
            auto_remove: request.auto_remove,
            image: self.name.clone(),
            image_id: self.id.clone(),
            command,
            layers: self.layers.clone(),
            labels: labels(request, self.config.as_ref()),
            request: String::new(),
        }
    }

    /// What the user should know of an image for other machines.
    pub(super) fn foreign(&self) -> Option<String> {
        let made_for = self.foreign.as_ref()?;
        let host = Platform::host();
        Some(format!("the image is for {made_for}, this machine is {host}, and no --platform was asked for"))
    }
}

fn damaged(name: &str, error: &serde_json::Error) -> Error {
    Error::Invalid { what: "image", value: name.into(), reason: format!("its config is damaged: {error}") }
}

fn labels(request: &CreateRequest, config: Option<&ImageConfig>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if let Some(from_image) = config.and_then(|c| c.labels().as_ref()) {
        labels.extend(from_image.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    labels.extend(request.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}
