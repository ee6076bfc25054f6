//! `kill`: a signal to the container's first process.

use std::time::Duration;

use super::{find, stop};
use crate::engine::{Engine, Result, options};
use crate::shim::{self, client, stopping};
use crate::store::events::Event;

/// `kill -s KILL` returns when the container is dead; this long at the most.
const PATIENCE: Duration = Duration::from_secs(10);

/// `signal` as typed: `KILL`, `SIGKILL`, `9`.
pub fn kill(engine: &Engine, container: &str, signal: &str) -> Result<()> {
    let number = options::signal(signal)?;
    let (record, _) = find::running(engine, container, "kill")?;
    let dir = engine.store.container_dir(&record.id);
    match client::connect(&dir).and_then(|socket| client::kill(socket, number)) {
        Ok(()) => {}
        Err(shim::Error::Gone) => return Err(find::not_running(&record, "kill")),
        Err(e) => return Err(e.into()),
    }
    let _ = engine.store.append_event(&Event::of_container(&record, "kill").with("signal", number));
    if number != libc::SIGKILL {
        return Ok(());
    }
    match stopping::wait_for_end(&dir, Some(PATIENCE)) {
        Ok(_) | Err(shim::Error::Gone) => stop::settle(engine, &record),
        Err(e) => Err(e.into()),
    }
}
