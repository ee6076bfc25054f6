//! A container's row from creation to removal, and the events that belong to its changes.
//!
//! A change and its event are one place in the code, so that each is told once. An event that cannot be written
//! (full disk) does not undo what happened.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Params, Transaction, TransactionBehavior, params};

use super::row::{COLUMNS, REQUEST, nanos, record, to_json};
use super::{ContainerRecord, Exit};
use crate::store::events::Event;
use crate::store::id::{ContainerId, Name};
use crate::store::staging::Kind;
use crate::store::{Error, Result, Store, crash, schema};
use crate::sys::Context;

/// Size of the write-ahead log beyond which [`Store::tidy`] moves it into the database.
const LOG_BYTES: u64 = 256 << 10;

impl Store {
    /// Makes the container: `fill` populates its directory before anybody can see it. `NameTaken`,
    /// `MissingContent` when its image or one of its layers is gone. Appends the `create` event.
    pub fn create_container(
        &self,
        record: &ContainerRecord,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.refuse_taken(&record.name)?;
        let entry = self.stage_clean(Kind::Container, record.id.as_str())?;
        crash::point("create: entry");
        rustix::fs::mkdir(entry.object(), rustix::fs::Mode::RWXU).op_on("create", entry.object())?;
        fill(entry.object())?;
        crash::point("create: filled");
        entry.publish(self)?;
        crash::point("create: published");
        if let Err(error) = self.insert_container(record) {
            entry.withdraw(self)?;
            return Err(error);
        }
        crash::point("create: recorded");
        entry.finish();
        self.tell(&Event::of_container(record, "create"));
        Ok(())
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
            let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            let layers = to_json(&record.layers)?;
            if let Some(image) = &record.image_id
                && !self.db.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?.exists([image])?
            {
                return Ok(Some(("image", image.clone())));
            }
            let missing: Option<String> = self
                .db
                .prepare_cached(
                    "SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT diff_id FROM layers) LIMIT 1",
                )?
                .query_row([&layers], |row| row.get(0))
                .optional()?;
            if let Some(digest) = missing {
                return Ok(Some(("layer", digest)));
            }
            self.db
                .prepare_cached(&format!(
                    "INSERT INTO containers ({COLUMNS})
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
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
            self.db
                .prepare_cached("INSERT INTO requests VALUES (?1, ?2)")?
                .execute(params![self.db.last_insert_rowid(), record.request])?;
            transaction.commit()?;
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
        self.list(&format!("SELECT {COLUMNS}, {REQUEST} FROM containers ORDER BY created DESC, seq DESC"), [])
    }

    /// As [`Store::containers`], without `request`: what a table of a thousand needs.
    pub fn container_rows(&self) -> Result<Vec<ContainerRecord>> {
        self.list(&format!("SELECT {COLUMNS}, '' FROM containers ORDER BY created DESC, seq DESC"), [])
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

    /// The container has ended. Appends the `die` event, once, whoever comes first. Nothing happens to a
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
            self.tell(&Event::of_container(&record, "die").with("exitCode", exit.code));
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
    /// sub-ids). `NoSuchContainer` when somebody else was faster. The caller holds the operation lock. Appends
    /// the `destroy` event.
    pub fn remove_container(&self, id: &ContainerId, delete: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let entry = self.stage_clean(Kind::Container, id.as_str())?;
        crash::point("remove: entry");
        let Some(record) = self.delete_row(id)? else {
            return Err(Error::NoSuchContainer(id.to_string()));
        };
        crash::point("remove: forgotten");
        entry.withdraw(self)?;
        crash::point("remove: withdrawn");
        self.tell(&Event::of_container(&record, "destroy"));
        delete(entry.object())?;
        crash::point("remove: deleted");
        entry.finish();
        if let Some(image) = &record.image_id
            && self.one("SELECT 1 FROM images WHERE id = ?1", [image], |_| Ok(()))?.is_none()
        {
            // It may have been the last to stand on the layers of an image that was removed before it.
            self.remove_unreferenced(|path| self.delete_tree(path))?;
        }
        Ok(())
    }

    fn delete_row(&self, id: &ContainerId) -> Result<Option<ContainerRecord>> {
        let delete = || -> rusqlite::Result<Option<ContainerRecord>> {
            let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            self.db
                .prepare_cached(
                    "DELETE FROM requests WHERE seq = (SELECT seq FROM containers WHERE id = ?1)",
                )?
                .execute([id.as_str()])?;
            let record = self
                .db
                .prepare_cached(&format!("DELETE FROM containers WHERE id = ?1 RETURNING {COLUMNS}, ''"))?
                .query_row([id.as_str()], record)
                .optional()?;
            transaction.commit()?;
            Ok(record)
        };
        self.sql("forget the container", delete())
    }

    /// `NameTaken`, `NoSuchContainer`. Appends the `rename` event.
    pub fn rename_container(&self, id: &ContainerId, name: &Name) -> Result<()> {
        let renamed =
            self.change("UPDATE containers SET name = ?2 WHERE id = ?1", [id.as_str(), name.as_str()]);
        match renamed {
            Ok(Some(record)) => {
                self.tell(&Event::of_container(&record, "rename"));
                Ok(())
            }
            Ok(None) => Err(Error::NoSuchContainer(id.to_string())),
            Err(error) => self.refuse_taken(name).and(Err(error)),
        }
    }

    /// Moves the write-ahead log into the database when it has grown: every first opener reads it whole. Syncs,
    /// so it is for a process nobody waits for, as the shim after the end.
    pub fn tidy(&self) -> Result<()> {
        let log = self.layout().database().with_extension("db-wal");
        if std::fs::metadata(log).is_ok_and(|m| m.len() > LOG_BYTES) {
            self.sql("move the log into the tables", schema::checkpoint(&self.db))?;
        }
        Ok(())
    }

    /// Runs an `UPDATE` of one row; `None` when it met no row.
    pub(super) fn change(&self, sql: &str, params: impl Params) -> Result<Option<ContainerRecord>> {
        let sql = format!("{sql} RETURNING {COLUMNS}, ''");
        let changed = self.db.prepare_cached(&sql).and_then(|mut s| s.query_row(params, record).optional());
        self.sql("change the container", changed)
    }

    fn list(&self, sql: &str, params: impl Params) -> Result<Vec<ContainerRecord>> {
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

    /// Appends an event of something that has happened already.
    pub(in crate::store) fn tell(&self, event: &Event) {
        if let Err(error) = self.append_event(event) {
            tracing::debug!(%error, action = event.action, "event not written");
        }
    }
}
