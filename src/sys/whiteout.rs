//! The device that hides a name of the layers below, character device 0:0: made, and asked about.
//!
//! Where a file system or a kernel refuses it (an overlay itself, file systems without device nodes, user namespaces
//! before Linux 5.8), a file `.wh.NAME` hides NAME; everywhere else such a file is a file like any other, as it is to
//! the kernel's overlay. Which of the two it is, all who write and read layers have to agree upon: by this module.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{Context, Result};

/// What a device is made as to find out whether it can be.
const PROBE: &str = ".whiteout-probe";

pub fn make(dir: impl AsFd, name: &Path) -> rustix::io::Result<()> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Whether [`make`] failed because none can be made there. Whatever else it fails for (a full disk, a name that is
/// taken) comes after that question.
pub fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::NOTSUP | Errno::INVAL | Errno::ACCESS)
}

/// Whether devices hide names in the file system of `dir`, a directory that nobody sees from inside: by making one
/// there and taking it away.
pub fn can_be_made(dir: impl AsFd) -> Result<bool> {
    let dir = dir.as_fd();
    match make(dir, Path::new(PROBE)) {
        Ok(()) => match rustix::fs::unlinkat(dir, PROBE, AtFlags::empty()) {
            // Another who asks took it for one that was left behind.
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(e) => Err(e).op("remove a device that was made to see whether it can be"),
        },
        // Only what can be made is there, or has no room left.
        Err(Errno::EXIST) => {
            let _ = rustix::fs::unlinkat(dir, PROBE, AtFlags::empty());
            Ok(true)
        }
        Err(e) => Ok(!is_refusal(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_the_question() {
        let dir = tempfile::tempdir().unwrap();
        let open = crate::sys::path::open_directory(dir.path()).unwrap();
        let first = can_be_made(&open).unwrap();
        assert_eq!(make(&open, Path::new("x")).is_ok(), first);
        assert_eq!(can_be_made(&open).unwrap(), first);
        assert!(!dir.path().join(PROBE).exists());
    }
}
