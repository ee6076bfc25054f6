//! Blobs that are not whole yet, and what an unfinished pull will come back for.
//!
//! Both are entries of the journal that outlive their process: a transfer that was cut by Ctrl-C, a kill, a power cut
//! or a full disk goes on where it stopped. `staging/partial-<hex>/object` holds the first bytes of the blob of that
//! digest, as they came and not verified: whoever goes on with it hashes them again. `staging/lease-<hex>/object` lists
//! digests of blobs and layers that are in the store already and that no image refers to yet; nothing collects them
//! meanwhile. What nobody came back for within [`KEPT`] goes with the next command.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{self, Mode, OFlags};

use super::content::Staged;
use super::staging::{Entry, Kind};
use super::{Result, Store, atomic, layout};
use crate::sys::Context;

/// How long an interrupted transfer waits to be taken up again.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of one lease: two digests for each of the layers that an image may have.
const MAX_LEASE: u64 = 256 << 10;

/// The beginning of a blob, held by this process alone. Dropped, it stays for the next one, unless it is empty.
#[derive(Debug)]
pub struct Partial {
    digest: String,
    entry: Option<Entry>,
    file: File,
    length: u64,
}

/// What interrupted transfers have left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Digests of the blobs whose beginnings are there.
    pub blobs: Vec<String>,
    /// Bytes on the disk, leases included.
    pub bytes: u64,
}

/// The protection of what a pull has brought in so far. Stays behind unless it is ended.
#[derive(Debug)]
pub struct Lease {
    key: String,
}

