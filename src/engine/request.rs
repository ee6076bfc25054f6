//! The create request: everything the user chose for a container, typed, and nothing else.
//!
//! It is stored with the container as JSON, so every field added later needs a serde default. Image config is
//! not here: the one function that merges the two is [`super::spec`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Snapshotter;
use crate::shim::Guess;
use crate::shim::network::{Publish, Slirp};
use crate::store::container::network::Protocol;
use crate::store::network::Mac;

/// What `create` and `run` were asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateRequest {
    pub name: Option<String>,
    pub rootfs: RootfsSource,
    /// Words after the image: replace the image's `Cmd`.
    pub command: Vec<String>,
    /// `Some(vec![])` is `--entrypoint ""`: the image's entry point is dropped.
    pub entrypoint: Option<Vec<String>>,
    /// `KEY=VALUE`, files and host look-ups already resolved; later entries win. A bare `KEY` takes the image's
    /// entry of that name away.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub group_add: Vec<String>,
    pub hostname: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub mounts: Vec<MountRequest>,
    pub read_only: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `--security-opt systempaths=unconfined`.
    pub unmask_system_paths: bool,
    pub privileged: bool,
    pub ulimits: Vec<Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    /// Bytes; docker's default is 64 MiB.
    pub shm_size: Option<u64>,
    pub init: bool,
    /// As it was when the container was made.
    pub network: NetworkMode,
    /// The user-defined networks that it is in by now, where `network connect` and `disconnect` changed them.
    pub joined: Option<Vec<Join>>,
    /// It has left the network in user space.
    pub left_slirp: bool,
    pub publish: Vec<Publish>,
    /// Publish every exposed port that `publish` does not have, each at some port of the host's.
    pub publish_all: bool,
    /// Ports that the user exposes besides the image.
    pub expose: Vec<(u16, Protocol)>,
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    pub uts: NamespaceMode,
    pub userns: UsernsMode,
    /// `SIGTERM`, `TERM` or a number, as typed.
    pub stop_signal: Option<String>,
    /// Seconds; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// `None` leaves it to the config.
    pub snapshotter: Option<Snapshotter>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// `NAME:IP` pairs for `/etc/hosts`; the address may be `host-gateway`.
    pub add_hosts: Vec<(String, String)>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    pub oom_score_adj: Option<i32>,
    pub tty: bool,
    /// `-i`: stdin stays open.
    pub interactive: bool,
    /// The container's stdin closes when the first attached client goes (`-i` without `-d`).
    pub stdin_once: bool,
    pub auto_remove: bool,
    pub detach_keys: Option<String>,
}

/// What the container's root is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootfsSource {
    /// An image, as the user named it.
    Image(String),
    /// `--rootfs PATH[:rw]`: an absolute directory of the host.
    Directory { path: PathBuf, write_through: bool },
}

impl Default for RootfsSource {
    fn default() -> Self {
        Self::Image(String::new())
    }
}

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum MountRequest {
    Bind {
        source: PathBuf,
        target: PathBuf,
        read_only: bool,
        /// Submounts come along (docker's default), and are read-only too when `read_only`.
        recursive: bool,
        /// `bind-recursive=writable`: the submounts of a read-only bind stay as they are.
        #[serde(default)]
        writable_submounts: bool,
        propagation: Propagation,
        /// `-v` creates a missing source directory, `--mount` refuses.
        create_source: bool,
    },
    Tmpfs {
        target: PathBuf,
        /// Bytes.
        size: Option<u64>,
        /// Octal mode bits.
        mode: Option<u32>,
        /// Whom it belongs to, as the container counts: root unless said.
        #[serde(default)]
        uid: Option<u32>,
        #[serde(default)]
        gid: Option<u32>,
        /// How many files it may hold.
        #[serde(default)]
        inodes: Option<u64>,
        /// `KEY=VALUE` that only the kernel understands.
        #[serde(default)]
        data: Vec<String>,
        read_only: bool,
        exec: bool,
        suid: bool,
        dev: bool,
    },
}

impl MountRequest {
    /// As typed.
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }

    /// Whether this is where it comes from or where it is mounted.
    pub fn has_end(&self, path: &Path) -> bool {
        matches!(self, Self::Bind { source, .. } if source == path) || self.target() == path
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    #[default]
    RPrivate,
    Private,
    RSlave,
    Slave,
    RShared,
    Shared,
}

/// `--security-opt seccomp=`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompChoice {
    #[default]
    Default,
    Unconfined,
    /// The profile's text, read when the request was made, so that a start months later does the same.
    Profile(String),
}

/// One `--ulimit`: name without `RLIMIT_`, lower case; `u64::MAX` is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: u64,
    pub hard: u64,
}

/// `--network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A namespace of its own, whose packets become sockets of the host's.
    Slirp(Slirp),
    None,
    Host,
    /// That of another container: its name or id, as typed; resolved at each start.
    Container(String),
    /// User-defined networks, the first of which is the way out. Never empty.
    Networks(Vec<Join>),
}

/// A user-defined network to be in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Join {
    /// Name or id, as typed; resolved at each start.
    pub network: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Option<Mac>,
    /// What the others may call it besides its name.
    pub aliases: Vec<String>,
    /// What it calls others by, and what those are known by.
    pub links: Vec<(String, String)>,
    /// The default route leads through the network of the highest; of several, through the first.
    pub priority: i32,
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Slirp(Slirp::default())
    }
}

impl CreateRequest {
    /// The user-defined networks that the container is to be in.
    pub fn joins(&self) -> &[Join] {
        match (&self.joined, &self.network) {
            (Some(joined), _) => joined,
            (None, NetworkMode::Networks(joins)) => joins,
            (None, _) => &[],
        }
    }

    /// `--dns`.
    pub fn name_servers(&self) -> Vec<IpAddr> {
        self.dns.iter().filter_map(|server| server.parse().ok()).collect()
    }

    /// How the network in user space is set up, where the container is in it.
    pub fn slirp(&self) -> Option<&Slirp> {
        match &self.network {
            NetworkMode::Slirp(slirp) if !self.left_slirp => Some(slirp),
            _ => None,
        }
    }

    /// What a shim may prepare before it knows the container.
    pub fn guess(&self) -> Guess {
        match self.userns {
            // Its network belongs to a user namespace that is yet to be made.
            UsernsMode::KeepId { .. } | UsernsMode::NoMap => Guess::Nothing,
            UsernsMode::Host if self.left_slirp => Guess::Empty,
            UsernsMode::Host => self.network.guess(),
        }
    }
}

impl NetworkMode {
    /// Whether the container has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Slirp(_) | Self::None | Self::Networks(_))
    }

    /// What a shim may prepare before it knows the container.
    pub fn guess(&self) -> Guess {
        match self {
            Self::Slirp(_) => Guess::Slirp,
            Self::None | Self::Networks(_) => Guess::Empty,
            Self::Host | Self::Container(_) => Guess::Nothing,
        }
    }
}

/// `--pid`, `--ipc`, `--uts`. Which values a flag allows is checked where it is parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    #[default]
    Private,
    /// Of `--ipc`: private, and no `/dev/shm`.
    None,
    Host,
    /// A container's name or id, as typed; resolved at each start.
    Container(String),
}

/// `--userns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsernsMode {
    /// The user namespace that all containers of this user share.
    #[default]
    Host,
    /// One of the container's own, in which this user is himself, or these ids. `size`: how many of his subordinate ids
    /// there are besides.
    KeepId { uid: Option<u32>, gid: Option<u32>, size: Option<u32> },
    /// One of the container's own, in which this user is nobody.
    NoMap,
}
