//! What is kept of a container's making, in its record's `request`: what the user asked for, and what it came to.
//!
//! One JSON object of parts, each read only by those who need it. The parts that a shim needs go to it unread.

use std::path::PathBuf;

use oci_spec::image::Config as ImageConfig;
use oci_spec::runtime::{LinuxIdMapping, Spec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::request::CreateRequest;
use crate::engine::{Error, Result};
use crate::shim::launch::{Launch, Start};
use crate::store::container::ContainerRecord;
use crate::store::userns::{Extent, Nested};

/// The parts of a record's `request`.
#[derive(Debug, Deserialize)]
pub(in crate::engine) struct Stored<'a> {
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    launch: &'a RawValue,
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(borrow, default)]
    image: Option<&'a RawValue>,
}

/// The same, on its way into a record.
#[derive(Debug, Serialize)]
pub(super) struct Parts<'a> {
    pub request: &'a CreateRequest,
    pub launch: &'a Launch,
    pub spec: &'a Spec,
    /// The image's `config` as it was when the container was made, where the spec will be written anew.
    pub image: Option<&'a ImageConfig>,
}

impl<'a> Stored<'a> {
    pub(in crate::engine) fn of(record: &'a ContainerRecord) -> Result<Self> {
        serde_json::from_str(&record.request).map_err(|e| damaged(record.id.as_str(), &e))
    }

    pub(in crate::engine) fn request(&self) -> Result<CreateRequest> {
        read("create request", self.request)
    }

    pub(in crate::engine) fn launch(&self) -> Result<Launch> {
        read("launch settings", self.launch)
    }

    /// The same parts with another request, for the record.
    pub(in crate::engine) fn with_request(&self, request: &CreateRequest) -> Result<String> {
        #[derive(Serialize)]
        struct Changed<'b> {
            request: &'b CreateRequest,
            launch: &'b RawValue,
            spec: &'b RawValue,
            image: Option<&'b RawValue>,
        }
        let Self { launch, spec, image, .. } = *self;
        serde_json::to_string(&Changed { request, launch, spec, image }).map_err(|e| damaged("it", &e))
    }

    /// Where its first process begins.
    pub(super) fn working_directory(&self) -> Result<Option<PathBuf>> {
        Ok(self.spec()?.process().as_ref().map(|process| process.cwd().clone()))
    }

    fn spec(&self) -> Result<Spec> {
        read("runtime spec", self.spec)
    }

    /// The ids of the user namespace that the container has of its own, as it was made.
    pub(super) fn own_ids(&self) -> Result<Option<Nested>> {
        let spec = self.spec()?;
        let Some(linux) = spec.linux() else { return Ok(None) };
        let extents = |mappings: &Option<Vec<LinuxIdMapping>>| -> Option<Vec<Extent>> {
            let extent = |m: &LinuxIdMapping| Extent {
                inside: m.container_id(),
                outside: m.host_id(),
                count: m.size(),
            };
            Some(mappings.as_ref()?.iter().map(extent).collect())
        };
        let (uids, gids) = (extents(linux.uid_mappings()), extents(linux.gid_mappings()));
        Ok(uids.zip(gids).map(|(uids, gids)| Nested { uids, gids }))
    }

    pub(super) fn image(&self) -> Result<Option<ImageConfig>> {
        self.image.map(|image| read("image config", image)).transpose()
    }

    /// The JSON of a [`crate::shim::launch::Bundle`]; `spec` takes the place of the stored one.
    pub(super) fn bundle(&self, start: &Start, spec: Option<&Spec>) -> Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Bundle<'b, S> {
            start: &'b Start,
            launch: &'b RawValue,
            spec: S,
        }
        let written = match spec {
            Some(spec) => serde_json::to_vec(&Bundle { start, launch: self.launch, spec }),
            None => serde_json::to_vec(&Bundle { start, launch: self.launch, spec: self.spec }),
        };
        written.map_err(|e| damaged(&start.name, &e))
    }
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, part: &'a RawValue) -> Result<T> {
    serde_json::from_str(part.get()).map_err(|e| Error::Invalid {
        what,
        value: String::new(),
        reason: e.to_string(),
    })
}

fn damaged(container: &str, error: &serde_json::Error) -> Error {
    Error::Conflict {
        verb: "use",
        container: container.to_owned(),
        reason: format!("its stored settings are damaged: {error}"),
        hint: Some("remove it and create it again".into()),
    }
}
