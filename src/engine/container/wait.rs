//! `wait`: block until a container has ended.

use super::attach::Ending;
use super::find;
use crate::engine::{Engine, Result};
use crate::shim::{self, client};
use crate::store::container::Status;
use crate::store::id::ContainerId;

/// The exit code; of one that is not running, that of its last end.
pub fn wait(engine: &Engine, container: &str) -> Result<i32> {
    loop {
        let (record, observed) = find::settled(engine, container, "wait for")?;
        if observed.status != Status::Running {
            return Ok(observed.exit_code.unwrap_or(0));
        }
        match client::connect(&engine.store.container_dir(&record.id)).and_then(client::wait) {
            Ok(code) => return Ok(i32::from(code)),
            // Its shim is just ending, or was killed: the store knows.
            Err(shim::Error::Gone) => std::thread::sleep(std::time::Duration::from_millis(2)),
            Err(e) => return Err(e.into()),
        }
    }
}

/// As [`wait`], for a container whose shim broke off in mid-sentence. Where it was too busy for its last words, the
/// end is recorded without a complaint. A `--rm` container may be gone by now, or as good as gone, with what it said.
pub(super) fn ending(engine: &Engine, id: &ContainerId) -> Result<Ending> {
    let code = |code| u8::try_from(code).unwrap_or(255);
    match wait(engine, id.as_str()) {
        Ok(ended) => match find::find(engine, id.as_str()) {
            Ok((_, observed)) if !observed.error.is_empty() => Ok(Ending::Lost(code(ended))),
            _ => Ok(Ending::Exited(code(ended))),
        },
        Err(e) if e.is_missing() => {
            let exit = engine.store.layout().read_state(id).ok().flatten().and_then(|state| state.exit);
            Ok(Ending::Exited(exit.map_or(137, |exit| code(exit.code))))
        }
        Err(e) => Err(e),
    }
}
