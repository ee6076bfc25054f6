//! What the store occupies on the disk, in blocks as `du` counts them.
//!
//! A layer never changes: it is measured once and the number kept. Blobs are single files and cost a `stat` each.
//! Containers change and are walked each time. All walking is done as root of the user namespace, whose sub-ids own
//! the files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use super::{Result, Store, userns};
use crate::sys::Context;
use crate::sys::usage::Usage;

/// Walks of a tree that does not hold still.
const TRIES: usize = 5;

/// Bytes on the disk, by what they belong to. The parts are disjoint and together they are the whole store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// By diff-id.
    pub layers: BTreeMap<String, u64>,
    /// By digest.
    pub blobs: BTreeMap<String, u64>,
    /// By container id: writable layer, log, configuration.
    pub containers: BTreeMap<String, u64>,
    /// The database, the log of events, work in progress, and the directories that hold the rest.
    pub rest: u64,
}

impl Store {
    /// Bytes of content of every layer's files, by diff-id.
    pub fn layer_sizes(&self) -> Result<BTreeMap<String, u64>> {
        self.sizes("SELECT diff_id, size FROM layers")
    }

    /// Bytes on the disk of every layer, by diff-id. What was never measured is, and recorded.
    pub fn layers_on_disk(&self) -> Result<BTreeMap<String, u64>> {
        let mut known = self.sizes("SELECT diff_id, disk FROM layers WHERE disk IS NOT NULL")?;
        let unknown = self.digests("SELECT diff_id FROM layers WHERE disk IS NULL")?;
        if unknown.is_empty() {
            return Ok(known);
        }
        let measured = self.measure(unknown.iter().map(|id| (id.as_str(), self.layer_dir(id))))?;
        for (diff_id, bytes) in measured {
            let sql = "UPDATE layers SET disk = ?2 WHERE diff_id = ?1";
            let bytes_kept = i64::try_from(bytes).unwrap_or(i64::MAX);
            let updated =
                self.db.prepare_cached(sql).and_then(|mut s| s.execute((diff_id.as_str(), bytes_kept)));
            // On a full disk it is measured again the next time.
            if let Err(error) = self.sql("record a layer's size", updated) {
                tracing::debug!(%error, "not recorded");
            }
            known.insert(diff_id, bytes);
        }
        Ok(known)
    }

    /// Bytes on the disk of every blob, by digest.
    pub fn blobs_on_disk(&self) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        for digest in self.digests("SELECT digest FROM blobs")? {
            // One that goes at this moment occupies nothing.
            if let Ok(meta) = std::fs::symlink_metadata(self.blob_path(&digest)) {
                sizes.insert(digest, meta.blocks() * 512);
            }
        }
        Ok(sizes)
    }

    /// Everything.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let containers = self.container_rows()?;
        let containers = containers.iter().map(|row| (row.id.as_str(), self.container_dir(&row.id)));
        Ok(DiskUsage {
            layers: self.layers_on_disk()?,
            blobs: self.blobs_on_disk()?,
            containers: self.measure(containers)?,
            rest: self.rest_on_disk()?,
        })
    }

    /// Everything in the root but the objects that are counted by themselves.
    fn rest_on_disk(&self) -> Result<u64> {
        let counted = self.directories();
        let mut bytes = 0;
        let own = |path: &Path| -> Result<u64> {
            Ok(std::fs::symlink_metadata(path).op_on("stat", path)?.blocks() * 512)
        };
        bytes += own(self.root())?;
        for dir in &counted[1..] {
            bytes += own(dir)?;
        }
        let mut whole = Vec::new();
        for entry in std::fs::read_dir(self.root()).op_on("read", self.root())? {
            let path = entry.op_on("read", self.root())?.path();
            if !counted[1..].contains(&path) {
                whole.push((path.display().to_string(), path));
            }
        }
        let sizes = self.measure(whole.iter().map(|(name, path)| (name.as_str(), path.clone())))?;
        Ok(bytes + sizes.values().sum::<u64>())
    }

    fn sizes(&self, sql: &str) -> Result<BTreeMap<String, u64>> {
        let list = || -> rusqlite::Result<BTreeMap<String, u64>> {
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
            };
            self.db.prepare_cached(sql)?.query_map([], read)?.collect()
        };
        self.sql("list sizes", list())
    }

    /// Walks trees of the store. Keys are the caller's.
    pub fn measure<'a>(
        &self,
        trees: impl Iterator<Item = (&'a str, std::path::PathBuf)>,
    ) -> Result<BTreeMap<String, u64>> {
        let trees: Vec<_> = trees.collect();
        if trees.is_empty() {
            return Ok(BTreeMap::new());
        }
        let walk = || -> Result<BTreeMap<String, u64>> {
            trees.iter().map(|(key, path)| Ok(((*key).to_owned(), measure_one(path)?))).collect()
        };
        userns::run_inside(self, || walk().map_err(|e| crate::error::chain(&e)))
    }
}

fn measure_one(path: &Path) -> Result<u64> {
    let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or(OsStr::new(".")));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = fs::open(parent, flags, Mode::empty()).op_on("open", parent)?;
    for _ in 0..TRIES {
        let mut usage = Usage::default();
        match usage.add(&parent, Path::new(name)) {
            // A running container moved a directory while it was being walked.
            Err(e) if e.is(libc::ESTALE) || e.is(libc::ENOENT) => {}
            other => return Ok(other.map(|()| usage.bytes())?),
        }
    }
    Err(crate::sys::Error::with_subject("measure", path, libc::ESTALE).into())
}
