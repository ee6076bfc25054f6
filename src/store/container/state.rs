//! The state file.

use super::ShimState;
use crate::store::id::ContainerId;
use crate::store::{Layout, Result};

impl Layout {
    /// Replaces `state.json`. For the container's shim alone.
    pub fn write_state(&self, _id: &ContainerId, _state: &ShimState) -> Result<()> {
        todo!()
    }

    /// `None` when the container has never run since its last `mark_launched`.
    pub fn read_state(&self, _id: &ContainerId) -> Result<Option<ShimState>> {
        todo!()
    }
}

/// The kernel's id of this boot.
pub fn boot_id() -> Result<String> {
    todo!()
}
