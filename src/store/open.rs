//! Opening a store, and making one.
//!
//! On the path of every command and of every TAB: the usual case is a few `stat`s, one small file, and SQLite
//! opening its own. The connection writes no checkpoint when it is dropped, because every `run` would wait for it.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{self, Access, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::marker::{Marker, is_unfinished_marker};
use super::{Error, Layout, Result, Store, lock, schema};
use crate::sys::{self, Context, signal};

/// How often room is given up for one opening: others may be faster to take it.
const ATTEMPTS: u32 = 4;

impl Store {
    /// Opens the store at `root`, making it when nothing is there, and collects what dead processes left in
    /// staging. Refuses a directory that holds other things, a newer schema and a damaged database, and changes
    /// nothing then.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = match resolve(root)? {
            Some(layout) => layout,
            None => make_root(root)?,
        };
        match Marker::read(&layout)? {
            Some(marker) if marker.ready => trust(&layout).and_then(|()| Self::open_located(layout)),
            marker => make(layout, marker).inspect(Self::collect),
        }
    }

    /// The second half of [`Store::open`], after [`Store::locate`].
    pub fn open_located(layout: Layout) -> Result<Self> {
        Self::connect(layout, false).inspect(Self::collect)
    }

    /// Opens a store that another process of ours has opened before and named to this one: neither looked over nor
    /// collected anew.
    pub fn reopen(layout: Layout) -> Result<Self> {
        Self::connect(layout, false)
    }

    /// The store at `root`, if one is there and ready, without its database: for what can be begun before.
    pub fn locate(root: &Path) -> Result<Option<Layout>> {
        let Some(layout) = resolve(root)? else { return Ok(None) };
        match Marker::read(&layout)? {
            Some(marker) if marker.ready => trust(&layout).map(|()| Some(layout)),
            _ => Ok(None),
        }
    }

    /// Opens for looking only: makes, migrates, collects and records nothing. `None` where there is no store, or
    /// one of an older schema that has to be opened for writing first.
    pub fn open_read_only(root: &Path) -> Result<Option<Self>> {
        let Some(layout) = resolve(root)? else { return Ok(None) };
        match Marker::read(&layout)? {
            Some(marker) if marker.ready => trust(&layout)?,
            _ => return Ok(None),
        }
        let store = Self::connect(layout, true)?;
        let version = store.sql("read the version", schema::version(&store.db))?;
        Ok((version == schema::VERSION).then_some(store))
    }

    /// On a full disk gives up some of what was set aside: SQLite lays its index out anew for whoever is the first to open.
    fn connect(layout: Layout, read_only: bool) -> Result<Self> {
        let connect =
            || refuse_danger(&layout).and_then(|()| Self::try_to_connect(layout.clone(), read_only));
        for _ in 0..ATTEMPTS {
            match connect() {
                Err(error) if error.is_disk_full() && !read_only && layout.give_up_some_room() => {}
                other => return other,
            }
        }
        connect()
    }

    fn try_to_connect(layout: Layout, read_only: bool) -> Result<Self> {
        let path = layout.database();
        if !fs::lstat(&path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile) {
            return Err(Error::Malformed { path, reason: "the file is missing".into() });
        }
        // A file that may not grow (`ulimit -f`) is an error where it is written, and this process lives to tell it.
        let _ = signal::ignore_file_size_signal();
        let access =
            if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(&path, flags);
        let db = db.map_err(|e| database_error("open", &path, e))?;
        let mut store = Self { layout, db, read_only };
        let version = store.set_up();
        let version = store.sql("set up the connection", version)?;
        match version {
            v if v > schema::VERSION => {
                Err(Error::NewerSchema { path, found: version, known: schema::VERSION })
            }
            0 => Err(Error::Malformed { path, reason: "it holds no tables".into() }),
            v if v < schema::VERSION && !read_only => {
                store.sql("migrate the schema", schema::migrate(&store.db))?;
                Ok(store)
            }
            _ => Ok(store),
        }
    }

    /// Gives the schema's version.
    fn set_up(&mut self) -> rusqlite::Result<i64> {
        self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        self.db.busy_handler(Some(wait_for_writer))?;
        let version = schema::version(&self.db)?;
        if !self.read_only {
            // SQLite's own checkpoints leave the log as long as it was for the next process: see `tidy`.
            self.db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")?;
        }
        Ok(version)
    }

    /// Gives SQLite's failures their words.
    pub(super) fn sql<T>(&self, doing: &'static str, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|e| database_error(doing, &self.layout.database(), e))
    }
}

fn refuse_danger(layout: &Layout) -> Result<()> {
    if layout.is_dangerously_full() {
        return Err(sys::Error::with_subject("open", layout.database(), libc::ENOSPC).into());
    }
    Ok(())
}

fn database_error(doing: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt { path, source },
        Some(ErrorCode::CannotOpen) => match closed(&path) {
            Some(path) => Error::Closed { path },
            None => Error::Database { doing, path, source },
        },
        _ => Error::Database { doing, path, source },
    }
}

