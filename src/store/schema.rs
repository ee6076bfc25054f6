//! The tables, and the way from each version of them to the next.
//!
//! The version is SQLite's `user_version`: the number of [`MIGRATIONS`] that were applied. A migration that was
//! ever released is never edited; a change is one more. A database of a higher version is not touched.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Each brings the schema from version n (its index) to n+1.
///
/// Times are nanoseconds since the epoch; lists and maps are JSON. What `ps` does not need of a container
/// stands in a table of its own, so that a thousand rows are few pages.
const MIGRATIONS: [&str; 6] = [
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE containers (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        started INTEGER,
        finished INTEGER,
        phase TEXT NOT NULL,
        exit_code INTEGER,
        oom_killed INTEGER NOT NULL,
        error TEXT NOT NULL,
        auto_remove INTEGER NOT NULL,
        image TEXT NOT NULL,
        image_id TEXT,
        command TEXT NOT NULL,
        layers TEXT NOT NULL,
        labels TEXT NOT NULL
    ) STRICT;
    CREATE TABLE requests (seq INTEGER PRIMARY KEY, request TEXT NOT NULL) STRICT;
    CREATE TABLE images (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        manifest TEXT NOT NULL,
        created INTEGER,
        size INTEGER NOT NULL,
        layers TEXT NOT NULL,
        blobs TEXT NOT NULL,
        config TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tags (reference TEXT PRIMARY KEY, image_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    // When a name was given, and what a layer occupies on the disk (NULL until it is measured).
    "
    ALTER TABLE tags ADD COLUMN tagged INTEGER;
    ALTER TABLE layers ADD COLUMN disk INTEGER;
",
    // What a registry called an image: `reference` is `domain/path@digest`, `digest` the document of that digest (an
    // index or a manifest), which stays a blob for as long as the row does. One digest of an index belongs to as many
    // images as platforms of it were pulled, which `tags` cannot say.
    "
    CREATE TABLE digests (
        reference TEXT NOT NULL,
        image_id TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (reference, image_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX digests_by_image ON digests (image_id);
    INSERT INTO digests SELECT reference, image_id, substr(reference, instr(reference, '@') + 1)
        FROM tags WHERE instr(reference, '@') > 0;
    DELETE FROM tags WHERE instr(reference, '@') > 0;
",
    // Lists of images that `manifest` makes: an index, by its full name.
    "
    CREATE TABLE lists (reference TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
",
    // User-defined networks, and who has which address in them. A container's leases go with its row, by hand: they
    // come before it.
    "
    CREATE TABLE networks (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        v4 TEXT NOT NULL,
        v6 TEXT,
        internal INTEGER NOT NULL,
        labels TEXT NOT NULL,
        options TEXT NOT NULL
    ) STRICT;
    CREATE TABLE leases (
        network TEXT NOT NULL,
        container TEXT NOT NULL,
        ipv4 TEXT NOT NULL,
        ipv6 TEXT,
        mac TEXT NOT NULL,
        aliases TEXT NOT NULL,
        taken INTEGER NOT NULL,
        PRIMARY KEY (network, container),
        UNIQUE (network, ipv4),
        UNIQUE (network, mac)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX leases_by_container ON leases (container);
",
    // Addresses that nobody is given, by the user's names for them, and whether a network was said to be attachable.
    // Whether one of a lease's addresses was asked for: of those from before it is believed until the next start.
    "
    ALTER TABLE networks ADD COLUMN reserved TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE networks ADD COLUMN attachable INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE leases ADD COLUMN asked INTEGER NOT NULL DEFAULT 1;
",
];

/// The version that this kelp reads and writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

pub(super) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Applies what is missing, all or nothing. Several processes may try at once.
pub(super) fn migrate(db: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let from = usize::try_from(version(db)?).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(from) {
        db.execute_batch(migration)?;
    }
    db.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Moves into the tables what of the write-ahead log nobody reads or writes at the moment.
pub(super) fn checkpoint_beside_writers(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Moves the write-ahead log into the tables and begins a new one. The first write to an empty log waits for the
/// disk: it is made here, so that no `run` has to make it.
pub(super) fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let sql = "INSERT INTO meta VALUES ('log', '1')
               ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1";
    db.execute(sql, []).map(|_| ())
}

pub(super) fn store_id(db: &Connection) -> rusqlite::Result<String> {
    db.query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| row.get(0))
}

pub(super) fn set_store_id(db: &Connection, id: &str) -> rusqlite::Result<()> {
    db.execute("INSERT INTO meta VALUES ('store', ?1) ON CONFLICT (key) DO NOTHING", [id])?;
    Ok(())
}
