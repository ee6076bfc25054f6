//! Why the store refused or failed: one variant per consequence for the caller.

use std::path::{Path, PathBuf};

use super::id::{ContainerId, InvalidName};
use crate::error::Hint;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sys(#[from] crate::sys::Error),
    /// The directory holds things and no marker: it is somebody else's.
    #[error("{} is not a kelp store: it has files in it and no marker", .path.display())]
    Foreign { path: PathBuf },
    /// A piece of the store is not what the store made: a link, another user's, of another type.
    #[error("{} cannot be trusted as a part of the store: {reason}", .path.display())]
    Untrusted { path: PathBuf, reason: &'static str },
    #[error("{} was written by a newer kelp: its schema is {found}, this kelp knows up to {known}", .path.display())]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    /// The database file is damaged, or not one. Nothing was changed.
    #[error("the database {} is damaged", .path.display())]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    /// The database did not do what was asked: disk full, locked for too long, unreadable.
    #[error("cannot {doing} in the database {}", .path.display())]
    Database { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    /// A file of the database may not be opened by its owner.
    #[error("cannot open the database {}: permission denied", .path.display())]
    Closed { path: PathBuf },
    /// A file of the store does not hold what the store writes there.
    #[error("{} is damaged: {reason}", .path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("the container name `{name}` is already in use by container {holder}")]
    NameTaken { name: String, holder: ContainerId },
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// docker's words.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// docker's words.
    #[error("Address already in use")]
    AddressTaken,
    /// docker's words, and why that is final.
    #[error(
        "no available {family} addresses on this network's address pools: {network} ({id}): containers that run, or that \
         were told which address to have (--ip), have all of them"
    )]
    AddressesExhausted { family: &'static str, network: String, id: String },
    #[error("no address {mac} in network {network}: another container of the network has it")]
    MacTaken { network: String, mac: String },
    #[error("no address {address} in network {network}: {reason}")]
    NoAddress { network: String, address: String, reason: &'static str },
    /// More than one id begins so.
    #[error("`{prefix}` is the beginning of more than one {what} id")]
    AmbiguousPrefix { what: &'static str, prefix: String },
    /// An image, a layer or a blob that a record needs is not in the store (any more).
    #[error("{what} {digest} is not in the store")]
    MissingContent { what: &'static str, digest: String },
    #[error("content has the digest {found}, {expected} was expected")]
    DigestMismatch { expected: String, found: String },
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The kernel refused a user namespace.
    #[error("this machine lets you make no user namespace")]
    NoUserNamespace(#[source] crate::sys::Error),
    /// The maps of a new user namespace could not be written; `helpers`: by newuidmap and newgidmap.
    #[error("cannot map sub-ids{}", if *.helpers { " with newuidmap and newgidmap" } else { "" })]
    IdMap { source: crate::sys::Error, helpers: bool },
    /// A job inside the user namespace failed; the text is its own.
    #[error("{message}")]
    Job { message: String, hint: Option<String> },
}

impl Error {
    /// Whether the disk, or the user's share of it, has no room.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_of_full_disk(source),
            Self::Sys(e) => e.is(libc::ENOSPC) || e.is(libc::EDQUOT),
            _ => false,
        }
    }
}

/// What lets the user read and write a file of the store again.
fn give_back(path: &Path) -> String {
    let own = rustix::process::geteuid().as_raw();
    match rustix::fs::lstat(path) {
        Ok(stat) if stat.st_uid != own => {
            format!("it belongs to another user (as root: chown {own} {})", path.display())
        }
        _ => format!("chmod 600 {} lets you read and write it again", path.display()),
    }
}

const FREE_SOME: &str = "free some space on the disk that holds the store";

/// SQLite says so of its tables and its log, and of its index only that it cannot be made larger.
fn is_of_full_disk(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|e| e.extended_code);
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        || extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Foreign { .. } => "choose an empty directory, or one that does not exist yet",
            Self::Untrusted { .. } => {
                "move it away, or set the store's place in config.toml; nothing was changed"
            }
            Self::NewerSchema { .. } => "use the newer kelp, or another store; nothing was changed",
            Self::Corrupt { .. } => {
                "nothing was changed; restore the file from a backup, or move the whole store away to begin anew"
            }
            Self::Database { source, .. } if is_of_full_disk(source) => FREE_SOME,
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy) => {
                    "another process has held the database for too long; try again"
                }
                _ => return None,
            },
            Self::Closed { path } => {
                return Some(give_back(path));
            }
            Self::Job { hint, .. } => return hint.clone(),
            Self::NoUserNamespace(_) => return Some(super::userns::why_refused()),
            Self::IdMap { helpers: true, .. } => {
                "the ranges in /etc/subuid and /etc/subgid must be yours, and newuidmap and newgidmap set-uid root \
                 (Debian, Ubuntu: apt install --reinstall uidmap)"
            }
            Self::NameTaken { name, .. } => {
                return Some(format!("remove that container first (kelp rm {name}), or choose another name"));
            }
            Self::MissingContent { .. } => {
                "`kelp system check` says what is missing; load, import or pull the image again"
            }
            Self::AmbiguousPrefix { .. } => "give more digits of the id",
            Self::Sys(e) if e.is(libc::ENOSPC) => FREE_SOME,
            Self::Sys(e) if e.is(libc::EDQUOT) => "your disk quota is used up: free some space",
            _ => return None,
        };
        Some(hint.into())
    }
}
