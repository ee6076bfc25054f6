//! Manifests, indexes and descriptors of the OCI image format and of docker's schema 2, which differ in media
//! types only.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Digest, Error, MAX_LAYERS, MAX_MANIFESTS, Platform, limit, parse_document};

/// Media types by their meaning.
pub mod media_type {
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    pub fn is_manifest(s: &str) -> bool {
        matches!(s, MANIFEST | DOCKER_MANIFEST)
    }

    pub fn is_index(s: &str) -> bool {
        matches!(s, INDEX | DOCKER_INDEX)
    }

    pub fn is_config(s: &str) -> bool {
        matches!(s, CONFIG | DOCKER_CONFIG)
    }

    /// A layer that is a tar archive. Its compression is read from its bytes, as docker does.
    pub fn is_layer(s: &str) -> bool {
        s.starts_with(LAYER)
            || s.starts_with(DOCKER_LAYER)
            || s.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || s.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
    }
}

/// Content by its digest. `urls` is not read: nothing is fetched because a document says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(
        default,
        deserialize_with = "super::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Box<Platform>>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, annotations: BTreeMap::new(), platform: None }
    }
}

/// One image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(
        default,
        deserialize_with = "super::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let media_type = Some(media_type::MANIFEST.into());
        Self { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }

    /// The document; the same manifest always gives the same bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and maps of strings are always JSON")
    }
}

/// Several manifests: one for each platform, or one for each image of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(deserialize_with = "super::null_is_default")]
    pub manifests: Vec<Descriptor>,
    #[serde(
        default,
        deserialize_with = "super::null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// buildx marks its attestations so; they are no images.
const ATTESTATION: &str = "vnd.docker.reference.type";

impl Index {
    /// The entries that are images or lead to images.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        let known = |d: &&Descriptor| {
            (media_type::is_manifest(&d.media_type) || media_type::is_index(&d.media_type))
                && !d.annotations.contains_key(ATTESTATION)
        };
        self.manifests.iter().filter(known)
    }

    /// The entry for a platform. Where the wanted one names no variant, an entry without one goes before those with.
    pub fn best(&self, wanted: &Platform) -> Option<&Descriptor> {
        let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.satisfies(wanted));
        let exact = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.variant == wanted.variant);
        let fitting = || self.images().filter(fits);
        fitting().find(exact).or_else(|| fitting().next())
    }

    /// The platforms that it has images for.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.images().filter_map(|d| d.platform.as_deref())
    }
}

/// `oci-layout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    pub image_layout_version: String,
}

/// What stands behind a digest that names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Only what tells the kinds apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

const WHAT: &str = "image manifest";

