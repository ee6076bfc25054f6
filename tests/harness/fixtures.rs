//! What all tests of a run share: the binary where any account can execute it, and real root file systems.
//!
//! `tests/setup` makes the Debian archives once, under the build directory. Made anew for every run: a
//! directory of links and copies that every account can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use super::account::SCRATCH;
use super::image::Layer;

/// A Debian release that `tests/setup` makes a root file system of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Bookworm,
    Trixie,
}

impl Release {
    fn file(self) -> &'static str {
        match self {
            Self::Bookworm => "debian-12.tar",
            Self::Trixie => "debian-13.tar",
        }
    }
}

/// The directory of this run. The ones of runs that are over are removed.
fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        open_to_all(Path::new(SCRATCH));
        for entry in fs::read_dir(SCRATCH).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("run-").and_then(|pid| pid.parse::<u32>().ok());
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let shared = Path::new(SCRATCH).join(format!("run-{}", std::process::id()));
        open_to_all(&shared);
        if rustix::process::geteuid().is_root() {
            for device in ["/dev/fuse", "/dev/net/tun"] {
                let _ = fs::set_permissions(device, fs::Permissions::from_mode(0o666));
            }
        }
        shared
    })
}

fn open_to_all(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let mode = if dir == Path::new(SCRATCH) { 0o1777 } else { 0o755 };
    // Another account's run may own it; then it is open already.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(mode));
}

/// Makes `name` in the shared directory unless it is there; whole or not at all.
fn once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let path = shared().join(name);
    if !path.exists() {
        let part = shared().join(format!("{name}.part"));
        make(&part);
        let mode = if name == "kelp" { 0o755 } else { 0o644 };
        fs::set_permissions(&part, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&part, &path).unwrap();
    }
    path
}

/// The program under test.
pub fn kelp() -> PathBuf {
    once("kelp", |part| {
        fs::copy(env!("CARGO_BIN_EXE_kelp"), part).unwrap();
    })
}

/// A root file system of busybox and its links, as a plain tar.
pub fn busybox() -> PathBuf {
    once("busybox.tar", |part| fs::write(part, Layer::busybox().bytes()).unwrap())
}

/// A Debian root file system, as a plain tar.
pub fn debian(release: Release) -> PathBuf {
    set_up(release.file())
}

/// About a hundred packages of Debian 12 that go together, as a plain tar.
pub fn packages() -> PathBuf {
    set_up("packages-12.tar")
}

/// What `tests/setup` has made.
fn set_up(name: &str) -> PathBuf {
    // Cargo puts the directory of a target triple between the build directory and this one, or does not.
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors();
    let made = above.map(|dir| dir.join("fixtures").join(name)).find(|file| file.exists());
    let made = made.unwrap_or_else(|| panic!("{name} is missing: run tests/setup as root first"));
    once(name, |part| {
        if fs::hard_link(&made, part).is_err() {
            fs::copy(&made, part).unwrap();
        }
    })
}
