//! Why an archive is not unpacked.

use std::io;

use crate::sys;

/// A refusal or a failure. `entry` is the name as the archive has it, made printable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    #[error("the archive is not a valid tar archive: {0}")]
    Malformed(String),
    #[error("entry `{entry}` of the archive is refused: {reason}")]
    Refused { entry: String, reason: String },
    #[error("entry `{entry}` is a hard link to `{target}`, which the archive does not contain before it")]
    MissingTarget { entry: String, target: String },
    #[error(
        "entry `{entry}` belongs to {what} {id}, which is outside the ids of your containers: {range} \
         (a larger range in /etc/sub{what} is needed)"
    )]
    UnmappedId { entry: String, what: &'static str, id: u64, range: String },
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    #[error("the archive's files do not fit on the disk: it has room for {limit} bytes besides the {} MB that stay free", super::Limits::RESERVE >> 20)]
    TooLarge { limit: u64 },
    #[error("cannot unpack entry `{entry}`")]
    Sys { entry: String, source: sys::Error },
}

/// A name out of the archive, fit for a terminal.
pub(super) fn printable(name: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&name[..name.len().min(200)]).escape_debug().to_string();
    if name.len() > 200 { format!("{shown}…") } else { shown }
}
