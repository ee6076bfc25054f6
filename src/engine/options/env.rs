//! `--env`, `--env-file`, `--label`, `--label-file`, `--annotation`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::engine::Result;

/// The host's environment, as `config` hands it on.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All `--env-file` first, then all `-e`, as docker orders them: `KEY=VALUE` entries; later ones win.
pub fn env(_files: &[PathBuf], _values: &[String], _lookup: Lookup<'_>) -> Result<Vec<String>> {
    todo!()
}

/// All `--label-file` first, then all `--label`.
pub fn labels(_files: &[PathBuf], _values: &[String]) -> Result<BTreeMap<String, String>> {
    todo!()
}

/// `--annotation KEY=VALUE`. Names that begin with `kelp.` are kelp's own and refused.
pub fn annotations(_values: &[String]) -> Result<BTreeMap<String, String>> {
    todo!()
}
