//! `--user`, `--workdir`, `--stop-signal`, `--detach-keys`, `--platform`, `--rootfs`.

use std::path::Path;

use crate::engine::Result;
use crate::engine::request::RootfsSource;

/// One of docker's forms (`name`, `uid`, `name:group`, `uid:gid`), checked for what no image could resolve.
pub fn user(_user: &str) -> Result<String> {
    todo!()
}

/// An absolute path inside the container.
pub fn workdir(_path: &str) -> Result<String> {
    todo!()
}

/// The number of a signal: `KILL`, `SIGKILL`, `9`, `RTMIN+3`, any case.
pub fn signal(_signal: &str) -> Result<i32> {
    todo!()
}

/// [`signal`] checked, the text kept as typed.
pub fn stop_signal(_signal: &str) -> Result<String> {
    todo!()
}

/// The bytes that detach: `ctrl-p,ctrl-q` is 0x10 0x11. An empty text is an empty sequence: no way out.
pub fn detach_keys(_keys: &str) -> Result<Vec<u8>> {
    todo!()
}

/// `OS[/ARCH[/VARIANT]]`, normalised as docker does; what this machine cannot run is refused.
pub fn platform(_platform: &str) -> Result<String> {
    todo!()
}

/// `--rootfs PATH[:rw]`; a relative path is completed with `cwd`.
pub fn rootfs(_spec: &str, _cwd: &Path) -> Result<RootfsSource> {
    todo!()
}
