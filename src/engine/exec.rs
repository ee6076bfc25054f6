//! `exec`: one more process in a running container.

use super::container::attach::{self, Attach, Ending};
use super::container::find;
use super::{Engine, Error, Result};
use crate::shim::{self, client, launch, terminal};
use crate::store::events::Event;

/// What `exec` was asked for. Fields as in [`super::request::CreateRequest`].
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Never empty.
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
    pub tty: bool,
}

/// Runs the command by the container's shim. `attach: None` is `-d`.
pub fn exec(
    engine: &Engine,
    container: &str,
    request: &ExecRequest,
    attach: Option<&Attach>,
) -> Result<Ending> {
    let (record, _) = find::running(engine, container, "exec in")?;
    let asked = launch::ExecRequest {
        command: request.command.clone(),
        env: request.env.clone(),
        user: request.user.clone(),
        workdir: request.workdir.clone(),
        privileged: request.privileged,
        terminal: request.tty,
        size: request.tty.then(terminal::size).flatten(),
    };
    let json = serde_json::to_vec(&asked).map_err(|e| Error::Invalid {
        what: "exec request",
        value: String::new(),
        reason: e.to_string(),
    })?;
    let socket = client::connect(&engine.store.container_dir(&record.id)).map_err(|e| match e {
        shim::Error::Gone => find::not_running(&record, "exec in"),
        e => e.into(),
    })?;
    let action = format!("exec_start: {}", request.command.join(" "));
    // One that cannot be written, on a disk that is full or has become read-only, does not keep anybody from looking.
    let _ = engine.store.append_event(&Event::of_container(&record, &action));
    let Some(attach) = attach else {
        client::exec_detached(socket, &json, request.tty)?;
        return Ok(Ending::Detached);
    };
    let options = attach::options(engine, &record, attach, request.tty)?;
    match client::exec_session(socket, &json, &options) {
        // The container ended meanwhile, and everything in it.
        Err(shim::Error::Gone) => Ok(Ending::Exited(137)),
        other => Ok(attach::ending(other?)),
    }
}
