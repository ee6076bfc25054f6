//! What is true of a container.

use super::{ContainerRecord, Observed};
use crate::store::{Result, Store};

impl Store {
    /// Row, lock and state file together. A shim that was lost is recorded (exit code 137, or 255 after a
    /// reboot), with its `die` event; where that cannot be written the truth is told all the same.
    pub fn observe(&self, _record: &ContainerRecord) -> Result<Observed> {
        todo!()
    }
}
