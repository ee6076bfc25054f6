//! `export`: a container's whole tree as a tar archive, volumes and other mounts left out, as docker does.

use std::io::{BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;

use super::held::hold;
use crate::engine::image::save;
use crate::engine::{Engine, Error, Result};
use crate::image::pack::{self, Owners, Writer};
use crate::snapshot::diff::{self, Part};
use crate::store::produced::{self, Produced};

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
    let archive = || -> Result<Produced> {
        Ok(produced::begin(&engine.store, &[], |out| {
            let mut archive = Writer::new(out, Owners::Seen);
            let packed = layers.walk_all::<Failure>(&mut |part| {
                let Part::Entry { dir, name, path } = part else { return Ok(()) };
                Ok(archive.entry(dir, name, path).map(|_| ())?)
            });
            packed.and_then(|()| Ok(archive.finish()?)).map(|_| ()).map_err(|e| crate::error::chain(&e))
        })?)
    };
    match &request.output {
        Some(path) => {
            let what = path.display().to_string();
            save::to_file(path, |out| pour(archive()?, &what, out).map(|_| ()))
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            pour(archive()?, "to standard output", &mut out).map(|_| ())
        }
    }
}

/// Hands all of it to `out`. Gives the number of bytes.
pub(super) fn pour(mut from: Produced, what: &str, out: &mut dyn Write) -> Result<u64> {
    let write = |source| crate::image::Error::Write { what: what.into(), source };
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let read = from.rest().read(&mut buffer);
        match read {
            Ok(0) => break,
            Ok(n) => {
                out.write_all(&buffer[..n]).map_err(write)?;
                total += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(crate::image::Error::Read { what: "the container's files".into(), source }.into());
            }
        }
    }
    from.end()?;
    out.flush().map_err(write)?;
    Ok(total)
}

const CHUNK: usize = 256 << 10;

/// Why a tree is not packed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Walk(#[from] diff::Error),
    #[error(transparent)]
    Pack(#[from] pack::Error),
}
