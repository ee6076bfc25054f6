//! `image inspect`: everything that is known of an image, in docker's shape and order.
//!
//! Fields of docker's that mean nothing here are left out, never made up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::resolve;
use crate::engine::{Engine, Result};
use crate::oci::{ContainerConfig, Empty, Healthcheck, ImageConfig, Reference};
use crate::store::image::ImageRecord;

/// One element of the list that `docker image inspect` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// The digest of the image's config.
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: &'static str,
    pub comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    pub docker_version: String,
    pub author: String,
    pub config: Config,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    /// Bytes, unpacked.
    pub size: u64,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: Metadata,
    pub descriptor: Descriptor,
}

/// docker's lists are `null` where there is nothing in them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    pub env: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    pub volumes: Option<BTreeMap<String, Empty>>,
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    pub on_build: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Where the layers lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `UpperDir` is the top layer, `LowerDir` those below it, the highest first.
    pub data: Option<BTreeMap<&'static str, String>>,
    pub name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    /// Diff-ids, lowest first.
    pub layers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    pub last_tag_time: String,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub digest: String,
}

/// docker's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub fn inspect(engine: &Engine, name: &str) -> Result<Image> {
    let image = resolve::resolve(engine, name)?;
    let config = resolve::config(&image)?;
    let tagged = engine.store.last_tagged(&image.id)?;
    Ok(Image { graph_driver: graph_driver(engine, &image), ..shape(image, config, tagged) })
}

fn shape(image: ImageRecord, config: ImageConfig, tagged: Option<Timestamp>) -> Image {
    let tags = resolve::references(&image).into_iter().filter(|r| r.digest().is_none());
    Image {
        repo_tags: tags.map(|r| r.familiar()).collect(),
        repo_digests: resolve::digests(&image).iter().map(Reference::familiar).collect(),
        parent: "",
        comment: config.comment,
        created: image.created.map(|t| t.to_string()),
        docker_version: config.docker_version,
        author: config.author,
        config: defaults(config.config),
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        size: image.size,
        graph_driver: GraphDriver { data: None, name: "overlay" },
        root_fs: RootFs { kind: config.rootfs.kind, layers: image.layers },
        metadata: Metadata { last_tag_time: tagged.map_or_else(|| NEVER.into(), |t| t.to_string()) },
        descriptor: Descriptor { digest: image.manifest },
        id: image.id,
    }
}

fn graph_driver(engine: &Engine, image: &ImageRecord) -> GraphDriver {
    let path = |layer: &String| engine.store.layer_dir(layer).display().to_string();
    let data = image.layers.split_last().map(|(top, below)| {
        let mut data = BTreeMap::from([("UpperDir", path(top))]);
        if !below.is_empty() {
            data.insert("LowerDir", below.iter().rev().map(path).collect::<Vec<_>>().join(":"));
        }
        data
    });
    GraphDriver { data, name: "overlay" }
}

fn defaults(config: ContainerConfig) -> Config {
    let list = |list: Vec<String>| Some(list).filter(|l| !l.is_empty());
    Config {
        user: config.user,
        exposed_ports: Some(config.exposed_ports).filter(|p| !p.is_empty()),
        env: list(config.env),
        cmd: list(config.cmd),
        healthcheck: config.healthcheck,
        volumes: Some(config.volumes).filter(|v| !v.is_empty()),
        working_dir: config.working_dir,
        entrypoint: list(config.entrypoint),
        on_build: list(config.on_build),
        labels: Some(config.labels).filter(|l| !l.is_empty()),
        stop_signal: Some(config.stop_signal).filter(|s| !s.is_empty()),
        stop_timeout: config.stop_timeout,
        shell: list(config.shell),
    }
}
