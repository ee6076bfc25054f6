//! `save`: images into one archive that docker, podman and skopeo read.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::image::Error as ImageError;
pub use crate::image::archive::LayerForm;
use crate::image::archive::{self, Format, Named};
use crate::oci::Reference;
use crate::store::image::ImageRecord;

/// The layout of the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// docker's since version 25: an OCI layout that also carries `manifest.json`.
    #[default]
    DockerArchive,
    /// An OCI layout and nothing else.
    OciArchive,
}

/// What `save` was asked for.
#[derive(Debug, Clone, Default)]
pub struct SaveRequest {
    /// As typed, at least one.
    pub images: Vec<String>,
    /// `None` writes to stdout, which must not be a terminal.
    pub output: Option<PathBuf>,
    pub format: ArchiveFormat,
    pub layers: LayerForm,
    /// `os/arch[/variant]` that every image must be for: itself, or another of the list that it came in.
    pub platform: Option<String>,
}

pub fn save(engine: &Engine, request: &SaveRequest) -> Result<()> {
    if request.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::Terminal("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let store = &engine.store;
    // Nothing that is being saved may be collected.
    super::with_content(store, || {
        let images = chosen(engine, request)?;
        let format = match request.format {
            ArchiveFormat::DockerArchive => Format::Docker,
            ArchiveFormat::OciArchive => Format::Oci,
        };
        let write = |out: &mut dyn Write| Ok(archive::write(store, &images, format, out)?);
        match &request.output {
            Some(path) => to_file(path, write),
            None => write(&mut BufWriter::with_capacity(256 << 10, std::io::stdout().lock())),
        }
    })?;
    // What was removed meanwhile could not go.
    store.remove_unreferenced(|path| store.delete_tree(path))?;
    Ok(())
}

/// Each image once, under all names that it was asked for by.
fn chosen(engine: &Engine, request: &SaveRequest) -> Result<Vec<Named>> {
    let mut images: Vec<Named> = Vec::new();
    for name in &request.images {
        for mut named in select(engine, name, request)? {
            if let Some(wanted) = &request.platform {
                named.image = resolve::of_platform(engine, named.image, name, wanted)?;
            }
            match images.iter_mut().find(|known| known.image.id == named.image.id) {
                Some(known) => {
                    known.references.extend(named.references);
                    known.references.sort();
                    known.references.dedup();
                }
                None => images.push(named),
            }
        }
    }
    for named in &mut images {
        named.form = form(request, &named.image);
    }
    Ok(images)
}

/// zstd, in which `import` keeps what comes plain, is what not every reader of archives can convert: skopeo makes no
/// docker-archive of it, and docker before 23 does not read it. So it is undone, unless that would take away the digest
/// by which a registry knows the image: an OCI layout keeps that.
fn form(request: &SaveRequest, image: &ImageRecord) -> LayerForm {
    let is_known = image.references.iter().any(|reference| reference.contains('@'));
    match (request.layers, request.format) {
        (LayerForm::Stored, ArchiveFormat::OciArchive) if is_known => LayerForm::Stored,
        (LayerForm::Stored, _) => LayerForm::WithoutZstd,
        (asked, _) => asked,
    }
}

/// The images that one word means: `alpine` is every tag of alpine, as with docker.
fn select(engine: &Engine, name: &str, request: &SaveRequest) -> Result<Vec<Named>> {
    if let Ok(reference) = name.parse::<Reference>() {
        let bare = name
            .parse::<Reference>()
            .is_ok_and(|r| r.familiar_repository() == name || r.repository() == name);
        if bare {
            let mut all = Vec::new();
            for image in engine.store.images()? {
                let mut references = resolve::references(&image);
                references.retain(|r| r.tag().is_some() && r.repository() == reference.repository());
                if !references.is_empty() {
                    all.push(Named { image, references, form: request.layers });
                }
            }
            if !all.is_empty() {
                return Ok(all);
            }
        }
        let image = resolve::resolve_for(engine, name, request.platform.as_deref())?;
        let references = resolve::references(&image).into_iter().filter(|r| *r == reference).collect();
        return Ok(vec![Named { image, references, form: request.layers }]);
    }
    Ok(vec![Named { image: resolve::resolve(engine, name)?, references: Vec::new(), form: request.layers }])
}

/// Writes beside `path` and renames, so that a file of that name is whole. What is no file (a pipe, a device) is
/// written to directly.
pub(in crate::engine) fn to_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let what = path.display().to_string();
    let failed = |source| ImageError::Write { what: what.clone(), source };
    let special = std::fs::metadata(path).is_ok_and(|m| !m.is_file());
    if special {
        let mut out = BufWriter::new(OpenOptions::new().write(true).open(path).map_err(failed)?);
        return write(&mut out);
    }
    let Some(name) = path.file_name() else {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()).into());
    };
    let mut temporary = name.to_os_string();
    temporary.push(format!(".kelp-{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    let result = write(&mut BufWriter::with_capacity(256 << 10, file))
        .and_then(|()| Ok(std::fs::rename(&temporary, path).map_err(failed)?));
    if result.is_err() {
        // The error that is told is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}