impl Document {
    /// Reads a manifest or an index. What both could be is refused (CVE-2021-41190), as is one whose
    /// `mediaType` says otherwise than its content or than `expected`, the descriptor's media type.
    pub fn parse(bytes: &[u8], expected: Option<&str>) -> Result<Self, Error> {
        let shape: Shape = parse_document(WHAT, bytes)?;
        let malformed = |reason: &str| Error::Malformed { what: WHAT, reason: reason.into() };
        if shape.schema_version != 2 || shape.fs_layers.is_some() {
            return Err(malformed("schema version 2 is expected; docker's schema 1 is not read"));
        }
        let is_index = shape.manifests.is_some();
        if is_index && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(Error::Ambiguous { what: WHAT });
        }
        for stated in shape.media_type.as_deref().into_iter().chain(expected) {
            if is_index && media_type::is_manifest(stated) || !is_index && media_type::is_index(stated) {
                return Err(malformed(&format!("its media type `{stated}` contradicts its content")));
            }
            if !media_type::is_manifest(stated) && !media_type::is_index(stated) {
                let media_type = stated.chars().take(200).collect::<String>().escape_debug().to_string();
                return Err(Error::MediaType { what: WHAT, media_type });
            }
        }
        if is_index { Self::index(bytes) } else { Self::manifest(bytes) }
    }

    fn index(bytes: &[u8]) -> Result<Self, Error> {
        let index: Index = parse_document(WHAT, bytes)?;
        limit(WHAT, "manifests", index.manifests.len(), MAX_MANIFESTS)?;
        Ok(Self::Index(index))
    }

    fn manifest(bytes: &[u8]) -> Result<Self, Error> {
        let manifest: Manifest = parse_document(WHAT, bytes)?;
        limit(WHAT, "layers", manifest.layers.len(), MAX_LAYERS)?;
        let unknown = |d: &Descriptor| {
            let media_type = d.media_type.chars().take(200).collect::<String>().escape_debug().to_string();
            Error::MediaType { what: WHAT, media_type }
        };
        if !media_type::is_config(&manifest.config.media_type) {
            return Err(unknown(&manifest.config));
        }
        if let Some(odd) = manifest.layers.iter().find(|l| !media_type::is_layer(&l.media_type)) {
            return Err(unknown(odd));
        }
        Ok(Self::Manifest(manifest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3}}"#, Digest::of(b"abc"))
    }

    fn manifest() -> String {
        let (config, layer) = (descriptor(media_type::CONFIG), descriptor(media_type::LAYER_GZIP));
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{config},"layers":[{layer}]}}"#,
            media_type::MANIFEST
        )
    }

    #[test]
    fn manifest_and_index() {
        let Document::Manifest(m) = Document::parse(manifest().as_bytes(), None).unwrap() else { panic!() };
        assert_eq!(m.layers[0].size, 3);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(media_type::MANIFEST));
        let Document::Index(i) = Document::parse(index.as_bytes(), Some(media_type::INDEX)).unwrap() else {
            panic!()
        };
        assert_eq!(i.manifests.len(), 1);
    }

    /// T-ambig.
    #[test]
    fn two_meanings_are_refused() {
        let both = manifest().replacen('{', r#"{"manifests":[],"#, 1);
        assert!(matches!(Document::parse(both.as_bytes(), None), Err(Error::Ambiguous { .. })));
        let wrong = manifest().replace(media_type::MANIFEST, media_type::INDEX);
        assert!(Document::parse(wrong.as_bytes(), None).is_err());
        assert!(Document::parse(manifest().as_bytes(), Some(media_type::INDEX)).is_err());
        let twice = manifest().replacen('{', r#"{"layers":[],"#, 1);
        assert!(Document::parse(twice.as_bytes(), None).is_err(), "a key given twice");
    }

    /// T-bigmeta.
    #[test]
    fn size_and_counts_are_bounded() {
        let huge = vec![b' '; usize::try_from(MAX_DOCUMENT_PLUS).unwrap()];
        assert!(matches!(Document::parse(&huge, None), Err(Error::TooLarge { .. })));
        let layer = descriptor(media_type::LAYER);
        let layers = vec![layer; MAX_LAYERS + 1].join(",");
        let many = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#,
            descriptor(media_type::CONFIG)
        );
        assert!(matches!(Document::parse(many.as_bytes(), None), Err(Error::TooMany { .. })));
        let deep = format!(r#"{{"schemaVersion":2,"x":{}"#, "[".repeat(100_000));
        assert!(matches!(Document::parse(deep.as_bytes(), None), Err(Error::Malformed { .. })));
    }

    const MAX_DOCUMENT_PLUS: u64 = super::super::MAX_DOCUMENT + 1;

    #[test]
    fn odd_digests_and_media_types_are_refused() {
        let bad = manifest().replace("sha256:", "sha512:");
        assert!(Document::parse(bad.as_bytes(), None).is_err());
        let bad = manifest().replace(media_type::LAYER_GZIP, "application/x-helm");
        assert!(matches!(Document::parse(bad.as_bytes(), None), Err(Error::MediaType { .. })));
        assert!(Document::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#, None).is_err());
    }
}
