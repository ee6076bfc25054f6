//! An OCI runtime spec, checked and turned into a [`Plan`].

use oci_spec::runtime::Spec;

use super::plan::{Plan, Process, Rootfs};

/// What the spec does not say.
#[derive(Debug, Clone)]
pub struct Facts {
    pub rootfs: Rootfs,
    /// See [`Plan::tty_gid`].
    pub tty_gid: u32,
    /// Assembled filter from [`super::seccomp::cached`]; `None` is unconfined.
    pub seccomp: Option<Vec<u8>>,
}

/// Why a spec cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {reason}")]
    Invalid { what: String, reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;

/// A plan, and what the user should be told about it (one line each).
#[derive(Debug)]
pub struct Planned {
    pub plan: Plan,
    pub warnings: Vec<String>,
}

impl Plan {
    /// Validates the whole spec and decides everything.
    pub fn from_spec(_spec: &Spec, _facts: Facts) -> Result<Planned> {
        todo!()
    }
}

/// What `exec` changes against the container's first process.
#[derive(Debug, Clone, Default)]
pub struct ExecChanges {
    /// Never empty.
    pub args: Vec<String>,
    /// Added to the first process's environment; later entries win.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub privileged: bool,
    pub terminal: bool,
}

/// The process that `exec` starts in a container made from `spec`: the first one's with `changes`.
pub fn exec_process(_spec: &Spec, _changes: &ExecChanges, _seccomp: Option<Vec<u8>>) -> Result<Process> {
    todo!()
}
