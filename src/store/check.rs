//! Whether the store is what it should be: marker, modes, database, and rows against files both ways.
//!
//! Looks and changes nothing, beside commands that do: what seems wrong is looked at twice, and what somebody is
//! making or removing at this moment is left out.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::container::STATE_FILE;
use super::content::digest_of;
use super::lock::{held, lock_dir};
use super::marker::Marker;
use super::staging::{Kind, parse};
use super::{Error, Result, Store, schema};
use crate::sys::Context;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// One sentence, lower case, no full stop.
    pub text: String,
}

/// How deep to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every blob again and compare its digest.
    pub blobs: bool,
}

impl Store {
    /// Everything that is wrong; an empty list is a healthy store.
    pub fn check(&self, options: CheckOptions) -> Result<Vec<Finding>> {
        let mut check = Check { store: self, findings: Vec::new() };
        check.marker()?;
        check.modes()?;
        if check.database()? {
            check.staging()?;
            check.objects()?;
            check.references()?;
            check.containers()?;
            check.blobs(options)?;
        }
        Ok(check.findings)
    }
}

struct Check<'a> {
    store: &'a Store,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, path: impl Into<PathBuf>, text: impl Into<String>) {
        self.findings.push(Finding { path: path.into(), text: text.into() });
    }

    fn marker(&mut self) -> Result<()> {
        let path = self.store.marker();
        let recorded = self.store.sql("read the store's id", schema::store_id(&self.store.db));
        match (Marker::read(self.store.layout()), recorded) {
            (Ok(Some(marker)), Ok(id)) if marker.store == id => {}
            (Ok(Some(_)), Ok(_)) => self.find(path, "the marker is another store's than the database"),
            (Ok(None), _) => self.find(path, "the marker is missing"),
            (_, Err(error @ Error::Corrupt { .. })) | (Err(error), _) => self.find(path, error.to_string()),
            (_, Err(error)) => return Err(error),
        }
        Ok(())
    }

    /// Nobody else may read or enter anything.
    fn modes(&mut self) -> Result<()> {
        let store = self.store;
        let database = store.database();
        let files = [
            store.marker(),
            store.events(),
            database.with_extension("db-wal"),
            database.with_extension("db-shm"),
            database,
        ];
        let me = rustix::process::geteuid().as_raw();
        for path in std::iter::once(store.root().to_owned()).chain(store.directories()).chain(files) {
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.file_type().is_symlink() => self.find(path, "it is a symbolic link"),
                Ok(meta) if meta.uid() != me => self.find(path, "it belongs to another user"),
                Ok(meta) if meta.mode() & 0o077 != 0 => {
                    let mode = meta.mode() & 0o7777;
                    self.find(path, format!("others have access to it (mode {mode:04o})"));
                }
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Ok(Err(e).op_on("stat", &path)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it makes sense to ask the database for more.
    fn database(&mut self) -> Result<bool> {
        let path = self.store.database();
        let list = || -> rusqlite::Result<Vec<String>> {
            self.store.db.prepare("PRAGMA integrity_check")?.query_map([], |row| row.get(0))?.collect()
        };
        let complaints = match self.store.sql("check the database", list()) {
            Ok(lines) => lines.into_iter().filter(|line| line != "ok").collect(),
            Err(Error::Corrupt { source, .. }) => vec![source.to_string()],
            Err(error) => return Err(error),
        };
        let sound = complaints.is_empty();
        for line in complaints {
            self.find(&path, format!("the database is damaged: {line}"));
        }
        Ok(sound)
    }

    /// A living process holds its entry from right after it is made until right before it goes.
    fn stays_unheld(&self, path: &Path) -> Result<bool> {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(path.exists() && !self.busy(path)?)
    }

    /// The command that opened the store has collected what it could.
    fn staging(&mut self) -> Result<()> {
        let staging = self.store.staging_dir();
        for name in names(&staging)? {
            let path = staging.join(&name);
            let Some((kind, _)) = parse(name.as_ref()) else {
                self.find(path, "it is nothing that kelp puts here");
                continue;
            };
            if kind.outlives_its_process() {
                continue;
            }
            if !self.busy(&path)? && self.stays_unheld(&path)? {
                self.find(path, "a dead process left it, and it could not be deleted");
            }
        }
        Ok(())
    }

    fn busy(&self, entry: &Path) -> Result<bool> {
        match lock_dir(entry, FlockOperation::NonBlockingLockExclusive) {
            Err(Error::Sys(e)) if e.is(libc::EWOULDBLOCK) => Ok(true),
            // Gone meanwhile.
            Ok(None) => Ok(true),
            // A shim that clears up has no other lock than that on its life.
            Ok(Some(_)) => Ok(held(&entry.join(STATE_FILE))? == Some(true)),
            Err(e) => Err(e),
        }
    }

    /// Rows without files, files without rows.
    fn objects(&mut self) -> Result<()> {
        let store = self.store;
        let kinds = [
            (Kind::Container, store.containers_dir(), "SELECT id FROM containers", "container"),
            (Kind::Layer, store.layers_dir(), "SELECT diff_id FROM layers", "layer"),
            (Kind::Blob, store.blobs_dir(), "SELECT digest FROM blobs", "blob"),
        ];
        for (kind, dir, sql, word) in kinds {
            let rows = || -> Result<BTreeSet<String>> {
                let keys = store.digests(sql)?.into_iter();
                Ok(keys.map(|key| key.trim_start_matches("sha256:").to_owned()).collect())
            };
            let (files, recorded) = (names(&dir)?, rows()?);
            if files == recorded {
                continue;
            }
            // Again, for what came and went between the two listings.
            let (files_again, recorded_again) = (names(&dir)?, rows()?);
            for name in files.difference(&recorded).filter(|n| !recorded_again.contains(*n)) {
                if files_again.contains(name) && !self.in_work(kind, name)? {
                    self.find(dir.join(name), format!("no {word} of this name is recorded"));
                }
            }
            for name in recorded.difference(&files).filter(|n| !files_again.contains(*n)) {
                if recorded_again.contains(name) && !self.in_work(kind, name)? {
                    self.find(dir.join(name), format!("the {word} is recorded, and its files are missing"));
                }
            }
        }
        Ok(())
    }

    fn in_work(&self, kind: Kind, key: &str) -> Result<bool> {
        self.busy_entry(&self.store.staging_dir().join(kind.entry_name(key)))
    }

    fn busy_entry(&self, entry: &Path) -> Result<bool> {
        Ok(entry.exists() && self.busy(entry)?)
    }

    /// What rows say of other rows.
    fn references(&mut self) -> Result<()> {
        let questions = [
            (
                "SELECT reference FROM tags WHERE image_id NOT IN (SELECT id FROM images)",
                "the reference {} names no image",
            ),
            (
                "SELECT reference FROM digests WHERE image_id NOT IN (SELECT id FROM images)",
                "the digest {} names no image",
            ),
            (
                "SELECT DISTINCT value FROM images, json_each(images.layers)
                 WHERE value NOT IN (SELECT diff_id FROM layers)",
                "an image needs the layer {}, which is not recorded",
            ),
            (
                "SELECT DISTINCT value FROM containers, json_each(containers.layers)
                 WHERE value NOT IN (SELECT diff_id FROM layers)",
                "a container stands on the layer {}, which is not recorded",
            ),
            (
                "SELECT need FROM (SELECT id AS need FROM images UNION SELECT manifest FROM images
                 UNION SELECT value FROM images, json_each(images.blobs))
                 WHERE need NOT IN (SELECT digest FROM blobs)",
                "an image needs the blob {}, which is not recorded",
            ),
        ];
        for (sql, text) in questions {
            for what in self.store.digests(sql)? {
                self.find(self.store.database(), text.replace("{}", &what));
            }
        }
        Ok(())
    }

    /// State files that do not parse make a container's truth unknown.
    fn containers(&mut self) -> Result<()> {
        for record in self.store.container_rows()? {
            match self.store.read_state(&record.id) {
                Err(Error::Malformed { path, reason }) => self.find(path, reason),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn blobs(&mut self, options: CheckOptions) -> Result<()> {
        if !options.blobs {
            return Ok(());
        }
        for digest in self.store.digests("SELECT digest FROM blobs ORDER BY digest")? {
            let path = self.store.blob_path(&digest);
            let file = match self.store.open_blob(&digest) {
                // Told above, or removed meanwhile.
                Err(Error::MissingContent { .. }) => continue,
                other => other?,
            };
            let (found, _) = digest_of(file)?;
            if found != digest {
                self.find(path, format!("the blob is damaged: its digest is {found}"));
            }
        }
        Ok(())
    }
}

fn names(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir).op_on("read", dir)? {
        names.insert(entry.op_on("read", dir)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
