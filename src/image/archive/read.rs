//! `load`: an archive's members become blobs, and its index says which of them are images.
//!
//! Members come in any order and are never held: each is stored as a blob, under its own digest, and the index
//! is judged at the end. What no image turns out to need is unreferenced and goes with the next collection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use super::super::unpack::{Entry, Kind, Reader};
use super::super::{Compression, Error, Result, blob, record};
use crate::oci::{
    self, Descriptor, Digest, DockerArchiveItem, Document, Index, Layout, Manifest, Platform, Reference,
    media_type,
};
use crate::store::Store;
use crate::store::image::ImageRecord;

/// Members of one archive.
const MAX_MEMBERS: usize = 65_536;
/// Indexes within indexes.
const MAX_DEPTH: usize = 3;
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const OCI_NAME: &str = "org.opencontainers.image.ref.name";
/// buildx marks its attestations so; they are no images.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// An image of the archive, recorded.
#[derive(Debug, Clone)]
pub struct Found {
    pub image: ImageRecord,
    /// What the archive calls it.
    pub references: Vec<Reference>,
    /// The names that other images had until now, and their ids.
    pub replaced: Vec<(Reference, String)>,
}

/// What an archive holds, by name.
#[derive(Default)]
struct Members {
    blobs: BTreeMap<String, (Digest, u64)>,
    links: BTreeMap<String, String>,
}

/// Reads an archive, plain or compressed, and records its images. Of an image for several platforms the one for
/// `platform` is taken.
pub fn read(
    store: &Store,
    what: &str,
    source: impl Read + Send,
    platform: Option<&Platform>,
) -> Result<Vec<Found>> {
    let (compression, source) = Compression::detect(what, source)?;
    let plain = compression.decoder(source).map_err(|source| Error::Read { what: what.into(), source })?;
    let mut plain = BufReader::with_capacity(256 << 10, plain);
    if plain.fill_buf().map_err(|source| Error::Read { what: what.into(), source })?.is_empty() {
        return Err(Error::Archive("it is empty".into()));
    }
    let members = receive(store, plain)?;
    let layout = members.document(store, "oci-layout")?;
    match (members.document(store, "index.json")?, members.document(store, "manifest.json")?) {
        (Some(index), _) if layout.is_some() => {
            check_layout(&layout.unwrap_or_default())?;
            from_index(store, &index, platform)
        }
        (_, Some(manifest)) => from_docker(store, &members, &manifest, platform),
        _ => Err(Error::Archive("it holds neither an OCI layout nor docker's manifest.json".into())),
    }
}

/// Stores every file of the archive.
fn receive(store: &Store, input: impl std::io::BufRead) -> Result<Members> {
    let mut reader = Reader::new(input);
    let mut members = Members::default();
    while let Some(entry) = reader.next_entry()? {
        if members.blobs.len() + members.links.len() >= MAX_MEMBERS {
            return Err(Error::Archive(format!("it has more than {MAX_MEMBERS} members")));
        }
        let name = member_name(&entry)?;
        match entry.kind {
            Kind::Directory => {}
            Kind::File if entry.sparse.is_none() => {
                let expected = name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}").parse());
                let expected =
                    expected.transpose().map_err(|e: oci::InvalidDigest| Error::Archive(e.to_string()))?;
                let stored = blob::receive(store, &name, Content(&mut reader), expected.as_ref())?;
                members.blobs.insert(name, stored);
            }
            // docker's old archives link a layer that two images share.
            Kind::Symlink => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                members.links.insert(name, target);
            }
            _ => {
                return Err(Error::Archive(format!(
                    "its member `{}` is not a plain file",
                    name.escape_debug()
                )));
            }
        }
    }
    reader.drain()?;
    Ok(members)
}

fn member_name(entry: &Entry) -> Result<String> {
    let name = String::from_utf8(entry.name.clone())
        .map_err(|_| Error::Archive("a member's name is not UTF-8".into()))?;
    Ok(name.trim_start_matches("./").trim_end_matches('/').to_string())
}

