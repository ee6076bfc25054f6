//! What ended with `--rm`, and its removal.
//!
//! Nobody waits for it, and opening the database costs more than removing: so one shim at a time does it, for all
//! whose shims have let go of them so far. A shim that finds another at it ends. None is forgotten: a shim lets its
//! container go before it asks for the lock, and the one that has the lock looks once more after giving it away.
//! What is left when that one is killed the next one takes, or [`Store::observe`] after a while. Until then such a
//! container is there for whoever wants its name or its image, and for nobody else: `observe` says that it is gone.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::lifecycle::exit_events;
use super::row::COLUMNS;
use super::{ContainerRecord, Exit};
use crate::store::events::Event;
use crate::store::lock::LifeLock;
use crate::store::{Layout, Result, Store, crash};

/// How long is waited for others to end. Starts in a row take a tenth of it each.
const GATHERING: Duration = Duration::from_millis(50);

/// Removes the containers that ended with `--rm`, this process's own and those of others, unless somebody else is
/// about to. The caller has let go of its container's life lock, and is about to end.
pub fn remove_ended(layout: &Layout) -> Result<()> {
    let Some(mut lock) = begin(layout)? else { return Ok(()) };
    // Told now, so that none of those who end meanwhile does it.
    let tidying = layout.announce_tidying();
    // First of all: those who open the database beside somebody have less to do.
    let store = Store::reopen(layout.clone())?;
    std::thread::sleep(GATHERING);
    // Of what takes long to delete nobody shall wait for the end.
    drop(tidying);
    loop {
        store.remove_all_ended()?;
        drop(lock);
        if store.ended()?.is_empty() {
            break;
        }
        match begin(layout)? {
            Some(again) => lock = again,
            None => break,
        }
    }
    store.tidy()
}

/// `None` when somebody is at it.
fn begin(layout: &Layout) -> Result<Option<OwnedFd>> {
    layout.lock_file("removing.lock", FlockOperation::NonBlockingLockExclusive)
}

/// A container that has ended, and the right to remove it.
struct Ended {
    record: ContainerRecord,
    exit: Exit,
    /// Also tells the collector of staging that somebody is at it.
    #[allow(dead_code, reason = "held, not read")]
    life: LifeLock,
}

impl Store {
    pub(super) fn remove_all_ended(&self) -> Result<()> {
        match self.remove_those_ended() {
            // What is to go makes the room that its going needs.
            Err(error) if error.is_disk_full() => {
                let _room = self.make_room();
                for Ended { record, .. } in &self.ended()? {
                    self.empty_container(&record.id)?;
                }
                self.remove_those_ended()
            }
            other => other,
        }
    }

    fn remove_those_ended(&self) -> Result<()> {
        let ended = self.ended()?;
        let mut withdrawn = Vec::new();
        for Ended { record, .. } in &ended {
            withdrawn.extend(self.withdraw_container(&record.id)?);
        }
        crash::point("remove ended: withdrawn");
        if let Err(error) = self.forget_ended(&ended) {
            // Not into the way of what could be put back.
            let restored = ended.iter().map(|e| self.restore_container(&e.record.id));
            restored.for_each(drop);
            return Err(error);
        }
        crash::point("remove ended: forgotten");
        let events: Vec<Event> = ended.iter().flat_map(events).collect();
        self.tell(&events);
        for staged in withdrawn {
            self.delete_tree(&staged)?;
        }
        crash::point("remove ended: deleted");
        let mut images: Vec<&String> = ended.iter().filter_map(|e| e.record.image_id.as_ref()).collect();
        images.sort_unstable();
        images.dedup();
        images.into_iter().try_for_each(|image| self.remove_orphaned_layers(image))
    }

    /// Those whose shims have told the end and are gone.
    fn ended(&self) -> Result<Vec<Ended>> {
        let sql = format!("SELECT {COLUMNS}, '' FROM containers WHERE auto_remove AND phase = 'launched'");
        let mut ended = Vec::new();
        for record in self.list(&sql, [])? {
            // A listing may be overtaken: what cannot be had is somebody else's.
            let Ok(Some(life)) = self.life_lock(&record.id) else { continue };
            if let Some(exit) = self.read_state(&record.id)?.and_then(|state| state.exit) {
                ended.push(Ended { record, exit, life });
            }
        }
        Ok(ended)
    }

    fn forget_ended(&self, ended: &[Ended]) -> Result<()> {
        let forget = || -> rusqlite::Result<()> {
            let writing = self.begin_writing()?;
            for Ended { record, .. } in ended {
                self.forget_row(&record.id)?;
            }
            writing.commit()
        };
        self.sql("forget the containers", forget())
    }
}

fn events(ended: &Ended) -> Vec<Event> {
    let Ended { record, exit, .. } = ended;
    let died = exit_events(record, exit).into_iter().map(|event| event.at(exit.finished));
    died.chain([Event::of_container(record, "destroy")]).collect()
}
