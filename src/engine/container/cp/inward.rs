//! Into a container.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::visitor::Visitor;
use super::{CpRequest, Side};
use crate::engine::container::held::Held;
use crate::engine::{Engine, Error, Result};
use crate::image::pack::{self, Writer};
use crate::image::place::{self, Asked, Place, Source, Target};
use crate::image::unpack::{self, Copying, Owners};
use crate::image::{self, Compression};
use crate::runtime::visit::is_kernels;
use crate::store::produced;
use crate::store::userns::{self, IdMap, Job};

const VERB: &str = "copy to";
const BUFFER: usize = 256 << 10;

pub(super) fn copy(
    engine: &Engine,
    held: &Held,
    from: &Side,
    path: &OsStr,
    request: &CpRequest,
) -> Result<u64> {
    let local = match from {
        Side::Local(path) => Some(on_host(path, request.follow_link)?),
        _ if std::io::stdin().is_terminal() => {
            return Err(Error::Terminal("requested an archive from stdin, but stdin is a terminal"));
        }
        _ => None,
    };
    let owners = match (&local, request.archive) {
        (Some(_), false) => Owners::Root,
        _ => Owners::Archive,
    };
    let asked = Asked::new(path, Path::new("/"));
    let visitor = Visitor::to(engine, held, VERB)?;
    let ids = visitor.ids(engine)?;
    let (read, write) = produced::pipe()?;
    let kept: Vec<_> = visitor.kept().chain([read.as_fd()]).collect();
    let input = &read;
    let job = userns::begin_inside(&engine.store, &kept, || {
        let entered = visitor.enter()?;
        let root = &entered.root;
        let target = match &local {
            Some((_, source)) => place::target(root, &asked, source),
            None => place::directory(root, &asked).map(|dir| Target { dir, rename: None }),
        };
        let Target { dir, rename } = target.map_err(|e| explain(&e, &asked, held))?;
        let copying = Copying { owners, keep_root: rename.is_none() };
        let input = input.try_clone().map_err(|e| e.to_string())?;
        let input = BufReader::with_capacity(BUFFER, File::from(input));
        let copied = unpack::copy_into(input, dir, &ids, copying, rename.as_ref());
        copied.map_err(|e| crate::error::chain(&e))?;
        entered.finish()
    })?;
    drop(read);
    send(job, &local, write, &ids)
}

fn explain(error: &place::Error, asked: &Asked, held: &Held) -> String {
    match error {
        missing if missing.is_missing() => {
            format!("could not find the file {} in container {}", asked.path.display(), held.record.name)
        }
        other => format!("in container {}, {other}", held.record.name),
    }
}

fn on_host(path: &OsStr, follow: bool) -> Result<(Place, Source)> {
    place::source_on_host(path, follow).map_err(|e| Error::Invalid {
        what: "source",
        value: Path::new(path).display().to_string(),
        reason: e.to_string(),
    })
}

/// Hands the archive over, and waits for what becomes of it.
fn send(job: Job<()>, local: &Option<(Place, Source)>, pipe: OwnedFd, ids: &IdMap) -> Result<u64> {
    let out = BufWriter::with_capacity(BUFFER, File::from(pipe));
    let sent = match local {
        Some((place, source)) => pack_local(place, source, out, ids),
        None => stream(out),
    };
    match sent {
        Ok(bytes) => job.finish().map(|()| bytes).map_err(Into::into),
        Err(e) if is_closed(&e) => match job.finish() {
            // Why it takes no more.
            Err(reason) => Err(reason.into()),
            Ok(()) => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

fn is_closed(error: &image::Error) -> bool {
    matches!(error, image::Error::Write { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}

const PIPE: &str = "to the container";

fn pack_local(place: &Place, source: &Source, out: impl Write, ids: &IdMap) -> image::Result<u64> {
    let mut archive = Writer::new(out, pack::Owners::Inside(ids));
    let packed = archive.tree(&place.dir, &place.name, &source.base, &is_kernels);
    packed.and_then(|()| archive.finish()).map_err(|e| match e {
        pack::Error::Write(source) => image::Error::Write { what: PIPE.into(), source },
        other => image::Error::Unpack(crate::error::chain(&other)),
    })
}

/// Standard input, decompressed in this process.
fn stream(mut out: impl Write) -> image::Result<u64> {
    let what = || "standard input".to_owned();
    let (compression, source) = Compression::detect("standard input", std::io::stdin())?;
    let mut plain =
        compression.decoder(source).map_err(|source| image::Error::Read { what: what(), source })?;
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let n = match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(image::Error::Read { what: what(), source }),
        };
        let failed = |source| image::Error::Write { what: PIPE.into(), source };
        out.write_all(&buffer[..n]).map_err(failed)?;
        total += n as u64;
    }
    out.flush().map_err(|source| image::Error::Write { what: PIPE.into(), source })?;
    Ok(total)
}
