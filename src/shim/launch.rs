//! What a shim is told: of its container at each start, and of processes to add. All of it is JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use oci_spec::runtime::Spec;

pub use super::network::member::Member;
pub use super::network::{Publish, Slirp};
use crate::snapshot::{Recipe, Snapshotter};
use crate::store::container::network::{Addresses, Protocol};

/// All that a start needs, as a file in memory: it may be larger than a packet.
#[derive(Debug, Clone, Deserialize)]
pub struct Bundle {
    pub start: Start,
    pub launch: Launch,
    pub spec: Spec,
}

/// What a shim must know of its container besides the OCI spec. Decided when the container is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    pub recipe: Recipe,
    #[serde(default)]
    pub snapshotter: Snapshotter,
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
    /// What its events say besides its name.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// The first process is not PID 1 of a namespace: signals have their default actions.
    pub host_pids: bool,
    /// Where compiled filters are remembered.
    pub cache: PathBuf,
    /// The network in user space, where the container has one.
    #[serde(default)]
    pub network: Option<Slirp>,
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// Ports that are said to be served, published or not.
    #[serde(default)]
    pub expose: Vec<(u16, Protocol)>,
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

/// What a start adds to [`Launch`]: handed over with the container.
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
    /// Of the network in user space, chosen in the light of the host's present routes.
    pub addresses: Option<Addresses>,
    /// Name servers that it is to have instead of the host's.
    pub dns: Vec<IpAddr>,
    /// It has left the network in user space that it was made with.
    pub without_own: bool,
    /// The user-defined networks to join.
    pub members: Vec<Member>,
    /// Files of the container whose text is another one than when the container was made, by their path.
    pub texts: BTreeMap<String, String>,
    /// The container's name at this start, for its event.
    pub name: String,
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
