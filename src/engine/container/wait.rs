//! `wait`: block until a container has ended.

use super::attach::Ending;
use super::find;
use crate::engine::{Engine, Result};
use crate::shim::{self, client};
use crate::store::container::Status;

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
/// end is recorded without a complaint.
pub(super) fn ending(engine: &Engine, container: &str) -> Result<Ending> {
    let seen = wait(engine, container).and_then(|code| Ok((code, find::find(engine, container)?.1.error)));
    match seen {
        Ok((code, error)) => {
            let code = u8::try_from(code).unwrap_or(255);
            Ok(if error.is_empty() { Ending::Exited(code) } else { Ending::Lost(code) })
        }
        // A `--rm` container that somebody else has removed since.
        Err(e) if e.is_missing() => Ok(Ending::Lost(137)),
        Err(e) => Err(e),
    }
}
