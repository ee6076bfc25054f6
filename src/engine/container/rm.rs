//! `rm`: the container, its writable layer and its record are gone.

use std::time::{Duration, Instant};

use super::find;
use crate::engine::{Engine, Error, Result};
use crate::shim::{self, client, stopping};
use crate::store;
use crate::store::container::{ContainerRecord, Observed, Status};

/// How long a killed container may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a shim may take to kill its container and to clear up after it, before force is used on the shim itself.
const SHIM_CHANCE: Duration = Duration::from_secs(10);
/// How long a shim is waited for before the container is looked at anew.
const SHIM_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
pub struct RmOptions {
    /// A running container is killed first; one that does not exist is no error.
    pub force: bool,
}

/// Removes one container. Two at once: one does it, the other finds it gone. `false`: there was none, and `force`
/// makes that no error.
pub fn rm(engine: &Engine, container: &str, options: RmOptions) -> Result<bool> {
    let _room = engine.store.make_room();
    let begun = Instant::now();
    let mut seen = false;
    loop {
        let (record, observed) = match find::settled(engine, container, "remove") {
            Err(e) if e.is_missing() && options.force => return Ok(seen),
            other => other?,
        };
        seen = true;
        if observed.status == Status::Running {
            if !options.force {
                return Err(is_running(&record));
            }
            kill(engine, &record, &observed)?;
        }
        match remove(engine, &record) {
            Err(e) if e.is_missing() && (options.force || record.auto_remove) => return Ok(true),
            // A shim that was just starting runs by now, or one that was ending is gone.
            Ok(false) if begun.elapsed() < PATIENCE => {
                if options.force && begun.elapsed() > SHIM_CHANCE {
                    end_shim(engine, &record, &observed)?;
                }
            }
            Ok(false) => return Err(is_running(&record)),
            other => return other.map(|_| true),
        }
    }
}

fn is_running(record: &ContainerRecord) -> Error {
    Error::Conflict {
        verb: "remove",
        container: format!("\"/{}\"", record.name),
        reason: "container is running: stop the container before removing or force remove".into(),
        hint: Some(format!("kelp stop {0} && kelp rm {0}, or kelp rm -f {0}", record.name)),
    }
}

fn kill(engine: &Engine, record: &ContainerRecord, observed: &Observed) -> Result<()> {
    let dir = engine.store.container_dir(&record.id);
    let asked = client::connect(&dir)
        .and_then(|socket| client::kill(socket, libc::SIGKILL))
        .and_then(|()| stopping::wait_for_end(&dir, Some(SHIM_CHANCE)));
    match asked {
        Ok(Some(_)) | Err(shim::Error::Gone) => Ok(()),
        Ok(None) | Err(_) => end_shim(engine, record, observed),
    }
}

/// Kills a shim that cannot end its container, or cannot clear up after it (its file server does not answer), and the
/// container with it.
fn end_shim(engine: &Engine, record: &ContainerRecord, observed: &Observed) -> Result<()> {
    let shim = engine.store.read_state(&record.id)?.map(|s| (s.shim_pid, s.shim_start));
    let init = observed.pid.and_then(|pid| Some((pid, store::container::process_start(pid)?)));
    for (pid, start) in shim.into_iter().chain(init) {
        stopping::kill_named(pid, start)?;
    }
    Ok(())
}

/// `false`: a shim holds the container.
pub(super) fn remove(engine: &Engine, record: &ContainerRecord) -> Result<bool> {
    let lock = match engine.store.operation_lock(&record.id) {
        Err(store::Error::NoSuchContainer(_)) if engine.store.forget_lost_container(&record.id)? => {
            return Ok(true);
        }
        other => other?,
    };
    let Some(life) = engine.store.wait_life_lock(&record.id, SHIM_PATIENCE)? else { return Ok(false) };
    engine.store.remove_container(&record.id, |staged| engine.store.delete_tree(staged))?;
    drop((life, lock));
    Ok(true)
}
