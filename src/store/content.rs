//! Blobs and layers on their way into the store: written in staging, verified, synced, renamed, recorded.
//!
//! What has a name is complete and on the disk. Nothing that an image or a container needs is ever deleted;
//! what nobody needs goes only while nobody is adding content.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rusqlite::params;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest, Sha256};

use super::lock::lock_dir;
use super::staging::{Entry, Kind};
use super::{Error, Result, Store, atomic, crash, layout};
use crate::sys::{self, Context};

/// Layers on which neither an image nor a container stands.
const UNREFERENCED_LAYERS: &str = "SELECT diff_id FROM layers WHERE diff_id NOT IN
    (SELECT value FROM images, json_each(images.layers)
     UNION SELECT value FROM containers, json_each(containers.layers))";

/// Blobs that no image needs.
const UNREFERENCED_BLOBS: &str = "SELECT digest FROM blobs WHERE digest NOT IN
    (SELECT id FROM images UNION SELECT manifest FROM images UNION SELECT digest FROM digests
     UNION SELECT value FROM images, json_each(images.blobs))";

/// What a collection deleted, by digest. A layer that was stored uncompressed has the digest of its blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Diff-ids.
    pub layers: Vec<String>,
    pub blobs: Vec<String>,
}

/// Held while content is being added and no image refers to it yet: nothing unreferenced is deleted meanwhile.
#[derive(Debug)]
pub struct ContentUse(#[allow(dead_code, reason = "held, not read")] OwnedFd);

/// A blob being written. Dropped without `commit`, it is as if it had never been.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
    entry: Entry,
    file: File,
    hash: Sha256,
    size: u64,
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hash.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter<'_> {
    /// The file, to be read at offsets below what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Verifies, syncs and records the blob; `expected` is the digest it must have (`sha256:…`). Gives its digest
    /// and its size in bytes. A blob that is there already is kept.
    pub fn commit(self, expected: Option<&str>) -> Result<(String, u64)> {
        let Self { store, entry, file, hash, size } = self;
        let digest = format!("sha256:{}", hex(&hash.finalize()));
        if let Some(expected) = expected.filter(|e| *e != digest) {
            return Err(Error::DigestMismatch { expected: expected.into(), found: digest });
        }
        file.sync_all().op_on("sync", entry.object())?;
        store.publish_blob(entry, &digest, size)?;
        Ok((digest, size))
    }
}

/// What asking for the right to make something comes to.
#[derive(Debug)]
pub enum Staged<T> {
    /// Nobody else makes it.
    Ready(T),
    /// It is in the store already.
    Present,
    /// Somebody is making it at this moment.
    Busy,
}

/// A layer being unpacked. Dropped without `commit`, it is as if it had never been.
#[derive(Debug)]
pub struct LayerStage<'a> {
    store: &'a Store,
    object: PathBuf,
    /// `None` once it is committed.
    entry: Option<Entry>,
}

impl Drop for LayerStage<'_> {
    fn drop(&mut self) {
        if self.entry.is_some() && !std::thread::panicking() {
            // Its files may belong to sub-ids. What cannot be deleted is left to the collector.
            let _ = self.store.delete_tree(&self.object);
        }
    }
}

