//! One blob, stored or still arriving, to one unpacked layer, in a child that is root of the user namespace.
//!
//! In that child one thread reads, decompresses and hashes while the other writes to disk, a few chunks apart.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::growing::{self, Notice};
use super::unpack::{self, Limits};
use super::{Compression, Error, Result, blob};
use crate::error::chain;
use crate::oci::{Descriptor, Digest, Hasher};
use crate::store::content::{BlobWriter, LayerStage};
use crate::store::userns::Job;
use crate::store::{Store, userns};
use crate::sys::process;
use crate::sys::userns::IdMap;

const CHUNK: usize = 256 << 10;
/// Chunks between the two threads.
const AHEAD: usize = 8;
/// Beyond this many bytes a layer must not expand to more than [`MAX_RATIO`] times what was received.
const FREE_EXPANSION: u64 = 1 << 30;
const MAX_RATIO: u64 = 250;

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub diff_id: Digest,
    /// Bytes of content of its files.
    pub size: u64,
}

/// Makes sure that the layer in `blob` is unpacked. One that is there already is taken, and content of another digest
/// than `expected` is refused. The calling process must have one thread.
pub fn ensure(store: &Store, blob: &Digest, expected: &Digest) -> Result<Layer> {
    let Some(stage) = store.stage_layer(Some(expected.as_str()))? else {
        let size = store.layer_size(expected.as_str())?;
        return Ok(Layer { diff_id: expected.clone(), size });
    };
    let ids = userns::id_map(store)?;
    let file = store.open_blob(blob.as_str())?;
    let (dir, root) = (stage.path(), store.root());
    let layer = userns::run_inside(store, || Ok(unpack_into(file, dir, &ids, root)))?.done()?;
    if layer.diff_id != *expected {
        return Err(Error::DiffId { expected: expected.clone(), found: layer.diff_id });
    }
    stage.commit(layer.diff_id.as_str(), layer.size)?;
    Ok(layer)
}

/// Begins to unpack the blob in `file`, of which `size` bytes are going to be there and the first of them perhaps are,
/// into `stage`. The child is told of more, and of the end where `size` is `None`, by what is given back beside it. The
/// calling process must have one thread.
pub fn begin(
    store: &Store,
    stage: &LayerStage<'_>,
    file: &File,
    size: Option<u64>,
) -> Result<(Job<Ended>, Notice)> {
    let (notice, blob) = growing::watch(file, size)?;
    let ids = userns::id_map(store)?;
    let (dir, root) = (stage.path().to_owned(), store.root().to_owned());
    let job = userns::begin_inside(store, &blob.descriptors(), || {
        let blob = blob.duplicate().map_err(|e| e.to_string())?;
        Ok(unpack_into(blob, &dir, &ids, &root))
    })?;
    Ok((job, notice))
}

/// Stores and unpacks a layer archive whose digests nobody knows yet, in one pass: what comes is packed, hashed and
/// written by this process, and read from there, hashed and unpacked by a child. The calling process must have one
/// thread.
pub fn receive(store: &Store, what: &str, source: impl Read + Send) -> Result<(Descriptor, Layer)> {
    let stage = store.stage_layer(None)?.expect("only a layer with a diff-id can be there already");
    let mut blob = store.blob_writer()?;
    let (job, notice) = begin(store, &stage, blob.file(), None)?;
    let packed =
        blob::pack_layer(store, what, source, &mut Announced { blob: &mut blob, notice: &notice, job: &job });
    let overtaken = packed.is_err() && has_ended(&job)?;
    let media_type = match packed {
        Err(e) if !overtaken => return Err(e),
        // Why the child has ended is what was wrong.
        Err(_) => "",
        Ok(media_type) => media_type,
    };
    notice.end().map_err(|source| Error::Write { what: what.into(), source })?;
    let layer = job.finish()?.done()?;
    if overtaken {
        return Err(Error::Archive("it ends before the blob does".into()));
    }
    // Syncs the file system as a whole, the blob with it.
    stage.commit(layer.diff_id.as_str(), layer.size)?;
    let (digest, size) = blob.commit(None)?;
    Ok((Descriptor::new(media_type, blob::parsed(&digest)?, size), layer))
}

fn has_ended(job: &Job<Ended>) -> Result<bool> {
    Ok(process::readable_within(job, Some(Duration::ZERO)).map_err(crate::store::Error::from)?)
}

