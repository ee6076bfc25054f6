//! `image inspect`: everything that is known of an image, in docker's shape.

use serde_json::{Value, json};

use super::resolve;
use crate::engine::{Engine, Result};
use crate::oci::{ImageConfig, Reference};
use crate::store::image::ImageRecord;

/// One element of the list that `docker image inspect` prints.
pub fn inspect(engine: &Engine, name: &str) -> Result<Value> {
    let image = resolve::resolve(engine, name)?;
    let config = resolve::config(&image)?;
    Ok(shape(&image, &config, &engine.store.repo_digests(&image.id)?))
}

fn shape(image: &ImageRecord, config: &ImageConfig, pulled: &[String]) -> Value {
    let references = resolve::references(image);
    let tags: Vec<String> = references.iter().filter(|r| r.tag().is_some()).map(|r| r.familiar()).collect();
    // What registries call it; where it came from none, what a registry would.
    let familiar = |name: &String| name.parse::<Reference>().map_or_else(|_| name.clone(), |r| r.familiar());
    let mut digests: Vec<String> = pulled.iter().map(familiar).collect();
    if digests.is_empty() {
        let named = |r: &Reference| format!("{}@{}", r.familiar_repository(), image.manifest);
        digests.extend(references.iter().map(named));
        digests.dedup();
    }
    let created = image.created.map(|t| t.to_string()).unwrap_or_default();
    let mut value = json!({
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": config.comment,
        "Created": created,
        "DockerVersion": "",
        "Author": config.author,
        "Config": container_config(config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        "Descriptor": { "digest": image.manifest },
    });
    if let Some(variant) = &config.variant {
        value["Variant"] = json!(variant);
    }
    value
}

/// docker's `Config`, whose absent lists are `null` and whose absent strings are empty.
fn container_config(config: &ImageConfig) -> Value {
    let c = &config.config;
    let list = |l: &[String]| if l.is_empty() { Value::Null } else { json!(l) };
    let mut value = json!({
        "User": c.user,
        "Env": list(&c.env),
        "Cmd": list(&c.cmd),
        "Entrypoint": list(&c.entrypoint),
        "WorkingDir": c.working_dir,
        "Volumes": if c.volumes.is_empty() { Value::Null } else { json!(c.volumes) },
        "OnBuild": list(&c.on_build),
        "Labels": if c.labels.is_empty() { Value::Null } else { json!(c.labels) },
    });
    if !c.exposed_ports.is_empty() {
        value["ExposedPorts"] = json!(c.exposed_ports);
    }
    if let Some(check) = &c.healthcheck {
        value["Healthcheck"] = json!(check);
    }
    if !c.stop_signal.is_empty() {
        value["StopSignal"] = json!(c.stop_signal);
    }
    if let Some(timeout) = c.stop_timeout {
        value["StopTimeout"] = json!(timeout);
    }
    if !c.shell.is_empty() {
        value["Shell"] = json!(c.shell);
    }
    value
}
