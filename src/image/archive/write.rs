//! `save`: an OCI layout in a tar archive, with docker's `manifest.json` beside its index.
//!
//! The same images give the same bytes: members are sorted, times are zero.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::super::{Error, Result};
use super::layers::{Content, LayerForm};
use crate::oci::{
    self, Descriptor, Digest, DockerArchiveItem, Document, Index, Layout, Manifest, Reference, media_type,
};
use crate::store::Store;
use crate::store::image::ImageRecord;

/// What the archive carries besides the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `manifest.json`, for docker and everything that reads its archives.
    Docker,
    Oci,
}

/// An image to save, and the names it gets in the archive.
#[derive(Debug, Clone)]
pub struct Named {
    pub image: ImageRecord,
    pub references: Vec<Reference>,
    /// What becomes of its layers.
    pub form: LayerForm,
}

/// Members under `blobs/sha256/`, by their digest.
type Blobs = BTreeMap<Digest, Member>;

/// A blob of the archive.
enum Member {
    Document(Vec<u8>),
    Layer { content: Content, size: u64 },
}

/// Writes the archive of `images`.
pub fn write(store: &Store, images: &[Named], format: Format, out: &mut dyn Write) -> Result<()> {
    let mut blobs = Blobs::new();
    let (mut manifests, mut items) = (Vec::new(), Vec::new());
    for named in images {
        let (manifest, bytes) = shape(store, &named.image, named.form, &mut blobs)?;
        manifests.extend(entries(named, &manifest, &bytes, format));
        items.push(item(named, &manifest));
        blobs.insert(Digest::of(&bytes), Member::Document(bytes));
    }
    let mut tar = Writer { out };
    tar.directory("blobs/")?;
    tar.directory("blobs/sha256/")?;
    for (digest, member) in &blobs {
        tar.blob(store, digest, member)?;
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.into()),
        manifests,
        annotations: BTreeMap::new(),
    };
    tar.document("index.json", &index)?;
    if format == Format::Docker {
        tar.document("manifest.json", &items)?;
    }
    tar.document("oci-layout", &Layout { image_layout_version: "1.0.0".into() })?;
    tar.finish()
}

/// Gathers config and layers of an image. Gives its manifest and that one's document: the stored one, unless its
/// layers are not.
fn shape(
    store: &Store,
    image: &ImageRecord,
    form: LayerForm,
    blobs: &mut Blobs,
) -> Result<(Manifest, Vec<u8>)> {
    let bytes = store.read_blob(&image.manifest, oci::MAX_DOCUMENT)?;
    let Document::Manifest(mut manifest) = Document::parse(&bytes, None)? else {
        return Err(Error::Archive(format!("{} is not a manifest", image.manifest)));
    };
    let config = store.read_blob(&image.id, oci::MAX_DOCUMENT)?;
    blobs.insert(manifest.config.digest.clone(), Member::Document(config));
    let mut changed = false;
    for (layer, diff_id) in manifest.layers.iter_mut().zip(&image.layers) {
        let diff_id = diff_id.parse().map_err(|e: oci::InvalidDigest| Error::Archive(e.to_string()))?;
        let shaped = form.shape(store, layer, &diff_id)?;
        changed |= shaped.descriptor.digest != layer.digest;
        let member = Member::Layer { content: shaped.content, size: shaped.descriptor.size };
        *layer = shaped.descriptor;
        blobs.insert(layer.digest.clone(), member);
    }
    if !changed {
        return Ok((manifest, bytes));
    }
    // docker's schema 2 has no word for a plain layer.
    manifest.media_type = Some(media_type::MANIFEST.into());
    manifest.config.media_type = media_type::CONFIG.into();
    let bytes = manifest.to_json().into_bytes();
    Ok((manifest, bytes))
}

/// The image's entries in the index, one for each name.
fn entries(named: &Named, manifest: &Manifest, bytes: &[u8], format: Format) -> Vec<Descriptor> {
    let media_type = manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
    let plain = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
    if named.references.is_empty() {
        return vec![plain];
    }
    let entry = |reference: &Reference| {
        let mut entry = plain.clone();
        // docker writes the tag here, podman and skopeo the whole name; each reads its own.
        let name = match format {
            Format::Docker => reference.tag().unwrap_or_default().to_string(),
            Format::Oci => reference.to_string(),
        };
        entry.annotations.insert("org.opencontainers.image.ref.name".into(), name);
        entry.annotations.insert("io.containerd.image.name".into(), reference.to_string());
        entry
    };
    named.references.iter().map(entry).collect()
}

/// The image in docker's manifest.
fn item(named: &Named, manifest: &Manifest) -> DockerArchiveItem {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    DockerArchiveItem {
        config: path(&manifest.config.digest),
        repo_tags: named.references.iter().map(Reference::familiar).collect(),
        layers: manifest.layers.iter().map(|l| path(&l.digest)).collect(),
    }
}

struct Writer<'a> {
    out: &'a mut dyn Write,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|source| Error::Write { what: "the archive".into(), source })
    }

    fn header(&mut self, name: &str, kind: tar::EntryType, mode: u32, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(|source| Error::Write { what: name.into(), source })?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Eight octal digits and more are base 256, which `set_size` chooses by itself.
        header.set_size(size);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % 512).expect("a remainder of 512");
        self.put(&[0; 512][..padding])
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.header(name, tar::EntryType::Directory, 0o755, 0)
    }

    fn document(&mut self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(value).expect("strings and maps of strings are always JSON");
        self.header(name, tar::EntryType::Regular, 0o644, bytes.len() as u64)?;
        self.put(&bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn blob(&mut self, store: &Store, digest: &Digest, member: &Member) -> Result<()> {
        let size = match member {
            Member::Document(bytes) => bytes.len() as u64,
            Member::Layer { size, .. } => *size,
        };
        self.header(&format!("blobs/sha256/{}", digest.hex()), tar::EntryType::Regular, 0o644, size)?;
        match member {
            Member::Document(bytes) => self.put(bytes)?,
            Member::Layer { content, .. } => self.content(content.open(store)?, digest, size)?,
        }
        self.pad(size)
    }

    /// Exactly `size` bytes of `source`.
    fn content(&mut self, source: impl Read, digest: &Digest, size: u64) -> Result<()> {
        let failed = |source| Error::Read { what: format!("blob {digest}"), source };
        let mut source = source.take(size);
        let mut buffer = vec![0; 256 << 10];
        let mut done = 0u64;
        while done < size {
            let n = source.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.put(&buffer[..n])?;
            done += n as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.put(&[0; 1024])?;
        self.out.flush().map_err(|source| Error::Write { what: "the archive".into(), source })
    }
}
