//! `export`: a container's whole tree as a tar archive, volumes and other mounts left out, as docker does.

use std::io::{BufWriter, IsTerminal};
use std::path::PathBuf;

use super::held::hold;
use super::produced::{self, Produced};
use crate::engine::image::save;
use crate::engine::{Engine, Error, Result};
use crate::image::pack::{self, Owners, Writer};
use crate::snapshot::Merged;
use crate::snapshot::diff::{self, Part};

const VERB: &str = "export";

/// What `export` was asked for.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    pub container: String,
    /// `None` writes to stdout, which must not be a terminal.
    pub output: Option<PathBuf>,
}

pub fn export(engine: &Engine, request: &ExportRequest) -> Result<()> {
    if request.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::Terminal("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let held = hold(engine, &request.container, VERB)?;
    let layers = held.layers(engine, VERB)?;
    if layers.parted {
        let reason = "its root is put together of parts of this machine's own, which are not the container's to give away";
        let hint = "`kelp diff` shows what it has changed, `kelp cp` gets it out";
        return Err(held.cannot(VERB, reason, Some(hint.into())));
    }
    let all: Vec<PathBuf> = layers.upper.into_iter().chain(layers.lowers).collect();
    let archive = || -> Result<Produced> {
        produced::begin(&engine.store, &[], |out| {
            let mut archive = Writer::new(out, Owners::Seen);
            let tree = Merged::of(&all).map_err(|e| e.to_string())?;
            let packed = diff::walk_merged::<Failure>(&tree, &mut |part| {
                let Part::Entry { dir, name, path } = part else { return Ok(()) };
                Ok(archive.entry(dir, name, path).map(|_| ())?)
            });
            packed.and_then(|()| Ok(archive.finish()?)).map(|_| ()).map_err(|e| crate::error::chain(&e))
        })
    };
    match &request.output {
        Some(path) => {
            let what = path.display().to_string();
            save::to_file(path, |out| archive()?.copy_to(&what, out).map(|_| ()))
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            archive()?.copy_to("to standard output", &mut out).map(|_| ())
        }
    }
}

/// Why a tree is not packed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Walk(#[from] crate::sys::Error),
    #[error(transparent)]
    Pack(#[from] pack::Error),
}
