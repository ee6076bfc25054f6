//! Whole files or none: written beside their place, then renamed into it.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, Mode, OFlags};

use super::Result;
use crate::sys::Context;

/// Replaces the file at `path` with `bytes`, mode 0600. A reader sees the old file or the new one. Not synced: a
/// power cut may leave either.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, false)
}

/// As [`write`], and on the disk when it returns.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, true)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir_fd = fs::open(dir, flags, Mode::empty()).op_on("open", dir)?;
    Ok(fs::fsync(dir_fd).op_on("sync", dir)?)
}

const OWNERS: Mode = Mode::RUSR.union(Mode::WUSR);

fn replace(path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.{unique}", std::process::id()));
    // A dead process of the same pid may have left one: hence no O_EXCL.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::open(&temporary, flags, OWNERS).op_on("create", &temporary)?;
    let mut file = std::fs::File::from(fd);
    let written = file.write_all(bytes).op_on("write", path).and_then(|()| {
        if sync {
            file.sync_all().op_on("sync", path)?;
        }
        fs::rename(&temporary, path).op_on("write", path)
    });
    if written.is_err() {
        let _ = fs::unlink(&temporary);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"first, and longer").unwrap();
        write_synced(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_file_and_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        let error = write(&dir.path().join("taken"), b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
