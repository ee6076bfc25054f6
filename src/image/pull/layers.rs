//! All layers of an image side by side, each from the socket to disk in one pass.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::time::Duration;

use super::super::growing::Notice;
use super::super::layer::{self, Ended, Layer};
use super::super::{Error, Result};
use super::{Event, LayerState, Pull};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::registry::runtime::{self, Either, Gate};
use crate::registry::{self, Sink};
use crate::store::content::{LayerStage, Staged};
use crate::store::partial::Partial;
use crate::store::userns::Job;

/// Layers at a time: each is a connection and a child with up to 64 MB.
const AT_A_TIME: usize = 6;
/// How often it is looked whether another process is done with a layer.
const GLANCE: Duration = Duration::from_millis(50);
/// Bytes hashed again between two looks at the others.
const STEP: usize = 1 << 20;
/// Bytes of a download between two events.
const TELL: u64 = 256 << 10;

/// A layer that has to be in the store: its blob, and its content unpacked.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub blob: Descriptor,
    pub diff_id: Digest,
}

/// Brings in what is missing of `layers`. An error ends all of them.
pub(super) async fn fetch_all(pull: &Pull<'_>, layers: &[Wanted]) -> Result<()> {
    let gate = Gate::new(AT_A_TIME);
    let mut missing = Vec::new();
    for wanted in layers {
        let has = pull.store.blob_exists(wanted.blob.digest.as_str())?
            && pull.store.layer_exists(wanted.diff_id.as_str())?;
        missing.extend((!has).then_some(wanted));
        let total = wanted.blob.size;
        One { pull, wanted }.tell(if has { LayerState::Present } else { LayerState::Waiting { total } });
    }
    let work = missing.into_iter().map(|wanted| {
        let gate = &gate;
        let one = async move {
            let _place = gate.enter().await;
            let named =
                |source| Error::Layer { digest: wanted.blob.digest.clone(), source: Box::new(source) };
            One { pull, wanted }.run().await.map_err(|e| match e {
                interrupted @ Error::Interrupted(_) => interrupted,
                other => named(other),
            })
        };
        Box::pin(one) as Pin<Box<dyn Future<Output = Result<()>> + '_>>
    });
    runtime::all(work).await.map(|_| ())
}

/// The work on one layer.
#[derive(Clone, Copy)]
struct One<'a, 'p> {
    pull: &'a Pull<'p>,
    wanted: &'a Wanted,
}

impl One<'_, '_> {
    fn tell(&self, state: LayerState) {
        self.pull.tell(Event::Layer { digest: self.wanted.blob.digest.clone(), state });
    }

    async fn run(&self) -> Result<()> {
        let store = self.pull.store;
        let (digest, diff_id) = (self.wanted.blob.digest.as_str(), self.wanted.diff_id.as_str());
        // Always in this order, so that no two processes wait for each other.
        let partial = turn(|| store.try_partial(digest)).await?;
        let stage = turn(|| store.try_stage_layer(diff_id)).await?;
        match (partial, stage) {
            // Another process was quicker.
            (None, None) => {}
            (None, Some(stage)) => self.unpack(stage).await?,
            (Some(partial), stage) => self.receive(partial, stage).await?,
        }
        self.tell(LayerState::Done);
        Ok(())
    }

    /// The blob is there, the layer is not.
    async fn unpack(&self, stage: LayerStage<'_>) -> Result<()> {
        let store = self.pull.store;
        self.tell(LayerState::Extracting);
        let file = store.open_blob(self.wanted.blob.digest.as_str())?;
        let size = file.metadata().map_err(|e| self.unreadable(e))?.len();
        let (job, notice) = layer::begin(store, &stage, &file, Some(size))?;
        notice.more(size).map_err(|e| self.unreadable(e))?;
        let layer = self.finished(job).await?;
        Ok(stage.commit(layer.diff_id.as_str(), layer.size)?)
    }

    /// Fetches what is missing of the blob, and unpacks it meanwhile when `stage` asks for that.
    async fn receive(&self, mut partial: Partial, mut stage: Option<LayerStage<'_>>) -> Result<()> {
        let store = self.pull.store;
        if partial.len() > self.wanted.blob.size {
            partial.clear()?;
        }
        let mut doubtful = !partial.is_empty();
        let layer = loop {
            let size = Some(self.wanted.blob.size);
            let job = stage.as_ref().map(|s| layer::begin(store, s, partial.file(), size));
            let (job, notice) = job.transpose()?.unzip();
            let arriving = Arriving::new(*self, &mut partial, notice);
            match self.transfer(arriving, job).await {
                // What an earlier process left may not be what it wrote: a power cut leaves holes.
                Err(e) if doubtful && e.is_of_content() => {
                    doubtful = false;
                    partial.clear()?;
                    if let Some(again) = stage.take() {
                        drop(again);
                        stage = turn(|| store.try_stage_layer(self.wanted.diff_id.as_str())).await?;
                    }
                }
                Err(e) => {
                    if e.is_of_content() {
                        partial.discard();
                    }
                    return Err(e);
                }
                Ok(layer) => break layer,
            }
        };
        match (stage, layer) {
            // Syncs the file system as a whole, the blob with it.
            (Some(stage), Some(layer)) => stage.commit(layer.diff_id.as_str(), layer.size)?,
            _ => partial.sync()?,
        }
        Ok(partial.publish(store)?)
    }