impl Store {
    /// Takes the beginning of the blob `digest`, which may be empty.
    pub fn try_partial(&self, digest: &str) -> Result<Staged<Partial>> {
        if self.blob_exists(digest)? {
            return Ok(Staged::Present);
        }
        let Some(entry) = self.layout().try_stage(Kind::Partial, &layout::file_name(digest))? else {
            return Ok(Staged::Busy);
        };
        // Whoever had it may have finished it.
        if self.blob_exists(digest)? {
            entry.finish();
            return Ok(Staged::Present);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File =
            fs::open(entry.object(), flags, Mode::RUSR | Mode::WUSR).op_on("create", entry.object())?.into();
        let length = file.metadata().op_on("stat", entry.object())?.len();
        Ok(Staged::Ready(Partial { digest: digest.into(), entry: Some(entry), file, length }))
    }

    /// Protects the blobs and layers of `digests`, which need not be there yet, until the lease is ended. `key` is the
    /// digest of what they are needed for.
    pub fn lease(&self, key: &str, digests: impl IntoIterator<Item = String>) -> Result<Lease> {
        let entry = self.layout().stage(Kind::Lease, &layout::file_name(key))?;
        let text: String = digests.into_iter().map(|digest| digest + "\n").collect();
        let written = atomic::write(entry.object(), text.as_bytes());
        entry.keep();
        written?;
        Ok(Lease { key: key.into() })
    }

    /// What is protected by leases.
    pub(super) fn leased(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let staging = self.layout().staging_dir();
        for entry in std::fs::read_dir(&staging).op_on("read", &staging)?.flatten() {
            if !matches!(super::staging::parse(&entry.file_name()), Some((Kind::Lease, _))) {
                continue;
            }
            // One that has just ended protects nothing any more.
            let Ok(file) = File::open(entry.path().join("object")) else { continue };
            let mut text = String::new();
            if file.take(MAX_LEASE).read_to_string(&mut text).is_ok() {
                found.extend(text.lines().map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// Forgets every interrupted transfer that no living process is busy with. Gives what was freed.
    pub fn forget_interrupted(&self) -> Result<Interrupted> {
        self.each_interrupted(Entry::finish)
    }

    /// What [`Store::forget_interrupted`] would free.
    pub fn interrupted(&self) -> Result<Interrupted> {
        self.each_interrupted(Entry::keep)
    }

    /// A lease that a living pull holds is not locked by it: what it protects is in use anyway.
    fn each_interrupted(&self, what: fn(Entry)) -> Result<Interrupted> {
        let staging = self.layout().staging_dir();
        let mut found = Interrupted::default();
        for name in std::fs::read_dir(&staging).op_on("read", &staging)?.flatten() {
            let name = name.file_name();
            let Some((kind, key)) = super::staging::parse(&name).filter(|(k, _)| k.outlives_its_process())
            else {
                continue;
            };
            if let Some(entry) = self.layout().try_stage(kind, key)? {
                let stat = fs::lstat(entry.object()).ok();
                found.bytes += stat.map_or(0, |s| u64::try_from(s.st_blocks).unwrap_or(0)) * 512;
                if kind == Kind::Partial && stat.is_some_and(|s| s.st_size > 0) {
                    found.blobs.push(format!("sha256:{key}"));
                }
                what(entry);
            }
        }
        found.blobs.sort();
        Ok(found)
    }
}

impl Lease {
    /// An image refers to everything by now, or nobody will.
    pub fn end(self, store: &Store) -> Result<()> {
        store.layout().stage(Kind::Lease, &layout::file_name(&self.key))?.finish();
        Ok(())
    }
}

impl Partial {
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The file, to be read at offsets below [`Partial::len`].
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Adds what came next.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    pub fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).op_on("truncate", self.entry.as_ref().map_or("".as_ref(), Entry::object))?;
        self.length = 0;
        Ok(())
    }

    /// Puts the bytes on the disk.
    pub fn sync(&self) -> Result<()> {
        Ok(self.file.sync_all().op_on("sync", self.entry.as_ref().map_or("".as_ref(), Entry::object))?)
    }

    /// Makes it a blob. The caller has found that its bytes have the digest, and that they are on the disk.
    pub fn publish(mut self, store: &Store) -> Result<()> {
        match self.entry.take() {
            Some(entry) => store.publish_blob(entry, &self.digest, self.length),
            None => Ok(()),
        }
    }

    /// Throws the bytes away: they are not what they should be.
    pub fn discard(mut self) {
        if let Some(entry) = self.entry.take() {
            entry.finish();
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        if self.length > 0 {
            entry.keep();
        }
    }
}

/// Whether somebody may still come back for the entry, which nobody holds.
pub(super) fn is_awaited(entry: &Entry) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(entry.object()) else { return false };
    let age = meta.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    meta.len() > 0 && age.unwrap_or_default() < KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("kelp")).unwrap();
        (dir, store)
    }

    fn ready(store: &Store, digest: &str) -> Partial {
        match store.try_partial(digest).unwrap() {
            Staged::Ready(partial) => partial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn goes_on_where_it_stopped_and_is_one_process_at_a_time() {
        let (_dir, store) = store();
        let digest = crate::oci::Digest::of(b"hello").to_string();
        let mut partial = ready(&store, &digest);
        partial.append(b"hel").unwrap();
        assert!(matches!(store.try_partial(&digest).unwrap(), Staged::Busy));
        drop(partial);
        store.collect();
        let mut partial = ready(&store, &digest);
        assert_eq!(partial.len(), 3);
        partial.append(b"lo").unwrap();
        partial.publish(&store).unwrap();
        assert!(matches!(store.try_partial(&digest).unwrap(), Staged::Present));
        assert_eq!(store.read_blob(&digest, 10).unwrap(), b"hello");
        assert_eq!(std::fs::read_dir(store.staging_dir()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_came_back_for_goes() {
        let (_dir, store) = store();
        let digest = crate::oci::Digest::of(b"hello").to_string();
        let mut partial = ready(&store, &digest);
        partial.append(b"hel").unwrap();
        let old = SystemTime::now() - KEPT - Duration::from_secs(1);
        partial.file().set_modified(old).unwrap();
        drop(partial);
        store.collect();
        assert_eq!(std::fs::read_dir(store.staging_dir()).unwrap().count(), 0);
        drop(ready(&store, &digest));
        assert_eq!(std::fs::read_dir(store.staging_dir()).unwrap().count(), 0, "an empty one");
        ready(&store, &digest).append(b"he").unwrap();
        let left = store.interrupted().unwrap();
        assert!(left.bytes > 0);
        assert_eq!(left.blobs, [digest]);
        assert_eq!(store.forget_interrupted().unwrap(), left);
        assert_eq!(store.interrupted().unwrap(), Interrupted::default());
    }

    #[test]
    fn a_lease_protects_what_no_image_refers_to() {
        let (_dir, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        let lease = store.lease(&digest, [digest.clone()]).unwrap();
        store.collect();
        assert!(store.remove_unreferenced(|_| Ok(())).unwrap().blobs.is_empty());
        lease.end(&store).unwrap();
        assert_eq!(store.remove_unreferenced(|_| Ok(())).unwrap().blobs, [digest]);
    }
}
