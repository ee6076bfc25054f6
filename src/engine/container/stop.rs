//! `stop` and `restart`: the stop signal, patience, then SIGKILL.

use std::path::Path;
use std::time::Duration;

use super::stored::Stored;
use super::{find, start};
use crate::engine::{Engine, Error, Result, options};
use crate::shim::stopping::{self, Reach};
use crate::shim::{self, client};
use crate::store;
use crate::store::container::{ContainerRecord, Status};
use crate::store::events::Event;

/// How long a shim may take to clear up once its container is dead.
const CLEARING_UP: Duration = Duration::from_secs(10);

/// `None` means the container's own setting.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds; negative waits for ever.
    pub timeout: Option<i64>,
    pub signal: Option<String>,
}

/// Stopping a container that does not run succeeds and does nothing.
///
/// A first process that cannot receive the signal (PID 1 of its namespace, no handler, not waiting for it) is not
/// waited for: the kernel has dropped the signal, and time changes nothing about that.
pub fn stop(engine: &Engine, container: &str, stop: &StopOptions) -> Result<()> {
    let named = stop.signal.as_deref().map(options::signal).transpose()?;
    let (record, observed) = find::settled(engine, container, "stop")?;
    if observed.status != Status::Running {
        return Ok(());
    }
    let dir = engine.store.container_dir(&record.id);
    let settings = Stored::of(&record)?.launch()?;
    let signal = named.unwrap_or(settings.stop_signal);
    let is_deaf = || {
        observed.pid.is_some_and(|pid| !settings.host_pids && stopping::reach(pid, signal) == Reach::Dropped)
    };
    let seconds = stop.timeout.or(settings.stop_timeout).unwrap_or(engine.config.stop_timeout);
    // An event that cannot be written, on a disk that has become read-only, keeps nobody from stopping.
    let _ = engine.store.append_event(&Event::of_container(&record, "kill").with("signal", signal));
    // Asked on both sides of the signal: a program that is just starting may install its handler in between, and
    // one that received the signal may have put its handler away.
    let was_deaf = is_deaf();
    let sent = send(&dir, signal)?;
    if sent && ((was_deaf && is_deaf()) || !ends(&dir, u64::try_from(seconds).ok())?) {
        send(&dir, libc::SIGKILL)?;
        ends(&dir, None)?;
    }
    settle(engine, &record)?;
    let _ = engine.store.append_event(&Event::of_container(&record, "stop"));
    Ok(())
}

/// `false`: nobody is there any more to send it to.
fn send(dir: &Path, signal: i32) -> Result<bool> {
    match client::connect(dir).and_then(|socket| client::kill(socket, signal)) {
        Ok(()) => Ok(true),
        Err(shim::Error::Gone) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether it ends within so many seconds; `None` waits for ever.
fn ends(dir: &Path, seconds: Option<u64>) -> Result<bool> {
    match stopping::wait_for_end(dir, seconds.map(Duration::from_secs)) {
        Ok(code) => Ok(code.is_some()),
        Err(shim::Error::Gone) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// Waits until the shim has recorded the end and let go, so that the next command finds the container at rest.
pub(super) fn settle(engine: &Engine, record: &ContainerRecord) -> Result<()> {
    match engine.store.wait_life_lock(&record.id, CLEARING_UP) {
        Ok(Some(_)) => find::find(engine, record.id.as_str()).map(|_| ()).or_else(gone_is_fine),
        Ok(None) => Err(Error::Conflict {
            verb: "stop",
            container: record.name.to_string(),
            reason: "its shim does not end".into(),
            hint: Some(format!("kelp rm -f {}", record.name)),
        }),
        Err(store::Error::NoSuchContainer(_)) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A `--rm` container is removed by its own shim.
fn gone_is_fine(error: Error) -> Result<()> {
    if error.is_missing() { Ok(()) } else { Err(error) }
}

/// `stop` and `start`; one that does not run is just started.
pub fn restart(
    engine: &Engine,
    container: &str,
    options: &StopOptions,
    warn: &mut dyn FnMut(&[String]),
) -> Result<()> {
    let (record, _) = find::find(engine, container)?;
    stop(engine, record.id.as_str(), options)?;
    start::start(engine, record.id.as_str(), None, warn)?;
    let _ = engine.store.append_event(&Event::of_container(&record, "restart"));
    Ok(())
}
