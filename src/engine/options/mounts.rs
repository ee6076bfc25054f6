//! `-v`, `--mount`, `--tmpfs`.

use std::path::Path;

use crate::engine::Result;
use crate::engine::request::MountRequest;

/// `-v SOURCE:TARGET[:OPTIONS]`; `cwd` completes a source that begins with `./` or `../`.
pub fn volume(_spec: &str, _cwd: &Path) -> Result<MountRequest> {
    todo!()
}

/// `--mount type=bind|tmpfs,…`.
pub fn mount(_spec: &str, _cwd: &Path) -> Result<MountRequest> {
    todo!()
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub fn tmpfs(_spec: &str) -> Result<MountRequest> {
    todo!()
}
