//! `--network`, `--pid`, `--ipc`, `--uts`, `--userns`.

use crate::engine::Result;
use crate::engine::request::{NamespaceMode, NetworkMode, UsernsMode};

/// `none` or `host`.
pub fn network(_mode: &str) -> Result<NetworkMode> {
    todo!()
}

/// Empty, `host` or `container:NAME`.
pub fn pid(_mode: &str) -> Result<NamespaceMode> {
    todo!()
}

/// Empty, `private`, `shareable`, `host` or `container:NAME`.
pub fn ipc(_mode: &str) -> Result<NamespaceMode> {
    todo!()
}

/// Empty or `host`.
pub fn uts(_mode: &str) -> Result<NamespaceMode> {
    todo!()
}

/// Empty or `host`.
pub fn userns(_mode: &str) -> Result<UsernsMode> {
    todo!()
}
