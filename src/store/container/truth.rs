//! What is true of a container: its row, its life lock and its state file, read together.
//!
//! The row says what was recorded, the lock whether a shim lives, the state file how far it got. A pid alone is
//! never believed: it goes with its start time and the boot it was seen in.

use std::time::Duration;

use super::state::boot_id;
use super::{ContainerRecord, Exit, Observed, Phase, ShimState, Status};
use crate::store::{Error, Result, Store};
use crate::sys::process;
use jiff::{SignedDuration, Timestamp};

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// After how long nobody will come any more to remove what ended with `--rm`.
const ABANDONED: SignedDuration = SignedDuration::from_secs(10);

/// The error of a container that ran when the host went down.
pub const REBOOTED: &str = "the host was rebooted";

/// What lock and state file say of a container whose row says `Launched`.
enum Finding {
    /// A shim lives, and has not started the first process yet.
    Starting,
    Running(ShimState),
    /// The shim has told the end; while it lives it clears up, and records the end itself.
    Ended {
        state: ShimState,
        exit: Exit,
        alive: bool,
    },
    /// The shim is gone and told no end: this one stands for it.
    Lost {
        state: ShimState,
        exit: Exit,
    },
    /// The shim is gone and had started nothing.
    NeverStarted,
}

impl Store {
    /// Row, lock and state file together. A shim that was lost is recorded (exit code 137, or 255 after a
    /// reboot), with its `die` event; where that cannot be written the truth is told all the same. What it left
    /// running is killed first: a first process can see to it that it outlives its shim.
    /// `NoSuchContainer` when it was removed since the record was read, or is about to be because it ended with
    /// `--rm`: a listing leaves it out.
    pub fn observe(&self, record: &ContainerRecord) -> Result<Observed> {
        if record.phase != Phase::Launched {
            return Ok(from_row(record));
        }
        let finding = self.ask(record)?;
        if let (true, Finding::Ended { exit, .. }) = (record.auto_remove, &finding) {
            if !self.read_only && Timestamp::now().duration_since(exit.finished) > ABANDONED {
                self.remove_all_ended()?;
            }
            return Err(Error::NoSuchContainer(record.id.to_string()));
        }
        let unrecorded = matches!(
            finding,
            Finding::Lost { .. } | Finding::NeverStarted | Finding::Ended { alive: false, .. }
        );
        if unrecorded && !self.read_only {
            if let Finding::Lost { state, .. } = &finding {
                kill_left_over(state)?;
            }
            return self.reconcile(record);
        }
        Ok(observed(record, finding))
    }

    /// The lock is asked first: a shim writes its last word before the lock falls.
    fn ask(&self, record: &ContainerRecord) -> Result<Finding> {
        let alive = self.life_lock_held(&record.id)?;
        let state = self.read_state(&record.id)?;
        Ok(match (alive, state) {
            (alive, Some(mut state)) => match (state.exit.take(), alive, state.started) {
                (Some(exit), alive, _) => Finding::Ended { state, exit, alive },
                (None, true, Some(_)) => Finding::Running(state),
                (None, true, None) => Finding::Starting,
                (None, false, Some(_)) => {
                    let exit = loss(&state)?;
                    Finding::Lost { state, exit }
                }
                (None, false, None) => Finding::NeverStarted,
            },
            (true, None) => Finding::Starting,
            (false, None) => Finding::NeverStarted,
        })
    }

    /// Records what became of a container whose shim is gone. Everything is asked again with the database held for
    /// writing: a start records `Launched` only after it has the life lock, so none can slip in between.
    fn reconcile(&self, record: &ContainerRecord) -> Result<Observed> {
        let writing = match self.begin_writing() {
            Ok(writing) => writing,
            Err(error) => {
                tracing::debug!(%error, container = %record.id, "loss not recorded");
                return Ok(observed(record, self.ask(record)?));
            }
        };
        let record = self.find_container(record.id.as_str())?;
        if record.phase != Phase::Launched {
            return Ok(from_row(&record));
        }
        let finding = self.ask(&record)?;
        // The event goes before the commit: told twice when somebody is killed in between, never not at all.
        let recorded = match &finding {
            Finding::Lost { state, exit } | Finding::Ended { state, exit, alive: false } => {
                self.record_exit(&record.id, exit, state.started)
            }
            Finding::NeverStarted => self.record_failed_start(&record.id, None, "the start was interrupted"),
            Finding::Starting | Finding::Running(_) | Finding::Ended { .. } => Ok(()),
        };
        let recorded = recorded.and_then(|()| self.sql("record the loss", writing.commit()));
        if let Err(error) = recorded {
            tracing::debug!(%error, container = %record.id, "loss not recorded");
        }
        Ok(observed(&record, finding))
    }
}

/// Its namespaces and mounts go with it, in a moment. Only ever the process that the state names, whatever a start
/// may have done since.
fn kill_left_over(state: &ShimState) -> Result<()> {
    if state.init_pid != 0 && state.boot_id == boot_id()? {
        process::kill_named(state.init_pid, state.init_start, PATIENCE)?;
    }
    Ok(())
}

/// The end that stands for the one the shim could not tell.
fn loss(state: &ShimState) -> Result<Exit> {
    let rebooted = state.boot_id != boot_id()?;
    let (code, signal, error) = if rebooted {
        (255, None, REBOOTED)
    } else {
        (137, Some(libc::SIGKILL), "the container's shim was killed")
    };
    let finished = Timestamp::now();
    Ok(Exit { code, signal, oom_killed: false, finished, error: error.into() })
}

fn observed(record: &ContainerRecord, finding: Finding) -> Observed {
    let base = from_row(record);
    match finding {
        Finding::Starting => Observed { starting: true, ..base },
        Finding::Running(state) => Observed {
            status: Status::Running,
            pid: Some(state.init_pid).filter(|pid| *pid != 0),
            started: state.started,
            exit_code: None,
            network: state.network,
            ..base
        },
        Finding::Ended { state, exit, .. } | Finding::Lost { state, exit } => ended(base, &state, exit),
        Finding::NeverStarted => Observed { error: "the start was interrupted".into(), ..base },
    }
}

fn ended(base: Observed, state: &ShimState, exit: Exit) -> Observed {
    Observed {
        status: Status::Exited,
        started: state.started.or(base.started),
        finished: Some(exit.finished),
        exit_code: Some(exit.code),
        error: exit.error,
        oom_killed: exit.oom_killed,
        ..base
    }
}

/// What the row alone says. Until its first process runs, a launched container is what it was before.
fn from_row(record: &ContainerRecord) -> Observed {
    Observed {
        status: match record.phase {
            Phase::Created => Status::Created,
            Phase::Launched if record.finished.is_none() => Status::Created,
            Phase::Launched | Phase::Exited => Status::Exited,
            Phase::Dead => Status::Dead,
        },
        starting: false,
        pid: None,
        started: record.started,
        finished: record.finished,
        exit_code: record.exit_code,
        error: record.error.clone(),
        oom_killed: record.oom_killed,
        network: None,
    }
}
