//! A file system for a bench: ext4 with its journal, as most machines have it, fresh, and everybody's home in it.
//!
//! What a file system has been through shows: ext4 without a journal, as some virtual machines have it, looks at
//! every inode that was deleted in the last minutes before it gives out one. Only root can mount one; others
//! measure on what there is, which is said.

use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: u64 = 16 << 30;

/// Mounted until it is dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Mounts a fresh file system at `place`.
    pub fn mount(place: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: measured on the file system of {}", place.display());
            return None;
        }
        std::fs::create_dir_all(place).unwrap();
        let image = place.with_extension("ext4");
        std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
        let done = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        // Written at once what the kernel would otherwise go on writing behind the first minute's measurements.
        let at_once = "lazy_itable_init=0,lazy_journal_init=0";
        let made = done(Command::new("mkfs.ext4").args(["-q", "-E", at_once]).arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(place));
        if !made {
            eprintln!("no file system can be mounted: measured on that of {}", place.display());
            let _ = std::fs::remove_file(&image);
            return None;
        }
        // As the directory below it: each account finds its own way in.
        std::fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Some(Self { image, place: place.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
        let _ = std::fs::remove_file(&self.image);
    }
}
