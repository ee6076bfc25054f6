//! `--ulimit`, `--sysctl`, `--shm-size`, `--oom-score-adj`, and docker's sizes.

use std::collections::BTreeMap;

use crate::engine::Result;
use crate::engine::request::Ulimit;

/// `NAME=SOFT[:HARD]`; -1 is unlimited.
pub fn ulimit(_spec: &str) -> Result<Ulimit> {
    todo!()
}

/// docker's sizes in bytes: `64m`, `1.5g`, `512`, `64MiB`; binary units, case does not matter.
pub fn size(_what: &'static str, _text: &str) -> Result<u64> {
    todo!()
}

/// `--shm-size`: a size greater than zero.
pub fn shm_size(_text: &str) -> Result<u64> {
    todo!()
}

/// `NAME=VALUE`, each of a kind that a namespace of the container's own holds.
pub fn sysctls(_values: &[String]) -> Result<BTreeMap<String, String>> {
    todo!()
}

/// -1000 to 1000.
pub fn oom_score_adj(_text: &str) -> Result<i32> {
    todo!()
}
