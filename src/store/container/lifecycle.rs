//! A container's row from creation to removal, and the events that belong to its changes.
//!
//! A change and its event are one place in the code, so that each is told once. An event that cannot be written
//! (full disk) does not undo what happened.

use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Params, params};
use rustix::fs::FlockOperation;

use super::row::{COLUMNS, REQUEST, SHORT, nanos, record, to_json};
use super::{ContainerRecord, Exit};
use crate::store::events::Event;
use crate::store::id::{ContainerId, Name};
use crate::store::{Error, Layout, Result, Store, crash, schema};
use crate::sys::process::{self, Fork};

/// Those of the layers in the fourteenth column that are gone.
const MISSING_LAYERS: &str =
    "SELECT value FROM json_each(?14) WHERE value NOT IN (SELECT diff_id FROM layers) LIMIT 1";

/// Size of the write-ahead log beyond which [`Store::tidy`] moves it into the database.
const LOG_BYTES: u64 = 256 << 10;

/// The one process that tidies, or is about to. Fifty starts at once would otherwise do it after each other, each
/// while the others wait for the disk.
#[derive(Debug)]
pub(in crate::store) struct Tidying(#[allow(dead_code, reason = "held, not read")] OwnedFd);

impl Layout {
    /// `None`: somebody else does it.
    pub(in crate::store) fn announce_tidying(&self) -> Option<Tidying> {
        let locked = self.lock_file("tidying.lock", FlockOperation::NonBlockingLockExclusive);
        locked.ok().flatten().map(Tidying)
    }

    fn has_long_log(&self) -> bool {
        let log = self.database().with_extension("db-wal");
        std::fs::metadata(log).is_ok_and(|m| m.len() > LOG_BYTES)
    }
}

impl Store {
    /// [`Store::tidy`] by a process of its own, where there is something to do and nobody is about to: for commands that
    /// no shim follows. The calling process has one thread, has this one store open, and is about to end.
    pub fn tidy_later(self) {
        let layout = self.layout().clone();
        let long = layout.has_long_log();
        let Some(tidying) = long.then(|| layout.announce_tidying()).flatten() else {
            // The end of the process closes it as well, and in less time.
            std::mem::forget(self);
            return;
        };
        // SQLite's locks stay behind with the parent, but not what it remembers of them: a child of a process with
        // an open connection works without the locks that it believes to have, and what others write is lost.
        drop(self);
        let Ok(Fork::Child) = process::fork(0) else { return };
        // Whoever reads this command's output must not wait for more.
        let alone = process::leave_terminal();
        let tidied = alone.is_ok().then(|| Self::reopen(layout).and_then(|store| store.tidy_as(tidying)));
        process::exit_now(u8::from(!matches!(tidied, Some(Ok(())))))
    }

    /// Makes the container: `fill` populates its directory before anybody can see it. A record that says `Launched`
    /// goes with a life lock that `fill` has taken ([`super::super::lock::LifeLock::of_new`]). `NameTaken`,
    /// `MissingContent` when its image or one of its layers is gone. Appends the `create` event.
    pub fn create_container<T>(
        &self,
        record: &ContainerRecord,
        fill: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let staged = self.stage_container(&record.id)?;
        crash::point("create: staged");
        let filled = fill(staged.path())?;
        crash::point("create: filled");
        self.insert_container(record)?;
        crash::point("create: recorded");
        if let Err(error) = staged.publish(&record.id) {
            self.delete_row(&record.id)?;
            return Err(error);
        }
        crash::point("create: published");
        self.tell(&[Event::of_container(record, "create")]);
        Ok(filled)
    }

    fn refuse_taken(&self, name: &Name) -> Result<()> {
        match self.one("SELECT id FROM containers WHERE name = ?1", [name.as_str()], |row| {
            row.get::<_, String>(0)
        })? {
            Some(holder) => Err(Error::NameTaken { name: name.to_string(), holder: holder.parse()? }),
            None => Ok(()),
        }
    }

    fn insert_container(&self, record: &ContainerRecord) -> Result<()> {
        let insert = || -> rusqlite::Result<Option<(&str, String)>> {
            let writing = self.begin_writing()?;
            let layers = to_json(&record.layers)?;
            // One statement for the check and the row: each one that is prepared costs what ten system calls do.
            let inserted = self
                .db
                .prepare_cached(&format!(
                    "INSERT INTO containers ({COLUMNS})
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15
                     WHERE (?12 IS NULL OR EXISTS (SELECT 1 FROM images WHERE id = ?12))
                     AND NOT EXISTS ({MISSING_LAYERS})"
                ))?
                .execute(params![
                    record.id.as_str(),
                    record.name.as_str(),
                    nanos(record.created),
                    record.started.map(nanos),
                    record.finished.map(nanos),
                    record.phase.word(),
                    record.exit_code,
                    record.oom_killed,
                    record.error,
                    record.auto_remove,
                    record.image,
                    record.image_id,
                    to_json(&record.command)?,
                    layers,
                    to_json(&record.labels)?,
                ])?;
            if inserted == 0 {
                let missing = MISSING_LAYERS.replace("?14", "?1");
                let layer = self.db.query_row(&missing, [&layers], |row| row.get(0)).optional()?;
                let image = record.image_id.clone().unwrap_or_default();
                return Ok(Some(layer.map_or(("image", image), |digest| ("layer", digest))));
            }
            self.db
                .prepare_cached("INSERT INTO requests VALUES (?1, ?2)")?
                .execute(params![self.db.last_insert_rowid(), record.request])?;
            writing.commit()?;
            Ok(None)
        };
        match insert() {
            Ok(None) => Ok(()),
            Ok(Some((what, digest))) => Err(Error::MissingContent { what, digest }),
            Err(e) => {
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
                    self.refuse_taken(&record.name)?;
                }
                self.sql("record the container", Err(e))
            }
        }
    }

    /// All containers, newest first.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.newest_first(&format!("SELECT {COLUMNS}, {REQUEST} FROM containers"))
    }

    /// As [`Store::containers`], without `request`.
    pub fn container_rows(&self) -> Result<Vec<ContainerRecord>> {
        self.newest_first(&format!("SELECT {COLUMNS}, '' FROM containers"))
    }

    /// As [`Store::container_rows`], without `layers`: what a table of a thousand needs.
    pub fn short_rows(&self) -> Result<Vec<ContainerRecord>> {
        self.newest_first(&format!("SELECT {SHORT}, '' FROM containers"))
    }

    /// Those of [`Store::short_rows`] that may be running.
    pub fn launched_rows(&self) -> Result<Vec<ContainerRecord>> {
        self.newest_first(&format!("SELECT {SHORT}, '' FROM containers WHERE phase = 'launched'"))
    }

    /// The order of the tables is nearly that of creation: so little is left to sort that SQLite, which would put
    /// whole rows aside for it, is not asked to.
    fn newest_first(&self, select: &str) -> Result<Vec<ContainerRecord>> {
        let mut rows = self.list(&format!("{select} ORDER BY seq DESC"), [])?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.created));
        Ok(rows)
    }

    /// The containers that were made from an image, without `request`.
    pub fn containers_using_image(&self, image_id: &str) -> Result<Vec<ContainerRecord>> {
        let sql = format!("SELECT {COLUMNS}, '' FROM containers WHERE image_id = ?1 ORDER BY created DESC");
        self.list(&sql, [image_id])
    }

    /// By id, by name, by the beginning of an id that no other shares. `NoSuchContainer`, `AmbiguousPrefix`.
    pub fn find_container(&self, name_or_id: &str) -> Result<ContainerRecord> {
        let wanted = name_or_id.strip_prefix('/').unwrap_or(name_or_id);
        let select = format!("SELECT {COLUMNS}, {REQUEST} FROM containers WHERE");
        // An id that is another one's name is still the id.
        let exact = format!("{select} id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1");
        if let Some(found) = self.one(&exact, [wanted], record)? {
            return Ok(found);
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if wanted.is_empty() || wanted.len() > 64 || !wanted.bytes().all(hex) {
            return Err(Error::NoSuchContainer(name_or_id.into()));
        }
        let prefix = format!("{select} id >= ?1 AND id < ?1 || 'g' LIMIT 2");
        let mut found = self.list(&prefix, [wanted])?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Error::NoSuchContainer(name_or_id.into())),
            (Some(_), false) => Err(Error::AmbiguousPrefix { what: "container", prefix: name_or_id.into() }),
        }
    }

    /// To be called with the life lock held, before the shim is spawned. Forgets the state file of the last run.
    pub fn mark_launched(&self, id: &ContainerId) -> Result<()> {
        self.forget_state(id)?;
        let sql = "UPDATE containers SET phase = 'launched', error = '' WHERE id = ?1";
        match self.change(sql, [id.as_str()])? {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchContainer(id.to_string())),
        }
    }

    /// The container has ended. Appends [`exit_events`], once, whoever comes first. Nothing happens to a
    /// container that is gone or was recorded already.
    pub fn record_exit(&self, id: &ContainerId, exit: &Exit, started: Option<Timestamp>) -> Result<()> {
        let sql = "UPDATE containers SET phase = 'exited', exit_code = ?2, oom_killed = ?3, error = ?4,
                   finished = ?5, started = coalesce(?6, started) WHERE id = ?1 AND phase = 'launched'";
        let ended = params![
            id.as_str(),
            exit.code,
            exit.oom_killed,
            exit.error,
            nanos(exit.finished),
            started.map(nanos)
        ];
        if let Some(record) = self.change(sql, ended)? {
            self.tell(&exit_events(&record, exit));
        }
        Ok(())
    }

    /// The start came to nothing: back to `Created` (`Exited` for a container that has run before), and `error`
    /// says why, `code` what the command was told.
    pub fn record_failed_start(&self, id: &ContainerId, code: Option<i32>, error: &str) -> Result<()> {
        let sql = "UPDATE containers SET error = ?2, exit_code = coalesce(?3, exit_code),
                   phase = CASE WHEN finished IS NULL THEN 'created' ELSE 'exited' END
                   WHERE id = ?1 AND phase = 'launched'";
        self.change(sql, (id.as_str(), error, code)).map(|_| ())
    }

    /// Removes row and directory. `delete` removes the staged tree (in the user namespace, where files belong to
    /// sub-ids). `NoSuchContainer` when somebody else was faster. The caller holds the life lock. Appends the
    /// `destroy` event.
    pub fn remove_container(&self, id: &ContainerId, delete: impl Fn(&Path) -> Result<()>) -> Result<()> {
        match self.withdraw_and_forget(id, &delete) {
            // What is to go makes the room that its going needs.
            Err(error) if error.is_disk_full() => {
                let _room = self.make_room();
                self.empty_container(id)?;
                self.withdraw_and_forget(id, &delete)
            }
            other => other,
        }
    }

    fn withdraw_and_forget(&self, id: &ContainerId, delete: impl Fn(&Path) -> Result<()>) -> Result<()> {
        let staged = self.withdraw_container(id)?;
        crash::point("remove: withdrawn");
        let record = match self.delete_row(id) {
            Ok(record) => record,
            Err(error) => {
                if staged.is_some() {
                    self.restore_container(id)?;
                }
                return Err(error);
            }
        };
        crash::point("remove: forgotten");
        if let Some(record) = &record {
            self.tell(&[Event::of_container(record, "destroy")]);
        }
        // What is left of it is in staging, where it keeps nothing else from going.
        let deleted = staged.map_or(Ok(()), |staged| delete(&staged));
        crash::point("remove: deleted");
        let record = record.ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
        let orphaned = record.image_id.map_or(Ok(()), |image| self.remove_orphaned_layers(&image));
        orphaned.and(deleted)
    }

    /// Drops the record of a container whose directory somebody took away. `false` when it has its directory, or no
    /// record any more. Appends the `destroy` event.
    pub fn forget_lost_container(&self, id: &ContainerId) -> Result<bool> {
        if self.look_in(id, |dir| Ok(dir.symlink_metadata().is_ok().then_some(())))?.is_some() {
            return Ok(false);
        }
        let Some(record) = self.delete_row(id)? else { return Ok(false) };
        self.tell(&[Event::of_container(&record, "destroy")]);
        record.image_id.map_or(Ok(()), |image| self.remove_orphaned_layers(&image))?;
        Ok(true)
    }

    /// A container that went may have been the last to stand on the layers of an image that was removed before it.
    pub(super) fn remove_orphaned_layers(&self, image: &str) -> Result<()> {
        match self.one("SELECT 1 FROM images WHERE id = ?1", [image], |_| Ok(()))? {
            Some(()) => Ok(()),
            None => self.remove_unreferenced(|path| self.delete_tree(path)).map(|_| ()),
        }
    }

    fn delete_row(&self, id: &ContainerId) -> Result<Option<ContainerRecord>> {
        let delete = || -> rusqlite::Result<Option<ContainerRecord>> {
            let writing = self.begin_writing()?;
            let record = self.forget_row(id)?;
            writing.commit()?;
            Ok(record)
        };
        self.sql("forget the container", delete())
    }

    /// For within a transaction. `None` when there is no such row.
    pub(super) fn forget_row(&self, id: &ContainerId) -> rusqlite::Result<Option<ContainerRecord>> {
        let requests = "DELETE FROM requests WHERE seq = (SELECT seq FROM containers WHERE id = ?1)";
        self.db.prepare_cached(requests)?.execute([id.as_str()])?;
        self.release_all(id)?;
        let containers = format!("DELETE FROM containers WHERE id = ?1 RETURNING {COLUMNS}, ''");
        self.db.prepare_cached(&containers)?.query_row([id.as_str()], record).optional()
    }

    /// `NameTaken`, `NoSuchContainer`. Appends the `rename` event.
    pub fn rename_container(&self, id: &ContainerId, name: &Name) -> Result<()> {
        let renamed =
            self.change("UPDATE containers SET name = ?2 WHERE id = ?1", [id.as_str(), name.as_str()]);
        match renamed {
            Ok(Some(record)) => {
                self.tell(&[Event::of_container(&record, "rename")]);
                Ok(())
            }
            Ok(None) => Err(Error::NoSuchContainer(id.to_string())),
            Err(error) => self.refuse_taken(name).and(Err(error)),
        }
    }

    /// What the user asked of the container is another thing from its next start on. `NoSuchContainer`. The caller
    /// holds the operation lock.
    pub fn change_request(&self, id: &ContainerId, request: &str) -> Result<()> {
        let change = || {
            let writing = self.begin_writing()?;
            let sql =
                "UPDATE requests SET request = ?2 WHERE seq = (SELECT seq FROM containers WHERE id = ?1)";
            let changed = self.db.prepare_cached(sql)?.execute([id.as_str(), request])?;
            writing.commit()?;
            Ok(changed)
        };
        match self.sql("change the container", change())? {
            0 => Err(Error::NoSuchContainer(id.to_string())),
            _ => Ok(()),
        }
    }

    /// Moves the write-ahead log into the database when it has grown, and nobody else is about to: every first opener
    /// reads it whole. Syncs, so it is for a process nobody waits for, as the shim after the end.
    pub fn tidy(&self) -> Result<()> {
        if !self.layout().has_long_log() {
            return Ok(());
        }
        match self.layout().announce_tidying() {
            Some(tidying) => self.tidy_as(tidying),
            None => Ok(()),
        }
    }

    fn tidy_as(&self, tidying: Tidying) -> Result<()> {
        let doing = "move the log into the tables";
        // Most of it while others write.
        self.sql(doing, schema::checkpoint_beside_writers(&self.db))?;
        let turn = self.turn();
        self.sql(doing, schema::checkpoint(&self.db))?;
        drop((turn, tidying));
        Ok(())
    }

    /// Runs an `UPDATE` of one row; `None` when it met no row.
    pub(super) fn change(&self, sql: &str, params: impl Params) -> Result<Option<ContainerRecord>> {
        let sql = format!("{sql} RETURNING {COLUMNS}, ''");
        let _turn = self.db.is_autocommit().then(|| self.turn());
        let changed = self.db.prepare_cached(&sql).and_then(|mut s| s.query_row(params, record).optional());
        self.sql("change the container", changed)
    }

    pub(super) fn list(&self, sql: &str, params: impl Params) -> Result<Vec<ContainerRecord>> {
        let list = || self.db.prepare_cached(sql)?.query_map(params, record)?.collect();
        self.sql("list containers", list())
    }

    pub(in crate::store) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let found = self.db.prepare_cached(sql).and_then(|mut s| s.query_row(params, read).optional());
        self.sql("look something up", found)
    }

    /// Appends events of what has happened already.
    pub(in crate::store) fn tell(&self, events: &[Event]) {
        if let Err(error) = self.append_events(events) {
            tracing::debug!(%error, ?events, "events not written");
        }
    }
}

/// What is told of an end: docker tells of the want of memory first.
pub(super) fn exit_events(record: &ContainerRecord, exit: &Exit) -> Vec<Event> {
    let starved = exit.oom_killed.then(|| Event::of_container(record, "oom"));
    let died = Event::of_container(record, "die").with("exitCode", exit.code);
    starved.into_iter().chain([died]).collect()
}
