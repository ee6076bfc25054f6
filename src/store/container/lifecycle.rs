//! A container's row from creation to removal.

use std::path::Path;

use jiff::Timestamp;

use super::{ContainerRecord, Exit};
use crate::store::id::{ContainerId, Name};
use crate::store::{Result, Store};

impl Store {
    /// Makes the container: `fill` populates its directory before anybody can see it. `NameTaken`,
    /// `MissingContent` when one of its layers is gone.
    pub fn create_container(
        &self,
        _record: &ContainerRecord,
        _fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        todo!()
    }

    /// All containers, newest first.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        todo!()
    }

    /// As [`Store::containers`], without `request`: what a table of a thousand needs.
    pub fn container_rows(&self) -> Result<Vec<ContainerRecord>> {
        todo!()
    }

    /// By id, by name, by the beginning of an id that no other shares. `NoSuchContainer`, `AmbiguousPrefix`.
    pub fn find_container(&self, _name_or_id: &str) -> Result<ContainerRecord> {
        todo!()
    }

    /// To be called with the life lock held, before the shim is spawned. Forgets the state file of the last run.
    pub fn mark_launched(&self, _id: &ContainerId) -> Result<()> {
        todo!()
    }

    /// The first process runs. Appends the `start` event.
    pub fn record_started(&self, _id: &ContainerId, _started: Timestamp) -> Result<()> {
        todo!()
    }

    /// The container has ended. Appends the `die` event, once, whoever comes first. Nothing happens to a
    /// container that is gone or was recorded already.
    pub fn record_exit(&self, _id: &ContainerId, _exit: &Exit, _started: Option<Timestamp>) -> Result<()> {
        todo!()
    }

    /// The start came to nothing: back to `Created`, and `error` says why.
    pub fn record_failed_start(&self, _id: &ContainerId, _error: &str) -> Result<()> {
        todo!()
    }

    /// Removes row and directory. `delete` removes the staged tree (in the user namespace, where files belong to
    /// sub-ids). `NoSuchContainer` when somebody else was faster. The caller holds the operation lock.
    pub fn remove_container(
        &self,
        _id: &ContainerId,
        _delete: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        todo!()
    }

    /// `NameTaken`, `NoSuchContainer`. Appends the `rename` event.
    pub fn rename_container(&self, _id: &ContainerId, _name: &Name) -> Result<()> {
        todo!()
    }

    /// The containers that were made from an image.
    pub fn containers_using_image(&self, _image_id: &str) -> Result<Vec<ContainerRecord>> {
        todo!()
    }

    /// Moves the write-ahead log into the database when it has grown: every first opener reads it whole. Syncs,
    /// so it is for a process nobody waits for, as the shim after the end.
    pub fn tidy(&self) -> Result<()> {
        todo!()
    }
}