/// The content of the reader's present entry.
struct Content<'a, R>(&'a mut Reader<R>);

impl<R: std::io::BufRead> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.0.content().map_err(|e| match e {
            super::super::unpack::Error::Read(e) => e,
            other => std::io::Error::new(std::io::ErrorKind::InvalidData, other),
        })?;
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        self.0.consume(n);
        Ok(n)
    }
}

impl Members {
    /// A member by name, one link followed.
    fn get(&self, name: &str) -> Option<&(Digest, u64)> {
        let direct = self.blobs.get(name);
        direct.or_else(|| {
            let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
            self.blobs.get(&resolve(dir, self.links.get(name)?)?)
        })
    }

    fn document(&self, store: &Store, name: &str) -> Result<Option<Vec<u8>>> {
        match self.get(name) {
            None => Ok(None),
            Some((_, size)) if *size > oci::MAX_DOCUMENT => {
                Err(oci::Error::TooLarge { what: "archive's index" }.into())
            }
            Some((digest, _)) => Ok(Some(store.read_blob(digest.as_str(), oci::MAX_DOCUMENT)?)),
        }
    }

    fn need(&self, name: &str) -> Result<&(Digest, u64)> {
        let shown = || name.chars().take(200).collect::<String>().escape_debug().to_string();
        self.get(name).ok_or_else(|| Error::Archive(format!("its member `{}` is missing", shown())))
    }
}

/// A link's target as a member's name: names only, nothing is opened.
fn resolve(dir: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn check_layout(bytes: &[u8]) -> Result<()> {
    let layout: Layout = serde_json::from_slice(bytes)
        .map_err(|e| oci::Error::Malformed { what: "oci-layout", reason: e.to_string() })?;
    match layout.image_layout_version.as_str() {
        "1.0.0" => Ok(()),
        other => Err(Error::Archive(format!("its layout version `{}` is not known", other.escape_debug()))),
    }
}

fn from_index(store: &Store, bytes: &[u8], platform: Option<&Platform>) -> Result<Vec<Found>> {
    let Document::Index(index) = Document::parse(bytes, Some(media_type::INDEX))? else {
        return Err(Error::Archive("its index.json is no index".into()));
    };
    let mut found: Vec<Found> = Vec::new();
    for descriptor in index.manifests.iter().filter(|d| !d.annotations.contains_key(ATTESTATION)) {
        let (digest, manifest) = select(store, descriptor, platform, 0)?;
        let references: Vec<Reference> = name_of(descriptor)?.into_iter().collect();
        let replaced = former(store, &references, &manifest)?;
        let image = record::add(store, &digest, &manifest, references.first())?;
        match found.iter_mut().find(|f| f.image.id == image.id) {
            Some(known) => {
                known.references.extend(references);
                known.replaced.extend(replaced);
            }
            None => found.push(Found { image, references, replaced }),
        }
    }
    if found.is_empty() {
        return Err(Error::Archive("it holds no image".into()));
    }
    Ok(found)
}

/// The images that the names belong to before the one of `manifest` gets them.
fn former(store: &Store, names: &[Reference], manifest: &Manifest) -> Result<Vec<(Reference, String)>> {
    let mut former = Vec::new();
    for name in names {
        match store.find_image(&name.to_string()) {
            Err(crate::store::Error::NoSuchImage(_)) => {}
            Ok(old) if old.id == manifest.config.digest.as_str() => {}
            old => former.push((name.clone(), old?.id)),
        }
    }
    Ok(former)
}

/// containerd writes the whole name; the format's own annotation may be a tag alone, or no name in our grammar: then
/// the image has none.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = descriptor.annotations.get(CONTAINERD_NAME) {
        let bad = |e| Error::Archive(format!("its image name `{}`: {e}", name.escape_debug()));
        return name.parse().map(Some).map_err(bad);
    }
    Ok(descriptor.annotations.get(OCI_NAME).and_then(|name| name.parse().ok()))
}

