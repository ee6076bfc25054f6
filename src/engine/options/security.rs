//! `--security-opt`, `--cap-add`, `--cap-drop`.

use crate::engine::Result;
use crate::engine::request::SeccompChoice;

/// What all `--security-opt` together say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `systempaths=unconfined`: nothing of `/proc` and `/sys` is masked or made read-only.
    pub unmask_system_paths: bool,
}

/// Reads profiles named by `seccomp=FILE`, so that a later start does the same.
pub fn security_opts(_values: &[String]) -> Result<SecurityOptions> {
    todo!()
}

/// `--cap-add` and `--cap-drop` values as `CAP_NAME` or `ALL`; unknown names are refused.
pub fn capabilities(_values: &[String]) -> Result<Vec<String>> {
    todo!()
}