/// The first of SQLite's files that this process may not read and write. SQLite's words do not say so.
fn closed(database: &Path) -> Option<std::path::PathBuf> {
    let files = ["", "-wal", "-shm"].map(|end| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        std::path::PathBuf::from(name)
    });
    let wanted = Access::READ_OK | Access::WRITE_OK;
    files.into_iter().find(|file| fs::access(file, wanted) == Err(Errno::ACCESS))
}

/// SQLite's own waiting goes in steps of up to 100 ms, and its writers here are done in a tenth of one.
fn wait_for_writer(attempt: i32) -> bool {
    let pause = Duration::from_micros(100) * u32::try_from(attempt.clamp(1, 50)).unwrap_or(1);
    std::thread::sleep(pause);
    attempt < 2000
}

/// The store's real place; `None` when nothing is there. A link to the root is the user's own choice, a link
/// within is not the store's.
fn resolve(root: &Path) -> Result<Option<Layout>> {
    match std::fs::canonicalize(root) {
        Ok(real) => Ok(Some(Layout::new(real))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Ok(Err(e).op_on("open", root)?),
    }
}

/// Refuses pieces that are links, files, or another user's.
fn trust(layout: &Layout) -> Result<()> {
    let me = rustix::process::geteuid().as_raw();
    let untrusted = |path: &Path, reason| Err(Error::Untrusted { path: path.to_owned(), reason });
    for path in std::iter::once(layout.root().to_owned()).chain(layout.directories()) {
        match fs::lstat(&path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                return untrusted(&path, "it is a symbolic link");
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                return untrusted(&path, "it is not a directory");
            }
            Ok(stat) if stat.st_uid != me => return untrusted(&path, "it belongs to another user"),
            Ok(_) => {}
            Err(Errno::NOENT) => {
                return Err(Error::Malformed { path, reason: "the directory is missing".into() });
            }
            Err(e) => return Ok(Err(e).op_on("stat", &path)?),
        }
    }
    Ok(())
}

fn make_root(root: &Path) -> Result<Layout> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).op_on("create", root)?;
    resolve(root)?.ok_or_else(|| crate::sys::Error::with_subject("create", root, libc::ENOENT).into())
}

/// Makes directories, database and marker, or what is missing of them after somebody was killed here. One at a
/// time: whoever comes second finds it made.
fn make(layout: Layout, marker: Option<Marker>) -> Result<Store> {
    let lock = lock::lock_dir(layout.root(), FlockOperation::LockExclusive)?;
    let marker = match Marker::read(&layout)?.or(marker) {
        Some(marker) if marker.ready => {
            drop(lock);
            trust(&layout)?;
            return Store::connect(layout, false);
        }
        Some(marker) => marker,
        None => {
            refuse_foreign(&layout)?;
            let marker = Marker::fresh()?;
            fs::chmod(layout.root(), Mode::RWXU).op_on("chmod", layout.root())?;
            disinherit(layout.root())?;
            marker.write(&layout)?;
            marker
        }
    };
    for dir in layout.directories() {
        match fs::mkdir(&dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Ok(Err(e).op_on("create", &dir)?),
        }
    }
    trust(&layout)?;
    spread(&layout);
    make_database(&layout, &marker.store)?;
    Marker { ready: true, ..marker }.write(&layout)?;
    Store::connect(layout, false)
}

/// The files of images and containers have the access control lists that they have there, and not what the user's home
/// directory hands on to what is made in it.
fn disinherit(root: &Path) -> Result<()> {
    match fs::removexattr(root, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(e) => Ok(Err(e).op_on("remove the default access control list of", root)?),
    }
}

/// Tells ext4, chattr(1) `T`, that what is made in staging has nothing in common: each container and layer gets an
/// inode group of its own choice. An ext4 without a journal looks, for each new inode, at all that its group gave
/// back within the last minutes, so that a hundred short containers in one group cost the next one milliseconds.
/// Other file systems refuse the flag, and need none.
fn spread(layout: &Layout) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let spread = || {
        let dir = fs::open(layout.staging_dir(), flags, Mode::empty())?;
        fs::ioctl_setflags(&dir, fs::ioctl_getflags(&dir)? | fs::IFlags::TOPDIR)
    };
    if let Err(e) = spread() {
        tracing::debug!("the file system cannot spread directories: {e}");
    }
}

/// Synced as a whole: a marker that says `ready` must never outlive its database.
fn make_database(layout: &Layout, id: &str) -> Result<()> {
    let path = layout.database();
    // SQLite gives its other files the mode of this one.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::open(&path, flags, Mode::RUSR | Mode::WUSR).op_on("create", &path)?;
    let make = || -> rusqlite::Result<()> {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.execute_batch("PRAGMA journal_mode = WAL")?;
        schema::migrate(&db)?;
        schema::set_store_id(&db, id)?;
        // Not to be checkpointed again when it closes.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        schema::checkpoint(&db)
    };
    make().map_err(|e| database_error("make the tables", &path, e))
}

fn refuse_foreign(layout: &Layout) -> Result<()> {
    let root = layout.root();
    for entry in std::fs::read_dir(root).op_on("read", root)? {
        let entry = entry.op_on("read", root)?;
        if !is_unfinished_marker(Path::new(&entry.file_name())) {
            return Err(Error::Foreign { path: root.to_owned() });
        }
    }
    Ok(())
}
