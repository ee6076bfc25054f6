//! `attach`: this terminal joined to a running container.

use super::find;
use super::stored::Stored;
use crate::engine::{Engine, Result};
use crate::shim::client::{self, AttachOptions};
use crate::shim::terminal::DetachKeys;
use crate::shim::{self, protocol};
use crate::store::container::ContainerRecord;

/// Which streams are joined, and how one leaves. Raw mode, window size and signals follow from it.
#[derive(Debug, Clone)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Signals that reach this process are sent on (without a tty).
    pub sig_proxy: bool,
    /// As typed: `ctrl-p,ctrl-q`. `None`: the container's own, else the config's. Empty: no way out.
    pub detach_keys: Option<String>,
}

/// How an attachment, a run or an exec came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process ended with this code (128+n for signal n).
    Exited(u8),
    /// The container's shim was killed or died, and the container with it: its exit code is not its own.
    Lost(u8),
    /// The user detached, or never attached; the process runs on.
    Detached,
    /// Nobody reads our stdout any more (`| head`); the process runs on.
    OutputClosed,
}

/// Joins until the container ends or the user detaches.
pub fn attach(engine: &Engine, container: &str, attach: &Attach) -> Result<Ending> {
    let (record, _) = find::running(engine, container, "attach to")?;
    let dir = engine.store.container_dir(&record.id);
    let launch = Stored::of(&record)?.launch()?;
    // Only what the container takes is worth reading from the user.
    let attach = Attach { stdin: attach.stdin && launch.stdin, ..attach.clone() };
    let options = options(engine, &record, &attach, launch.terminal)?;
    let socket = client::connect(&dir)?;
    client::request_attach(&socket, &options)?;
    match client::attach_session(socket, &options) {
        Err(shim::Error::Gone) => super::wait::ending(engine, &record.id),
        other => Ok(ending(other?)),
    }
}

pub(in crate::engine) fn options(
    engine: &Engine,
    record: &ContainerRecord,
    attach: &Attach,
    tty: bool,
) -> Result<AttachOptions> {
    let own = || Stored::of(record).ok()?.request().ok()?.detach_keys;
    let detach_keys =
        attach.detach_keys.clone().or_else(own).unwrap_or_else(|| engine.config.detach_keys.clone());
    Ok(AttachOptions {
        stdin: attach.stdin,
        stdout: attach.stdout,
        stderr: attach.stderr,
        tty,
        sig_proxy: attach.sig_proxy,
        detach_keys: DetachKeys::parse(&detach_keys)?,
    })
}

pub(in crate::engine) fn ending(ending: client::Ending) -> Ending {
    match ending {
        client::Ending::Exited(code) => Ending::Exited(code),
        client::Ending::Detached => Ending::Detached,
        client::Ending::OutputClosed => Ending::OutputClosed,
    }
}

/// The streams as the shim's protocol names them.
pub(super) fn streams(attach: &Attach) -> protocol::Attach {
    protocol::Attach { stdin: attach.stdin, stdout: attach.stdout, stderr: attach.stderr }
}
