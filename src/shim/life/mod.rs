//! A shim's life with its container, from root to exit record.
//!
//! The order at the end is a promise. The exit is written to `state.jsonl`, then the clients hear of it, then
//! the database, and only then is the life lock let go: whoever asks in between is told the truth by the state file.
//! What ended with `--rm` is not recorded any more: its state file and the free lock say that it is to be removed.

mod end;
mod network;
mod start;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use self::start::Started;
use super::exec::Execs;
use super::launch::Bundle;
use super::network::change::Changes;
use super::oom::Kills;
use super::protocol::{self, Failure, Reply};
use super::server::{self, Running};
use super::spawn::refused;
use super::waiting::Ready;
use crate::store::Layout;
use crate::store::id::ContainerId;
use crate::sys;

type Result<T> = std::result::Result<T, Failure>;

/// How much a shim stands back when it clears up, see nice(2).
const CLEARING_UP: i32 = 10;

/// A shim and what it was given to start.
#[derive(Debug)]
pub(super) struct Shim {
    pub layout: Layout,
    pub id: ContainerId,
    pub dir: PathBuf,
    pub client: OwnedFd,
    /// Held until nothing is left to be done.
    pub life: OwnedFd,
    pub program: OwnedFd,
    pub ready: Ready,
}

impl Shim {
    /// Starts the container and stays with it to its end. `settings` is the file of a [`Bundle`].
    pub(super) fn run(mut self, settings: OwnedFd) {
        let bundle = match read_bundle(settings) {
            Ok(bundle) => bundle,
            Err(failure) => return self.give_up(failure, false),
        };
        let auto_remove = bundle.launch.auto_remove;
        match self.start_container(bundle) {
            Ok(started) => self.serve(started),
            Err(failure) => self.give_up(failure, auto_remove),
        }
    }

    fn serve(self, started: Started) {
        let Started {
            child,
            mut attendants,
            stdio,
            first,
            listener,
            log,
            launch,
            spec,
            plan,
            filter,
            warnings,
            mut state,
        } = started;
        let reply = Reply::Started { pid: child.pid, warnings };
        let _ = protocol::send_reply(self.client.as_fd(), &reply);
        let kills = Kills::begin();
        let changes = Changes {
            layout: &self.layout,
            id: &self.id,
            program: &self.program,
            mounts: attendants.mounts.as_ref(),
            state: &mut state,
            publish: &launch.publish,
        };
        let (init, namespaces) = (plan.init, plan.namespaces.clone());
        // The rest of it would be kept in memory for as long as the container runs.
        drop(plan);
        let mut execs = Execs { init: &child.pidfd, namespaces, spec, filter, changes };
        let keep = |fd: &OwnedFd| fd.try_clone().map_err(|e| refused("keep the pidfd", &e));
        let ended = keep(&child.pidfd).and_then(|pidfd| {
            let running = Running {
                pidfd,
                needs: attendants.files.as_ref().map(|f| keep(&f.pidfd)).transpose()?,
                carrier: &mut attendants.carrier,
                stdio,
                listener,
                first,
                log,
                handler: &mut execs,
                stdin_once: launch.stdin_once,
            };
            server::serve(running).map_err(|e| refused("serve the container", &e))
        });
        if ended.is_err() {
            // Without its shim's loop the container has neither log nor clients; it does not go on unseen.
            child.kill();
        }
        end::end_stragglers(execs.namespaces.pid, &attendants);
        attendants.give_up_ports();
        let exit = end::exit_of(&ended, init, kills.as_ref());
        state.exit = Some(exit.clone());
        // A full disk can refuse this; the database is asked next, and the lock says the rest.
        let told = self.layout.write_state(&self.id, &state).is_ok();
        if let Ok(ended) = ended {
            ended.tell(u8::try_from(exit.code).unwrap_or(255));
            // A woken client is put on this processor, and its turn is before all that follows, as is everybody's.
            let _ = rustix::process::nice(CLEARING_UP);
            rustix::thread::sched_yield();
        }
        attendants.end();
        match (launch.auto_remove, told) {
            (true, true) => self.leave(),
            (auto_remove, _) => self.record_end(&exit, state.started, auto_remove),
        }
    }
}

/// Takes the file: it is memory.
fn read_bundle(settings: OwnedFd) -> Result<Bundle> {
    let doing = "read the container's settings";
    let json = protocol::read_file(&settings).map_err(|e| refused(doing, &e))?;
    drop(settings);
    serde_json::from_slice(&json).map_err(|e| refused(doing, &e))
}

pub(super) fn explain_namespace(error: &sys::Error) -> Failure {
    let hint = match error.errno() {
        libc::ENOSPC | libc::EUSERS => {
            Some("a limit in /proc/sys/user (max_*_namespaces) is reached".to_string())
        }
        libc::EAGAIN => Some("your limit of processes (ulimit -u) is reached".to_string()),
        _ => None,
    };
    Failure { hint, ..refused("make the container's namespaces", error) }
}

fn plain(message: &str) -> Failure {
    Failure { status: 125, message: message.into(), hint: None, taken: None }
}
