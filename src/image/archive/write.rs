//! `save`: an OCI layout in a tar archive, with docker's `manifest.json` beside its index.
//!
//! The same images give the same bytes: members are sorted, times are zero.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use super::super::{Error, Result};
use crate::oci::{
    self, Descriptor, Digest, DockerArchiveItem, Document, Index, Layout, Reference, media_type,
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
}

/// Writes the archive of `images`.
pub fn write(store: &Store, images: &[Named], format: Format, out: &mut dyn Write) -> Result<()> {
    let mut blobs: BTreeSet<String> = BTreeSet::new();
    let (mut manifests, mut items) = (Vec::new(), Vec::new());
    for named in images {
        let (entries, item) = describe(store, named, format)?;
        manifests.extend(entries);
        items.push(item);
        let image = &named.image;
        blobs.extend(image.blobs.iter().chain([&image.id, &image.manifest]).cloned());
    }
    let mut tar = Writer { out };
    tar.directory("blobs/")?;
    tar.directory("blobs/sha256/")?;
    for blob in &blobs {
        tar.blob(store, blob)?;
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

/// The image's entries in the index, one for each name, and its item in docker's manifest.
fn describe(store: &Store, named: &Named, format: Format) -> Result<(Vec<Descriptor>, DockerArchiveItem)> {
    let image = &named.image;
    let bytes = store.read_blob(&image.manifest, oci::MAX_DOCUMENT)?;
    let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
        return Err(Error::Archive(format!("{} is not a manifest", image.manifest)));
    };
    let digest: Digest =
        image.manifest.parse().map_err(|e: oci::InvalidDigest| Error::Archive(e.to_string()))?;
    let media_type = manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
    let plain = Descriptor::new(media_type, digest, bytes.len() as u64);
    let mut entries = Vec::new();
    for reference in &named.references {
        let mut entry = plain.clone();
        // docker writes the tag here, podman and skopeo the whole name; each reads its own.
        let name = match format {
            Format::Docker => reference.tag().unwrap_or_default().to_string(),
            Format::Oci => reference.to_string(),
        };
        entry.annotations.insert("org.opencontainers.image.ref.name".into(), name);
        entry.annotations.insert("io.containerd.image.name".into(), reference.to_string());
        entries.push(entry);
    }
    if entries.is_empty() {
        entries.push(plain);
    }
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let item = DockerArchiveItem {
        config: path(&manifest.config.digest),
        repo_tags: named.references.iter().map(Reference::familiar).collect(),
        layers: manifest.layers.iter().map(|l| path(&l.digest)).collect(),
    };
    Ok((entries, item))
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

    fn blob(&mut self, store: &Store, digest: &str) -> Result<()> {
        let file = store.open_blob(digest)?;
        let failed = |source| Error::Read { what: format!("blob {digest}"), source };
        let size = file.metadata().map_err(failed)?.len();
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.header(&format!("blobs/sha256/{hex}"), tar::EntryType::Regular, 0o644, size)?;
        let mut source = file.take(size);
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
        self.pad(size)
    }

    fn finish(mut self) -> Result<()> {
        self.put(&[0; 1024])?;
        self.out.flush().map_err(|source| Error::Write { what: "the archive".into(), source })
    }
}
