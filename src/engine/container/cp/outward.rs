//! Out of a container.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read};
use std::path::Path;

use super::visitor::Visitor;
use super::{CpRequest, Side};
use crate::engine::container::export::pour;
use crate::engine::container::held::Held;
use crate::engine::{Engine, Error, Result};
use crate::image::pack::{self, Writer};
use crate::image::place::{self, Asked, Source};
use crate::image::unpack::{self, Copying, Owners};
use crate::runtime::visit::is_kernels;
use crate::store::produced::{self, Produced};
use crate::store::userns;

const VERB: &str = "copy from";
/// Bytes of the line before the archive that says what is in it.
const MAX_LINE: u64 = 64 << 10;
const BUFFER: usize = 256 << 10;

pub(super) fn copy(
    engine: &Engine,
    held: &Held,
    path: &OsStr,
    to: &Side,
    request: &CpRequest,
) -> Result<u64> {
    if *to == Side::Stream && std::io::stdout().is_terminal() {
        return Err(Error::Terminal("cowardly refusing to write an archive to a terminal. Redirect it"));
    }
    let asked = Asked::new(path, Path::new("/"));
    let visitor = Visitor::to(engine, held, VERB)?;
    // An archive has the container's own numbers; on this side the user's files are to be the user's.
    let renumbered = request.archive && *to != Side::Stream && visitor.has_own_ids();
    let ids = renumbered.then(|| Ok::<_, Error>((visitor.ids(engine)?, userns::id_map(&engine.store)?)));
    let ids = ids.transpose()?;
    let kept: Vec<_> = visitor.kept().collect();
    let produced = produced::begin(&engine.store, &kept, |out| {
        let entered = visitor.enter()?;
        let found = place::source(&entered.root, &asked, request.follow_link).map_err(|e| match e.errno() {
            libc::ENOENT => {
                format!("could not find the file {} in container {}", asked.path.display(), held.record.name)
            }
            _ => e.to_string(),
        });
        let (place, source) = found?;
        let line = serde_json::to_string(&source).map_err(|e| e.to_string())?;
        out.write_all(format!("{line}\n").as_bytes()).map_err(|e| e.to_string())?;
        let owners = match &ids {
            Some((seen, told)) => pack::Owners::Renumbered { seen, told },
            None => pack::Owners::Seen,
        };
        let mut archive = Writer::new(out, owners);
        let packed = archive.tree(&place.dir, &place.name, &source.base, &is_kernels);
        packed.and_then(|()| archive.finish()).map(|_| ()).map_err(|e| crate::error::chain(&e))
    })?;
    let mut archive = BufReader::with_capacity(BUFFER, produced);
    let source = announced(&mut archive)?;
    match to {
        Side::Local(path) => to_host(engine, archive, &source, path, request),
        _ => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let start = archive.buffer().to_vec();
            let write = |source| crate::image::Error::Write { what: STDOUT.into(), source };
            std::io::Write::write_all(&mut out, &start).map_err(write)?;
            Ok(pour(archive.into_inner(), STDOUT, &mut out)? + start.len() as u64)
        }
    }
}

const STDOUT: &str = "to standard output";

fn announced(archive: &mut BufReader<Produced>) -> Result<Source> {
    let mut line = Vec::new();
    let read = archive.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
    // It has failed before its first word, and why is what there is to say.
    read.map_err(|e| crate::image::Error::Unpack(e.to_string()))?;
    let malformed = |_| crate::image::Error::Archive("the copying job does not say what it has found".into());
    Ok(serde_json::from_slice(&line).map_err(malformed)?)
}

fn to_host(
    engine: &Engine,
    archive: BufReader<Produced>,
    source: &Source,
    path: &OsStr,
    request: &CpRequest,
) -> Result<u64> {
    let cannot = |reason: String| Error::Invalid {
        what: "destination",
        value: Path::new(path).display().to_string(),
        reason,
    };
    let target = place::target_on_host(path, source).map_err(|e| cannot(e.to_string()))?;
    let ids = userns::id_map(&engine.store)?;
    let owners = if request.archive { Owners::Archive } else { Owners::Caller };
    let copying = Copying { owners, keep_root: target.rename.is_none() };
    let start = archive.buffer().to_vec();
    let mut produced = archive.into_inner();
    let unpack = || {
        let counted = Counted { inner: std::io::Cursor::new(&start).chain(produced.rest()), count: 0 };
        let mut input = BufReader::with_capacity(BUFFER, counted);
        let into = target.dir.try_clone().map_err(|e| e.to_string())?;
        unpack::copy_into(&mut input, into, &ids, copying, target.rename.as_ref())
            .map(|_| input.get_ref().count)
            .map_err(|e| crate::error::chain(&e))
    };
    let unpacked = if request.archive {
        // Only in there may this user give files away, to their own sub-ids.
        userns::run_inside(&engine.store, unpack).map_err(|e| e.to_string())
    } else {
        unpack()
    };
    // What has gone wrong on the container's side is the reason for what goes wrong here.
    let ended = produced.finish_after(unpacked.is_ok());
    ended?;
    unpacked.map_err(|text| crate::image::Error::Unpack(text).into())
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}
