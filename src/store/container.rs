//! Container records: the row in the database, the shim's state file beside it, and what the two say together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ContainerId, Name};

/// A container as the database knows it.
#[derive(Debug, Clone)]
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
    /// Labels of image and user together.
    pub labels: BTreeMap<String, String>,
    /// The full create request as JSON; `engine` owns its shape.
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

/// `state.json` in the container's directory: written whole and renamed by its shim alone.
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
