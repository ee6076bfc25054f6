//! Turns at writing: those who want to change the database queue up in the kernel.
//!
//! SQLite lets a second writer sleep and ask again. Fifty starts at once did that a thousand times, and whoever asked
//! at the right moment went first. A turn is an order among those who would wait anyway. What keeps the tables whole
//! is SQLite's own lock: where no turn can be had (the disk is full and the file not there yet), it is done without.

use std::os::fd::OwnedFd;

use rusqlite::{Transaction, TransactionBehavior};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Layout, Result, Store};
use crate::sys::Context;

/// Held while one writes. Ends with its holder, however that ends.
#[derive(Debug)]
pub(super) struct Turn(#[allow(dead_code, reason = "held, not read")] Option<OwnedFd>);

/// A transaction that writes, in its turn. Dropped, it is as if it had never been.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    // The order matters: the turn ends after the transaction.
    transaction: Transaction<'a>,
    #[allow(dead_code, reason = "held, not read")]
    turn: Turn,
}

impl Writing<'_> {
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()
    }
}

impl Layout {
    /// Waits for those who came before. Not to be asked for by one who has a turn.
    pub(super) fn turn(&self) -> Turn {
        Turn(self.lock_file("writing.lock", FlockOperation::LockExclusive).ok().flatten())
    }

    /// The lock that `name` stands for, made when it is not there. `None`: somebody has it, and `operation` does not
    /// wait.
    pub(super) fn lock_file(&self, name: &str, operation: FlockOperation) -> Result<Option<OwnedFd>> {
        let path = self.root().join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::open(&path, flags, Mode::RUSR | Mode::WUSR).op_on("open", &path)?;
        match rustix::io::retry_on_intr(|| fs::flock(&file, operation)) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => Ok(locked.op_on("lock", &path).map(|()| Some(file))?),
        }
    }
}

impl Store {
    pub(super) fn begin_writing(&self) -> rusqlite::Result<Writing<'_>> {
        let turn = self.turn();
        let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        Ok(Writing { transaction, turn })
    }
}
