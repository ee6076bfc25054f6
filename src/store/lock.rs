//! The locks of an object: who lives, and who is busy with it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::id::ContainerId;
use super::{Layout, Result};

/// Held for as long as a container's shim lives; the descriptor is handed down to it. Taken by whoever starts.
#[derive(Debug)]
pub struct LifeLock(OwnedFd);

/// Held for the length of one operation on a container (start, rm, rename).
#[derive(Debug)]
pub struct OperationLock(#[allow(dead_code, reason = "held, not read")] OwnedFd);

impl From<LifeLock> for OwnedFd {
    fn from(lock: LifeLock) -> Self {
        lock.0
    }
}

impl Layout {
    /// Takes the life lock. `None` when a shim holds it.
    pub fn life_lock(&self, _id: &ContainerId) -> Result<Option<LifeLock>> {
        todo!()
    }

    /// Whether a shim holds the life lock. Asks without taking, so it never gets in the way of a start.
    pub fn life_lock_held(&self, _id: &ContainerId) -> Result<bool> {
        todo!()
    }

    /// Waits until the shim is gone, and takes the lock. `None` when `patience` ends first.
    pub fn wait_life_lock(&self, _id: &ContainerId, _patience: Duration) -> Result<Option<LifeLock>> {
        todo!()
    }

    /// Waits for whoever is busy with the container. `NoSuchContainer` when it is gone by then.
    pub fn operation_lock(&self, _id: &ContainerId) -> Result<OperationLock> {
        todo!()
    }

    /// As [`Layout::operation_lock`], but `None` at once when somebody is busy.
    pub fn try_operation_lock(&self, _id: &ContainerId) -> Result<Option<OperationLock>> {
        todo!()
    }
}
