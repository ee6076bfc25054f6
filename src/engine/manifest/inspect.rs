//! `manifest inspect`: the document of a list, of an image of it, or of what a registry has; and with `--verbose` what
//! docker tells of each image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{entry_digest, invalid, list_name, no_list, read};
use crate::engine::image::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::{Client, document};
use crate::oci::{self, Descriptor, Digest, Document, ImageConfig, Index, Reference, media_type};

/// What is to be shown.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Name of a list that is here, whose image is meant by `name`.
    pub list: Option<String>,
    /// Name of a list, or of something in a registry.
    pub name: String,
    /// Plain HTTP will do with a registry that speaks no TLS.
    pub insecure: bool,
}

/// One image, in docker's words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Told {
    #[serde(rename = "Ref")]
    pub reference: String,
    pub descriptor: Descriptor,
    /// The manifest to the byte, in base64.
    pub raw: String,
    #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    pub docker: Option<Box<RawValue>>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    pub oci: Option<Box<RawValue>>,
}

/// All that is told of a name.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Verbose {
    Image(Box<Told>),
    List(Vec<Told>),
}

/// The document, JSON as it is or was written.
pub fn inspect(engine: &Engine, question: &Question) -> Result<Vec<u8>> {
    let Sought { client, reference, entry } = seek(engine, question)?;
    match entry {
        Some(entry) => content(engine, &client, &reference, &entry.digest),
        None => document(engine, &client, &reference),
    }
}

/// The same with platform and place of each image.
pub fn verbose(engine: &Engine, question: &Question) -> Result<Verbose> {
    let Sought { client, reference, entry } = seek(engine, question)?;
    if let Some(entry) = entry {
        return Ok(Verbose::Image(Box::new(of_list(engine, &client, &reference, &entry)?)));
    }
    let bytes = document(engine, &client, &reference)?;
    match Document::parse(&bytes, None).map_err(crate::image::Error::from)? {
        Document::Index(Index { manifests, .. }) => {
            let told = manifests.iter().map(|entry| of_list(engine, &client, &reference, entry));
            Ok(Verbose::List(told.collect::<Result<_>>()?))
        }
        Document::Manifest(manifest) => {
            let kind = manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
            let mut descriptor = Descriptor::new(kind, Digest::of(&bytes), bytes.len() as u64);
            let config = match engine.store.blob_exists(manifest.config.digest.as_str())? {
                true => engine.store.read_blob(manifest.config.digest.as_str(), oci::MAX_DOCUMENT)?,
                false => document::config(&client, &reference, &manifest.config)?,
            };
            let config = ImageConfig::parse(&config).map_err(crate::image::Error::from)?;
            descriptor.platform = Some(Box::new(config.platform()));
            Ok(Verbose::Image(Box::new(told(reference.to_string(), descriptor, &bytes)?)))
        }
    }
}

/// Where a question leads.
struct Sought {
    client: Client,
    /// The list, or what is asked for.
    reference: Reference,
    /// The image of the list that is asked for.
    entry: Option<Descriptor>,
}

fn seek(engine: &Engine, question: &Question) -> Result<Sought> {
    let client = Client::insecure(&engine.config, question.insecure);
    let Some(list) = &question.list else {
        return Ok(Sought { client, reference: resolve::reference(&question.name)?, entry: None });
    };
    let reference = list_name(list)?;
    let text = engine.store.image_list(&reference.to_string())?.ok_or_else(|| no_list(list))?;
    let digest = entry_digest(engine, &question.name)?;
    let entry = read(&text)?.manifests.into_iter().find(|entry| entry.digest.as_str() == digest);
    let entry = entry.ok_or_else(|| invalid("image", &question.name, "the list does not have it"))?;
    Ok(Sought { client, reference, entry: Some(entry) })
}

/// A list that is here goes before a registry.
fn document(engine: &Engine, client: &Client, reference: &Reference) -> Result<Vec<u8>> {
    match engine.store.image_list(&reference.to_string())? {
        Some(document) => Ok(document.into_bytes()),
        None => Ok(document::fetch(client, reference)?),
    }
}

/// A manifest by its digest: from here, else from the repository of the list that names it.
fn content(engine: &Engine, client: &Client, list: &Reference, digest: &Digest) -> Result<Vec<u8>> {
    if engine.store.blob_exists(digest.as_str())? {
        return Ok(engine.store.read_blob(digest.as_str(), oci::MAX_DOCUMENT)?);
    }
    Ok(document::fetch(client, &resolve::reference(&format!("{}@{digest}", list.repository()))?)?)
}

fn of_list(engine: &Engine, client: &Client, list: &Reference, entry: &Descriptor) -> Result<Told> {
    if media_type::is_index(&entry.media_type) {
        let reason = format!("{} is a list within a list, of which nothing more is told", entry.digest);
        return Err(invalid("list", &list.to_string(), &reason));
    }
    let bytes = content(engine, client, list, &entry.digest)?;
    told(format!("{list}@{}", entry.digest), entry.clone(), &bytes)
}

fn told(reference: String, descriptor: Descriptor, bytes: &[u8]) -> Result<Told> {
    let manifest: Box<RawValue> = serde_json::from_slice(bytes).map_err(|e| {
        let reason = e.to_string();
        Error::from(crate::image::Error::from(oci::Error::Malformed { what: "manifest", reason }))
    })?;
    let raw = STANDARD.encode(bytes);
    let (docker, oci) = match descriptor.media_type.as_str() {
        media_type::DOCKER_MANIFEST => (Some(manifest), None),
        _ => (None, Some(manifest)),
    };
    Ok(Told { reference, descriptor, raw, docker, oci })
}
