//! Container records: the row in the database, the shim's state file beside it, and what the two say together.

pub mod ended;
mod lifecycle;
pub mod network;
mod place;
pub(super) mod row;
mod state;
mod truth;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::network::Network;
#[cfg(doc)]
use super::Store;
use super::id::{ContainerId, Name};
pub use crate::sys::process::start_time as process_start;
pub(super) use state::FILE as STATE_FILE;
pub use state::boot_id;
pub use truth::REBOOTED;

/// A container as the database knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub name: Name,
    pub created: Timestamp,
    /// The last start that the database was told of; a running container's own is in [`ShimState`].
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub phase: Phase,
    pub exit_code: Option<i32>,
    pub oom_killed: bool,
    /// Why the last start failed or how the shim was lost; empty otherwise.
    pub error: String,
    pub auto_remove: bool,
    /// What the user called the image, or the directory given to `--rootfs`.
    pub image: String,
    /// The image's config digest (`sha256:…`), `None` for `--rootfs`.
    pub image_id: Option<String>,
    /// The command line as `ps` shows it: entry point and arguments.
    pub command: Vec<String>,
    /// Diff-ids of the layers it stands on, lowest first: kept for as long as the container is, whatever becomes
    /// of the image.
    pub layers: Vec<String>,
    /// Labels of image and user together.
    pub labels: BTreeMap<String, String>,
    /// The full create request as JSON; `engine` owns its shape. Empty in what [`Store::container_rows`] lists.
    pub request: String,
}

/// The durable phase of a container. `Launched` means that a shim was started and its end is not recorded yet:
/// whether it lives is asked of its lock, never of this column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Created,
    Launched,
    Exited,
    /// Removal began and could not be finished.
    Dead,
}

/// docker's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
}

/// What a line of `state.jsonl` in the container's directory says; only its shim adds any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShimState {
    /// `/proc/sys/kernel/random/boot_id` of the boot in which the shim ran.
    pub boot_id: String,
    pub shim_pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`: with the pid, the process's identity.
    pub shim_start: u64,
    /// The container's first process, in the host's pid namespace; 0 before it exists.
    pub init_pid: u32,
    pub init_start: u64,
    pub started: Option<Timestamp>,
    pub exit: Option<Exit>,
    /// Where its network is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, or 128+n for death by signal n.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    pub finished: Timestamp,
    /// Empty unless the start failed or the shim was lost.
    pub error: String,
}

/// What a container is doing at this moment: row, lock and state file read together.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    pub status: Status,
    /// A shim lives and has not started the first process yet: `status` is still what it was before.
    pub starting: bool,
    /// Of the container's first process, in the host's pid namespace; `None` when it does not run.
    pub pid: Option<u32>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Of the last end; `None` before the first one and while it runs.
    pub exit_code: Option<i32>,
    pub error: String,
    pub oom_killed: bool,
    /// Of a container that runs, where its network is its own.
    pub network: Option<Network>,
}