impl LayerStage<'_> {
    /// The empty directory to unpack into; it becomes the layer's root, with the mode and owner given to it.
    pub fn path(&self) -> &Path {
        &self.object
    }

    /// Syncs the file system, gives the directory its name and records it. `size` is what its files hold, in
    /// bytes. A layer that somebody else recorded meanwhile is kept, and this one goes.
    pub fn commit(mut self, diff_id: &str, size: u64) -> Result<()> {
        let store = self.store;
        let dir = fs::open(store.layout().layers_dir(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let dir = dir.op_on("open", store.layout().layers_dir())?;
        // A signal may interrupt it where another program or machine serves the file system (FUSE, NFS).
        retry_on_intr(|| fs::syncfs(&dir)).op_on("sync", &self.object)?;
        crash::point("layer: unpacked");
        let key = layout::file_name(diff_id);
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let named = if entry.is(Kind::Layer, &key) {
            entry
        } else {
            let named = store.stage_clean(Kind::Layer, &key)?;
            if store.layer_exists(diff_id)? {
                named.finish();
                return store.delete_tree(entry.object());
            }
            store.move_tree(entry.object(), named.object())?;
            entry.finish();
            named
        };
        named.publish(store)?;
        fs::fsync(&dir).op_on("sync", store.layout().layers_dir())?;
        crash::point("layer: published");
        store.record_layer(diff_id, size)?;
        named.finish();
        Ok(())
    }
}

impl Store {
    /// To be held from the first blob or layer of an image until [`Store::add_image`].
    pub fn use_content(&self) -> Result<ContentUse> {
        self.lock_content(FlockOperation::LockShared).map(ContentUse)
    }

    /// The lock on all content together is a `flock` on `blobs/`.
    fn lock_content(&self, operation: FlockOperation) -> Result<OwnedFd> {
        let path = self.layout().root().join("blobs");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::open(&path, flags, Mode::empty()).op_on("open", &path)?;
        fs::flock(&dir, operation).op_on("lock", &path)?;
        Ok(dir)
    }

    pub fn blob_writer(&self) -> Result<BlobWriter<'_>> {
        let entry = self.layout().stage_scratch()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            fs::open(entry.object(), flags, Mode::RUSR | Mode::WUSR).op_on("create", entry.object())?;
        Ok(BlobWriter { store: self, entry, file: file.into(), hash: Sha256::new(), size: 0 })
    }

    /// Gives the verified and synced file of `entry` its name and records it. A blob that is there already is kept.
    pub(super) fn publish_blob(&self, entry: Entry, digest: &str, size: u64) -> Result<()> {
        crash::point("blob: written");
        let named = self.stage_clean(Kind::Blob, layout::file_name(digest).as_str())?;
        if !self.blob_exists(digest)? {
            fs::rename(entry.object(), named.object()).op_on("rename", entry.object())?;
            named.publish(self)?;
            atomic::sync_dir(&self.layout().blobs_dir())?;
            crash::point("blob: published");
            self.insert_content("INSERT OR IGNORE INTO blobs VALUES (?1, ?2)", digest, size)?;
        }
        named.finish();
        entry.finish();
        Ok(())
    }

    /// Writes a small blob whole. Gives its digest.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<String> {
        let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
        if self.blob_exists(&digest)? {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).op_on("write", self.layout().blob_path(&digest))?;
        Ok(writer.commit(Some(&digest))?.0)
    }

    /// Whether the blob is recorded, and its file is there.
    pub fn blob_exists(&self, digest: &str) -> Result<bool> {
        let recorded = self.one("SELECT 1 FROM blobs WHERE digest = ?1", [digest], |_| Ok(()))?.is_some();
        Ok(recorded && self.layout().blob_path(digest).is_file())
    }

    /// Opens a blob for reading. It was verified when it got its name. `MissingContent`.
    pub fn open_blob(&self, digest: &str) -> Result<File> {
        let path = self.layout().blob_path(digest);
        match fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => Err(Error::MissingContent { what: "blob", digest: digest.into() }),
            other => Ok(other.op_on("open", &path)?.into()),
        }
    }

    /// Reads a blob of at most `limit` bytes whole. `MissingContent`; `Malformed` when it is larger.
    pub fn read_blob(&self, digest: &str, limit: u64) -> Result<Vec<u8>> {
        let path = self.layout().blob_path(digest);
        let file = self.open_blob(digest)?;
        let size = file.metadata().op_on("stat", &path)?.len();
        if size > limit {
            let reason = format!("it has {size} bytes where at most {limit} are sensible");
            return Err(Error::Malformed { path, reason });
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).op_on("read", &path)?;
        Ok(bytes)
    }

    /// Whether the layer is recorded, and its files are there: what somebody deleted is unpacked again.
    pub fn layer_exists(&self, diff_id: &str) -> Result<bool> {
        let recorded = self.one("SELECT 1 FROM layers WHERE diff_id = ?1", [diff_id], |_| Ok(()))?.is_some();
        Ok(recorded && self.layout().layer_dir(diff_id).is_dir())
    }

    /// What a layer's files hold, in bytes. `MissingContent`.
    pub fn layer_size(&self, diff_id: &str) -> Result<u64> {
        let size =
            self.one("SELECT size FROM layers WHERE diff_id = ?1", [diff_id], |row| row.get::<_, i64>(0))?;
        let size = size.ok_or_else(|| Error::MissingContent { what: "layer", digest: diff_id.into() })?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Begins a layer. With a `diff_id` it waits for whoever unpacks the same one, and gives `None` when the
    /// layer is there.
    pub fn stage_layer(&self, diff_id: Option<&str>) -> Result<Option<LayerStage<'_>>> {
        let entry = match diff_id {
            None => self.layout().stage_scratch()?,
            Some(diff_id) => {
                if self.layer_exists(diff_id)? {
                    return Ok(None);
                }
                let entry = self.stage_clean(Kind::Layer, &layout::file_name(diff_id))?;
                if self.layer_exists(diff_id)? {
                    entry.finish();
                    return Ok(None);
                }
                entry
            }
        };
        self.layer_in(entry).map(Some)
    }

    /// As [`Store::stage_layer`], without waiting.
    pub fn try_stage_layer(&self, diff_id: &str) -> Result<Staged<LayerStage<'_>>> {
        if self.layer_exists(diff_id)? {
            return Ok(Staged::Present);
        }
        let Some(entry) = self.try_stage_clean(Kind::Layer, &layout::file_name(diff_id))? else {
            return Ok(Staged::Busy);
        };
        if self.layer_exists(diff_id)? {
            entry.finish();
            return Ok(Staged::Present);
        }
        self.layer_in(entry).map(Staged::Ready)
    }

    fn layer_in(&self, entry: Entry) -> Result<LayerStage<'_>> {
        fs::mkdir(entry.object(), Mode::RWXU).op_on("create", entry.object())?;
        let object = entry.object().to_owned();
        Ok(LayerStage { store: self, object, entry: Some(entry) })
    }

    /// Records a layer whose directory is in place already.
    pub fn record_layer(&self, diff_id: &str, size: u64) -> Result<()> {
        self.insert_content("INSERT OR IGNORE INTO layers (diff_id, size) VALUES (?1, ?2)", diff_id, size)
    }

    fn insert_content(&self, sql: &str, digest: &str, size: u64) -> Result<()> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let inserted = self.db.prepare_cached(sql).and_then(|mut s| s.execute(params![digest, size]));
        self.sql("record content", inserted).map(|_| ())
    }

    /// Diff-ids of the layers that neither an image nor a container stands on.
    pub fn unreferenced_layers(&self) -> Result<Vec<String>> {
        self.digests(UNREFERENCED_LAYERS)
    }

    /// Digests of the blobs that no image needs.
    pub fn unreferenced_blobs(&self) -> Result<Vec<String>> {
        self.digests(UNREFERENCED_BLOBS)
    }

    pub(super) fn digests(&self, sql: &str) -> Result<Vec<String>> {
        let list = || self.db.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect();
        self.sql("list content", list())
    }

    /// Deletes every unreferenced layer and blob that no interrupted pull will come back for, unless content is being
    /// added at this moment: then whoever adds it does this when it is done. `delete` removes the staged tree of one
    /// layer ([`Store::delete_tree`] does). Gives what went.
    ///
    /// Only the choice is made alone; the deleting, which may take long, holds up nobody but who wants the same
    /// content again.
    pub fn remove_unreferenced(&self, mut delete: impl FnMut(&Path) -> Result<()>) -> Result<Collected> {
        let mut gone = Collected::default();
        for (digest, entry) in self.withdraw_unreferenced()? {
            crash::point("content: withdrawn");
            delete(entry.object())?;
            let layer = entry.is(Kind::Layer, &layout::file_name(&digest));
            if layer { &mut gone.layers } else { &mut gone.blobs }.push(digest);
            entry.finish();
        }
        Ok(gone)
    }

    /// Nothing while content is being added.
    fn withdraw_unreferenced(&self) -> Result<Vec<(String, Entry)>> {
        // One collector after the other: one that finds only another collector in its way must not leave the work
        // to it, for that one may have made its choice already.
        let _turn = lock_dir(&self.layout().layers_dir(), FlockOperation::LockExclusive)?;
        let _alone = match self.lock_content(FlockOperation::NonBlockingLockExclusive) {
            Err(Error::Sys(e)) if e.is(libc::EWOULDBLOCK) => return Ok(Vec::new()),
            other => other?,
        };
        let mut withdrawn = Vec::new();
        let awaited = self.leased()?;
        for (kind, table, key, list) in [
            (Kind::Layer, "layers", "diff_id", UNREFERENCED_LAYERS),
            (Kind::Blob, "blobs", "digest", UNREFERENCED_BLOBS),
        ] {
            for digest in self.digests(list)?.into_iter().filter(|digest| !awaited.contains(digest)) {
                let sql = format!("DELETE FROM {table} WHERE {key} = ?1 AND {key} IN ({list})");
                let entry = self.withdraw_content(kind, &sql, &digest)?;
                withdrawn.extend(entry.map(|entry| (digest, entry)));
            }
        }
        Ok(withdrawn)
    }

    /// `None` when somebody needs it by now: the statement asks again.
    fn withdraw_content(&self, kind: Kind, sql: &str, digest: &str) -> Result<Option<Entry>> {
        let entry = self.stage_clean(kind, &layout::file_name(digest))?;
        let forgotten = self.db.prepare_cached(sql).and_then(|mut s| s.execute([digest]));
        if self.sql("forget content", forgotten)? == 0 {
            entry.finish();
            return Ok(None);
        }
        crash::point("content: forgotten");
        entry.withdraw(self)?;
        Ok(Some(entry))
    }

    /// Runs `work` in one transaction that is on the disk when it returns, as everything about images is.
    pub(super) fn durably<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        self.sql(doing, self.db.execute_batch("PRAGMA synchronous = FULL"))?;
        let run = || -> rusqlite::Result<Result<T>> {
            let writing = self.begin_writing()?;
            let result = work()?;
            if result.is_ok() {
                writing.commit()?;
            }
            Ok(result)
        };
        let result = self.sql(doing, run());
        self.sql(doing, self.db.execute_batch("PRAGMA synchronous = NORMAL"))?;
        result?
    }
}

/// Reads to the end; gives the digest and how much was read.
pub(super) fn digest_of(mut file: File) -> sys::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0u8; 128 << 10];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer).op("read")?;
        if n == 0 {
            return Ok((format!("sha256:{}", hex(&hash.finalize())), size));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
