//! Compiled filters below the cache directory, one file each, named by everything that went in.
//!
//! A filter from here is loaded unseen, so nothing that another could have written is believed: directory and file
//! belong to this user and to nobody else's pen, the file is a regular one, and begins with a digest over its name
//! and its filter. What does not fit is treated as absent and written anew.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdir, open, openat, renameat, unlinkat};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

const DIRECTORY: &str = "seccomp";
const DIGEST: usize = 32;
/// A digest, and as many instructions as the kernel takes.
const LIMIT: usize = DIGEST + 4096 * 8;

/// 64 hex digits over all that a filter depends on, the compiler's version among it.
pub(super) fn key(text: &str, capabilities: u64, kernel: (u32, u32)) -> String {
    let mut hash = Sha256::new();
    let version = concat!(env!("CARGO_PKG_VERSION"), "/1");
    hash.update(format!("{version}\0{}\0{capabilities}\0{kernel:?}\0", std::env::consts::ARCH));
    hash.update(text);
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn digest(key: &str, filter: &[u8]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(filter);
    hash.finalize().into()
}

pub(super) fn read(cache: &Path, key: &str) -> Option<Vec<u8>> {
    let directory = directory(cache).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(&directory, key, flags, Mode::empty()).ok()?;
    trusted(&file, FileType::RegularFile).ok()?;
    let mut bytes = Vec::with_capacity(8 << 10);
    File::from(file).take(LIMIT as u64 + 1).read_to_end(&mut bytes).ok()?;
    let (found, filter) = bytes.split_at_checked(DIGEST)?;
    let sound = bytes.len() <= LIMIT && !filter.is_empty() && filter.len().is_multiple_of(8);
    (sound && found == digest(key, filter)).then(|| filter.to_vec())
}

pub(super) fn write(cache: &Path, key: &str, filter: &[u8]) -> io::Result<()> {
    let made = |path: &Path| match mkdir(path, Mode::RWXU) {
        Err(e) if e != rustix::io::Errno::EXIST => Err(e),
        _ => Ok(()),
    };
    if made(&cache.join(DIRECTORY)).is_err() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(cache)?;
        made(&cache.join(DIRECTORY))?;
    }
    let directory = directory(cache)?;
    let temporary = format!(".{key}.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(openat(&directory, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let written = file.write_all(&digest(key, filter)).and_then(|()| file.write_all(filter));
    let renamed = written.and_then(|()| Ok(renameat(&directory, &temporary, &directory, key)?));
    if renamed.is_err() {
        // The name is this process's own; a failure to remove it adds nothing to the one reported.
        let _ = unlinkat(&directory, &temporary, AtFlags::empty());
    }
    renamed
}

fn directory(cache: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = open(cache.join(DIRECTORY), flags, Mode::empty())?;
    trusted(&directory, FileType::Directory)?;
    Ok(directory)
}

fn trusted(file: &OwnedFd, kind: FileType) -> io::Result<()> {
    let status = fstat(file)?;
    let ours = status.st_uid == geteuid().as_raw() && status.st_mode & 0o022 == 0;
    let right = FileType::from_raw_mode(status.st_mode) == kind;
    if ours && right { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}