/// A blob whose unpacker is told of every byte, and that takes no more when the unpacker has ended.
struct Announced<'a, 's> {
    blob: &'a mut BlobWriter<'s>,
    notice: &'a Notice,
    job: &'a Job<Ended>,
}

impl Write for Announced<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if has_ended(self.job).map_err(io::Error::other)? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = self.blob.write(bytes)?;
        self.notice.more(n as u64)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

/// How the job of a child ends.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ended {
    Layer(Layer),
    /// The archive is not what it should be. What the user reads.
    Refused(String),
    /// The disk, or the machine.
    Failed(String),
}

impl Ended {
    pub fn done(self) -> Result<Layer> {
        match self {
            Self::Layer(layer) => Ok(layer),
            Self::Refused(text) => Err(Error::Refused(text)),
            Self::Failed(text) => Err(Error::Unpack(text)),
        }
    }
}

/// The job of the child.
fn unpack_into(blob: impl Read + Send, dir: &Path, ids: &IdMap, store: &Path) -> Ended {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(root) => root,
        Err(e) => return Ended::Failed(format!("open {}: {e}", dir.display())),
    };
    let limits = match Limits::for_disk(&root) {
        Ok(limits) => limits,
        Err(e) => return Ended::Failed(chain(&e)),
    };
    let received = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: blob, count: Arc::clone(&received) };
    let opened = Compression::detect("the layer", counted).and_then(|(compression, source)| {
        let failed = |source| Error::Read { what: "the layer".into(), source };
        compression.decoder(source).map_err(failed)
    });
    let plain = match opened {
        Ok(plain) => plain,
        Err(e) => return Ended::Refused(chain(&e)),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let (back, spare) = channel();
        let pump = scope.spawn(move || pump(plain, &received, &sender, &spare));
        let chunks = Chunks { receiver, back, piece: Vec::new(), used: 0 };
        // The receiver goes with `chunks` on an error, which ends the pump.
        let done = match unpack::unpack(chunks, root, ids, limits) {
            Ok(done) => done,
            Err(e) => return explain(&e, store),
        };
        match pump.join() {
            Ok(diff_id) => Ended::Layer(Layer { diff_id, size: done.size }),
            Err(_) => Ended::Failed("the thread that decompresses has died".into()),
        }
    })
}

fn explain(error: &unpack::Error, store: &Path) -> Ended {
    match error {
        unpack::Error::Sys { source, .. } if source.is(libc::ENOSPC) || source.is(libc::EDQUOT) => {
            Ended::Failed(format!("the file system of {} is full: {}", store.display(), chain(error)))
        }
        unpack::Error::Sys { .. } | unpack::Error::TooLarge { .. } => Ended::Failed(chain(error)),
        _ => Ended::Refused(chain(error)),
    }
}

type Piece = io::Result<Vec<u8>>;

/// Reads to the end; hands the pieces over and gives the digest of all of them.
fn pump(
    mut plain: impl Read,
    received: &AtomicU64,
    sender: &SyncSender<Piece>,
    spare: &Receiver<Vec<u8>>,
) -> Digest {
    let mut hasher = Hasher::default();
    let mut total = 0u64;
    loop {
        let mut piece = spare.try_recv().unwrap_or_default();
        piece.clear();
        let read = plain.by_ref().take(CHUNK as u64).read_to_end(&mut piece);
        total += piece.len() as u64;
        let bomb = total > FREE_EXPANSION && total / MAX_RATIO > received.load(Ordering::Relaxed);
        let message = match read {
            Ok(0) => break,
            Ok(_) if bomb => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it expands to more than {MAX_RATIO} times its size"),
            )),
            Ok(_) => {
                hasher.update(&piece);
                Ok(piece)
            }
            Err(e) => Err(e),
        };
        let failed = message.is_err();
        if sender.send(message).is_err() || failed {
            break;
        }
    }
    hasher.finish()
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The other end of the pump.
struct Chunks {
    receiver: Receiver<Piece>,
    back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len() {
            let next = self.receiver.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            let old = std::mem::replace(&mut self.piece, next);
            self.used = 0;
            // The pump may have ended.
            let _ = self.back.send(old);
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        self.consume(n);
        Ok(n)
    }
}
