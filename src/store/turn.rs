//! Turns at writing: those who want to change the database queue up in the kernel.
//!
//! SQLite lets a second writer sleep and ask again. Fifty starts at once did that a thousand times, and whoever asked
//! at the right moment went first. A turn is an order among those who would wait anyway. What keeps the tables whole
//! is SQLite's own lock: where no turn can be had (the disk is full and the file not there yet), it is done without.

use std::os::fd::OwnedFd;

use rusqlite::{Transaction, TransactionBehavior};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Layout, Store};

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
        Turn(self.lock_file("writing.lock", FlockOperation::LockExclusive))
    }

    /// The lock that `name` stands for, made when it is not there. `None` where it cannot be had.
    pub(super) fn lock_file(&self, name: &str, operation: FlockOperation) -> Option<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::open(self.root().join(name), flags, Mode::RUSR | Mode::WUSR).ok()?;
        loop {
            match fs::flock(&file, operation) {
                Err(Errno::INTR) => {}
                locked => return locked.ok().map(|()| file),
            }
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
