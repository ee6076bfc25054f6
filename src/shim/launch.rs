//! `shim.json`: what a shim must know of its container besides the OCI spec (`config.json`), and the requests
//! that reach it as JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::snapshot::Recipe;
use crate::sys::Context;

/// Written once, when the container is created; read at each start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    pub recipe: Recipe,
    pub terminal: bool,
    /// `-i`.
    pub stdin: bool,
    /// The container's stdin closes with that of the first client that had it.
    pub stdin_once: bool,
    pub auto_remove: bool,
    pub seccomp: Seccomp,
    /// The signal that `stop` sends first.
    pub stop_signal: i32,
    /// Seconds; `None` leaves it to the config.
    pub stop_timeout: Option<i64>,
    /// The first process is not PID 1 of a namespace: signals have their default actions.
    pub host_pids: bool,
    /// Where compiled filters are remembered.
    pub cache: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    Default,
    Unconfined,
    /// A profile's text.
    Profile(String),
}

/// The first process of another container whose namespace is to be joined: resolved anew at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub pid: u32,
    /// Clock ticks since boot: a recycled pid is refused.
    pub start: u64,
}

/// What a start adds to [`Launch`]: handed over as an argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Start {
    /// Which streams the starting command is attached to; `None` when it only waits for the start.
    pub attach: Option<super::protocol::Attach>,
    /// Rows and columns of its terminal.
    pub size: Option<(u16, u16)>,
    pub join_pid: Option<Peer>,
    pub join_ipc: Option<Peer>,
    pub join_uts: Option<Peer>,
    pub join_network: Option<Peer>,
    /// Processes that write the id maps of a fresh user namespace; none when one was joined, or when its map has a
    /// single id.
    pub writers: Vec<u32>,
}

/// The JSON of an exec request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecRequest {
    /// Never empty.
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
    pub terminal: bool,
    pub size: Option<(u16, u16)>,
}

/// The OCI spec's file in a container's directory.
pub fn spec_path(container: &Path) -> PathBuf {
    container.join("config.json")
}

/// [`Launch`]'s file in a container's directory.
pub fn launch_path(container: &Path) -> PathBuf {
    container.join("shim.json")
}

/// The log's file in a container's directory.
pub fn log_path(container: &Path) -> PathBuf {
    container.join("log")
}

impl Launch {
    /// Of the container whose directory this is.
    pub fn read(container: &Path) -> super::Result<Self> {
        let path = launch_path(container);
        let bytes = std::fs::read(&path).op_on("read", &path)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| super::Error::Protocol { peer: "shim.json", reason: "it is damaged" })
    }
}
