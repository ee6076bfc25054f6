//! The plan: what the container's first process does, decided completely before the fork.
//!
//! Pure data. Nothing in it needs to be looked up again, except what only the finished root can answer (the
//! user's numeric id, the program's path).

use std::ffi::CString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::userns::Nested;

/// The umask of containers, docker's and runc's.
pub const UMASK: u32 = 0o022;

/// Everything the first process needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    pub namespaces: Namespaces,
    pub hostname: Option<String>,
    /// Nobody asked for it: where it cannot be set, that is worth a warning.
    pub optional_hostname: bool,
    /// For a new time namespace; the rest of the clocks are the host's.
    pub clock_offsets: Vec<ClockOffset>,
    pub rootfs: Rootfs,
    pub rootfs_read_only: bool,
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// Absolute paths inside the root that are hidden: files under `/dev/null`, directories under an empty tmpfs.
    pub masked_paths: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    /// `/proc/sys` names with dots, already checked to belong to the container's own namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Those of them that may fail: conveniences that nobody asked for, and that need a writable `/proc/sys`.
    pub optional_sysctls: Vec<String>,
    /// Group owner of the pty slaves: 5 where the map has it, else 0.
    pub tty_gid: u32,
    pub process: Process,
    /// `--init`: a reaper of kelp's own is PID 1 and the process its child.
    pub init: bool,
    /// Whom the container's own passwd and group have to know.
    pub account: Option<Account>,
}

/// A user for `/etc/passwd`, with a group for `/etc/group`. No field has a colon or a line break in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub group: String,
    pub gid: u32,
    pub home: String,
}

/// Where each namespace comes from.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// The ids of a user namespace of the container's own, within the one that the plan runs in; `None`: it shares
    /// that.
    pub user: Option<Nested>,
    pub network: Namespace,
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub time: Namespace,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Namespace {
    #[default]
    New,
    Host,
    /// That of another container's first process, given to `clone` as a descriptor by the shim.
    Joined,
}

/// How far a clock of the container is ahead of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    pub clock: Clock,
    pub seconds: i64,
    /// Below 1,000,000,000; added to the seconds, whatever their sign.
    pub nanoseconds: u32,
}

/// The clocks that a time namespace has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    Monotonic,
    Boottime,
}

impl Clock {
    /// As both the OCI spec and the kernel call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

/// How the root is assembled. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// The kernel's overlay; `lowers` from the top layer down.
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf, volatile: bool },
    /// Mounted by the shim and handed over. `hidden`: directories below `source`, which the root shows, that the
    /// container does not see.
    HandedOver { source: PathBuf, hidden: Vec<PathBuf> },
    /// A directory of the host itself, written through.
    Directory { path: PathBuf },
    /// A directory that no single overlay can cover: an empty root with one entry for each of `entries`.
    HostTree {
        source: PathBuf,
        entries: Vec<HostEntry>,
        upper: PathBuf,
        work: PathBuf,
        hidden: Vec<PathBuf>,
        volatile: bool,
    },
}

/// One top-level name of a [`Rootfs::HostTree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    pub name: std::ffi::OsString,
    pub kind: HostEntryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEntryKind {
    /// An overlay of its own, with `upper/NAME` and `work/NAME`.
    Overlay,
    /// Mounts below it, or the store: bound, with its submounts, read-only.
    ReadOnlyBind,
    Symlink(PathBuf),
    /// An empty directory for what the plan's mounts will cover: `/proc`, `/sys`, `/dev`.
    MountPoint,
}

/// One mount inside the root. `target` is absolute inside the root and resolved there, never on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub target: PathBuf,
    pub source: MountSource,
    pub flags: MountFlags,
}

/// What a tmpfs is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tmpfs {
    /// Bytes.
    pub size: Option<u64>,
    pub mode: u32,
    /// As the container counts.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub inodes: Option<u64>,
    /// Keys and values for the kernel alone.
    pub data: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    Proc,
    /// A fresh sysfs, or the host's bound read-only where the network is the host's.
    Sysfs,
    Cgroup,
    Mqueue,
    Devpts,
    /// tmpfs with `/dev`'s nodes, links and directories.
    Dev,
    Tmpfs(Tmpfs),
    /// A file in memory with this text.
    Text(String),
    Bind {
        source: PathBuf,
        recursive: bool,
        propagation: Option<BindPropagation>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindPropagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationKind {
    Private,
    Slave,
    Shared,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountFlags {
    pub read_only: bool,
    /// The flags reach submounts too.
    pub recursive: bool,
    pub no_suid: bool,
    pub no_dev: bool,
    pub no_exec: bool,
}

/// A process to be executed in a container: the first one, or one of `exec`.
#[derive(Debug, Clone)]
pub struct Process {
    /// Never empty.
    pub args: Vec<CString>,
    /// `KEY=VALUE`. `HOME` is added from the image's passwd when it is missing.
    pub env: Vec<CString>,
    pub cwd: PathBuf,
    /// docker's forms, unresolved: `name`, `uid`, `name:group`, `uid:gid`; empty is root.
    pub user: String,
    pub additional_groups: Vec<String>,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    /// Assembled BPF, little-endian `sock_filter` array; `None` is unconfined.
    pub seccomp: Option<Vec<u8>>,
    pub rlimits: Vec<Rlimit>,
    pub umask: u32,
    pub oom_score_adj: Option<i32>,
    pub terminal: bool,
    /// The first process makes a missing working directory, `exec` does not.
    pub create_cwd: bool,
}

/// Bit n is capability n of `linux/capability.h`. Inheritable and ambient are always empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    /// What a process of uid 0 has; for other users permitted and effective are empty.
    pub permitted: u64,
}

/// `resource` is the number of `RLIMIT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}
