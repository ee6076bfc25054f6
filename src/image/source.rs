//! Where archives come from: a file, standard input, a URL.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Error, Result};
use crate::registry;

/// Bytes on their way in.
pub type Source = Box<dyn Read + Send>;

/// Opens a file for reading. A directory is refused at once.
pub fn file(path: &Path) -> Result<Source> {
    let failed = |source| Error::Read { what: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(Box::new(file))
}

pub fn stdin() -> Source {
    Box::new(std::io::stdin())
}

/// A download, and what it is called: its URL without what could be a secret.
pub fn url(client: &registry::Client, url: &str) -> Result<(String, Source)> {
    let download = registry::download(client, url)?;
    Ok((download.name().to_owned(), Box::new(download)))
}