/// The manifest behind a descriptor, through indexes by platform.
fn select(
    store: &Store,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
    depth: usize,
) -> Result<(Digest, Manifest)> {
    let bytes = store.read_blob(descriptor.digest.as_str(), oci::MAX_DOCUMENT)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(Error::Archive(format!(
            "manifest {} has not the size that is stated",
            descriptor.digest
        )));
    }
    match Document::parse(&bytes, Some(&descriptor.media_type))? {
        Document::Manifest(manifest) => {
            if let Some(wanted) = platform {
                let config = store.read_blob(manifest.config.digest.as_str(), oci::MAX_DOCUMENT)?;
                let found = oci::ImageConfig::parse(&config)?.platform();
                if !found.satisfies(wanted) {
                    return Err(Error::Platform { found: found.to_string(), wanted: wanted.to_string() });
                }
            }
            Ok((descriptor.digest.clone(), manifest))
        }
        Document::Index(_) if depth == MAX_DEPTH => {
            Err(Error::Archive("its indexes are nested too deep".into()))
        }
        Document::Index(index) => {
            let wanted = platform.cloned().unwrap_or_else(Platform::host);
            let fits = best(&index, &wanted).ok_or_else(|| {
                let found: Vec<_> = index.manifests.iter().filter_map(|d| d.platform.as_ref()).collect();
                let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                Error::Platform { found, wanted: wanted.to_string() }
            })?;
            select(store, fits, platform, depth + 1)
        }
    }
}

fn best<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    index.manifests.iter().find(|d| d.platform.as_ref().is_some_and(|p| p.satisfies(wanted)))
}

fn from_docker(
    store: &Store,
    members: &Members,
    manifest: &[u8],
    platform: Option<&Platform>,
) -> Result<Vec<Found>> {
    let items = oci::parse_archive_manifest(manifest)?;
    if items.is_empty() {
        return Err(Error::Archive("it holds no image".into()));
    }
    items.iter().map(|item| docker_item(store, members, item, platform)).collect()
}

/// Gives one image of a docker archive the manifest that the archive does not have.
fn docker_item(
    store: &Store,
    members: &Members,
    item: &DockerArchiveItem,
    platform: Option<&Platform>,
) -> Result<Found> {
    let references =
        item.repo_tags.iter().map(|tag| tag.parse::<Reference>()).collect::<std::result::Result<Vec<_>, _>>();
    let references = references.map_err(|e| Error::Archive(format!("a tag in manifest.json: {e}")))?;
    let (config, size) = members.need(&item.config)?.clone();
    let mut layers = Vec::new();
    for name in &item.layers {
        let (digest, size) = members.need(name)?.clone();
        let (compression, _) = Compression::detect(name, store.open_blob(digest.as_str())?)?;
        layers.push(match compression.layer_media_type() {
            Some(media_type) => Descriptor::new(media_type, digest, size),
            // A manifest has no word for it: the layer is stored as one that has.
            None => blob::receive_layer(store, name, store.open_blob(digest.as_str())?)?,
        });
    }
    let config = Descriptor::new(media_type::CONFIG, config, size);
    let manifest = Manifest::new(config, layers);
    let digest = store.put_blob(manifest.to_json().as_bytes())?;
    let digest: Digest = digest.parse().map_err(|e: oci::InvalidDigest| Error::Archive(e.to_string()))?;
    let descriptor = Descriptor::new(media_type::MANIFEST, digest, manifest.to_json().len() as u64);
    let (digest, manifest) = select(store, &descriptor, platform, 0)?;
    let replaced = former(store, &references, &manifest)?;
    let image = record::add(store, &digest, &manifest, references.first())?;
    for reference in references.iter().skip(1) {
        store.tag(&image.id, &reference.to_string())?;
    }
    Ok(Found { image, references, replaced })
}