    /// To the end of the blob, and of the layer when a job unpacks it. Both verified.
    async fn transfer(
        &self,
        mut arriving: Arriving<'_, '_>,
        job: Option<Job<Ended>>,
    ) -> Result<Option<Layer>> {
        arriving.catch_up().await?;
        let mut waiting = |e: &registry::Error| {
            self.tell(LayerState::Retrying(crate::error::chain(e)));
        };
        let fetch = self.pull.repository.fetch(&self.wanted.blob, &mut arriving, &mut waiting);
        let fetched = match &job {
            None => fetch.await,
            Some(job) => match runtime::first(fetch, runtime::readable(job)).await {
                Either::First(fetched) => fetched,
                // It has ended before everything was there, or with the last byte.
                Either::Second(_) => Ok(()),
            },
        };
        fetched.map_err(|e| self.sunk(e))?;
        let whole = arriving.received() == self.wanted.blob.size;
        if whole {
            self.check_digest(arriving.hash.clone().finish())?;
            self.tell(if job.is_some() { LayerState::Extracting } else { LayerState::Downloaded });
        }
        match job {
            None => Ok(None),
            Some(job) => {
                let layer = self.finished(job).await?;
                if whole {
                    Ok(Some(layer))
                } else {
                    Err(Error::Archive("it ends before the blob does".into()))
                }
            }
        }
    }

    fn check_digest(&self, found: Digest) -> Result<()> {
        let expected = self.wanted.blob.digest.clone();
        if found == expected {
            return Ok(());
        }
        let host = self.pull.reference.domain().to_owned();
        Err(registry::Error::Digest { what: "the blob", host, expected, found }.into())
    }

    async fn finished(&self, job: Job<Ended>) -> Result<Layer> {
        runtime::readable(&job).await.map_err(|e| self.unreadable(e))?;
        let layer = job.finish()?.done()?;
        if layer.diff_id != self.wanted.diff_id {
            let expected = self.wanted.diff_id.clone();
            return Err(Error::DiffId { expected, found: layer.diff_id });
        }
        Ok(layer)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Read { what: format!("blob {}", self.wanted.blob.digest), source }
    }

    /// What could not be written is the disk's trouble, not the registry's.
    fn sunk(&self, error: registry::Error) -> Error {
        match error {
            registry::Error::Sink(source) => {
                let what = format!("to the file system of {}", self.pull.store.root().display());
                Error::Write { what, source }
            }
            other => other.into(),
        }
    }
}

/// Waits for one's turn. `None`: it is there by then.
async fn turn<T>(mut ask: impl FnMut() -> crate::store::Result<Staged<T>>) -> Result<Option<T>> {
    loop {
        match ask()? {
            Staged::Ready(it) => return Ok(Some(it)),
            Staged::Present => return Ok(None),
            Staged::Busy => runtime::pause(GLANCE).await,
        }
    }
}

/// A blob on its way into its file: hashed, written, announced to whoever unpacks it.
struct Arriving<'a, 'p> {
    of: One<'a, 'p>,
    partial: &'a mut Partial,
    notice: Option<Notice>,
    hash: Hasher,
    told: u64,
}

impl<'a, 'p> Arriving<'a, 'p> {
    fn new(of: One<'a, 'p>, partial: &'a mut Partial, notice: Option<Notice>) -> Self {
        Self { of, partial, notice, hash: Hasher::default(), told: 0 }
    }

    /// Hashes what an earlier process has left.
    async fn catch_up(&mut self) -> Result<()> {
        let mut buffer = vec![0; STEP.min(usize::try_from(self.partial.len()).unwrap_or(STEP))];
        let mut at = 0;
        let failed = |source| Error::Read { what: "what was downloaded before".into(), source };
        while at < self.partial.len() {
            let n = self.partial.file().read_at(&mut buffer, at).map_err(failed)?;
            if n == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            self.hash.update(&buffer[..n]);
            at += n as u64;
            self.announce(n as u64).map_err(failed)?;
            runtime::yield_now().await;
        }
        Ok(())
    }

    fn announce(&self, bytes: u64) -> io::Result<()> {
        self.notice.as_ref().map_or(Ok(()), |notice| notice.more(bytes))
    }
}

impl Sink for Arriving<'_, '_> {
    fn received(&self) -> u64 {
        self.partial.len()
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.partial.append(bytes)?;
        self.announce(bytes.len() as u64)?;
        self.hash.update(bytes);
        let (done, total) = (self.partial.len(), self.of.wanted.blob.size);
        if done >= self.told + TELL || done == total {
            self.told = done;
            self.of.tell(LayerState::Downloading { done, total });
        }
        Ok(())
    }
}
