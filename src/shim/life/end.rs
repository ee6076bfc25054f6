//! What a shim does at its container's end: whoever is left of it, how it died, and what becomes of its record.

use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;

use super::{Result, Shim};
use crate::runtime::plan::Namespace;
use crate::shim::network::way::Way;
use crate::shim::oom::Kills;
use crate::shim::protocol::{self, Failure, Reply};
use crate::shim::root;
use crate::shim::server::Ended;
use crate::store::Store;
use crate::store::container::{Exit, ended};
use crate::sys::process::{self, Child, WaitStatus};

/// What serves a container, and is let go after it.
pub(super) struct Attendants {
    /// Who serves its files, where they are not the kernel's business.
    pub files: Option<Child>,
    /// Who carries its packets.
    pub carrier: Way,
    /// Its mount namespace: held, so that whoever waits for its end does not wait for all the unmounting.
    pub mounts: Option<OwnedFd>,
}

impl Attendants {
    fn pids(&self) -> Vec<u32> {
        self.files.iter().map(|f| f.pid).chain(self.carrier.pid()).collect()
    }

    /// Whoever hears of the end may have its ports.
    pub(super) fn give_up_ports(&mut self) {
        if self.carrier.holds_ports() {
            std::mem::take(&mut self.carrier).end();
        }
    }

    pub(super) fn end(self) {
        self.carrier.end();
        drop(self.mounts);
        if let Some(files) = self.files {
            root::end_of(&files);
        }
    }
}

impl Shim {
    /// The container goes, by this shim's hands or by another's.
    pub(super) fn leave(self) {
        drop(self.life);
        // Whatever is left, the next one takes.
        let _ = ended::remove_ended(&self.layout);
    }

    pub(super) fn record_end(&self, exit: &Exit, started: Option<Timestamp>, auto_remove: bool) {
        // Without the database the next command finds state.jsonl and records the end itself.
        let Ok(store) = Store::reopen(self.layout.clone()) else { return };
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        let _ = store.record_exit(&self.id, exit, started);
        if auto_remove {
            self.remove(&store);
        }
        // Nobody waits for this process any more; the next command is spared a long log.
        let _ = store.tidy();
    }

    fn remove(&self, store: &Store) {
        let _ = store.remove_container(&self.id, |staged| store.delete_tree(staged));
    }

    /// The start failed: the record says why, or there is none any more, and then the command hears of it.
    pub(super) fn give_up(&self, failure: Failure, auto_remove: bool) {
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        if let Ok(store) = Store::reopen(self.layout.clone()) {
            let recorded =
                store.record_failed_start(&self.id, Some(i32::from(failure.status)), &failure.message);
            if recorded.is_ok() && auto_remove {
                self.remove(&store);
            }
        }
        let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
    }
}

/// With the host's pid namespace the first process's end is not that of the others: they became our children.
pub(super) fn end_stragglers(pid: Namespace, attendants: &Attendants) {
    if pid != Namespace::Host {
        return;
    }
    let attendants = attendants.pids();
    while let Ok(mut children) = process::children() {
        // They have still to write, and to send, what the kernel has not handed over.
        children.retain(|child| !attendants.contains(child));
        for child in &children {
            let _ = process::kill(*child, libc::SIGKILL);
        }
        if children.is_empty() || process::wait_any().is_err() {
            break;
        }
    }
}

/// The end as it is recorded. An error is the shim's own: it could not serve the container, and has killed it.
pub(super) fn exit_of(ended: &Result<Ended>, init: bool, kills: Option<&Kills>) -> Exit {
    let status = ended.as_ref().map_or(WaitStatus::Signaled(libc::SIGKILL), |e| e.status);
    Exit {
        code: i32::from(status.code()),
        signal: ended.as_ref().ok().and_then(|e| e.status.signal()),
        oom_killed: ended.as_ref().is_ok_and(|e| ran_out_of_memory(e, init, kills)),
        finished: Timestamp::now(),
        error: ended.as_ref().err().map(|f| f.message.clone()).unwrap_or_default(),
    }
}

/// Whether it died as the kernel's victim, see [`crate::shim::oom`]. `init`: the first process is kelp's own, and ends as the
/// program did.
fn ran_out_of_memory(ended: &Ended, init: bool, kills: Option<&Kills>) -> bool {
    let died = match ended.status {
        WaitStatus::Signaled(signal) => signal == libc::SIGKILL,
        WaitStatus::Exited(code) => init && code == WaitStatus::Signaled(libc::SIGKILL).code(),
    };
    died && !ended.killed && kills.is_some_and(Kills::any)
}
