//! What the cases do by hand.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()));
}

#[track_caller]
pub fn shell(dir: &Path, script: &str) -> String {
    let out =
        Command::new("sh").arg("-ec").arg(script).current_dir(dir).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "{script}: {}", out.status);
    String::from_utf8(out.stdout).unwrap()
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

pub fn chown(path: &Path, id: u32) {
    let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Runs a script as another user of the namespace.
pub fn as_user(id: u32, groups: &str, dir: &Path, script: &str) -> bool {
    let id = id.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id]);
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.args(["--groups", groups]),
    };
    command.args(["sh", "-ec", script]).current_dir(dir).stderr(Stdio::null()).stdout(Stdio::null());
    command.status().unwrap().success()
}
