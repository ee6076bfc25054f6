//! Accounts: whom the tests run kelp as.
//!
//! As root (CI) each test borrows an account of a small pool, made on first use, with a sub-id range of its
//! own; no two tests share one, in this process or another. As a plain user every test runs as that user.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// Everything of the tests that lies outside the build directory: short paths that any user can reach.
pub const SCRATCH: &str = "/var/tmp/kelp-tests";

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A range of sub-ids.
    Ranges,
    /// No range: everything is done with one id.
    Single,
    Root,
}

#[derive(Debug)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// First and length of the sub-uid range.
    pub range: Option<(u32, u32)>,
    /// Whether only this test uses the account's ids.
    pub exclusive: bool,
    /// Held for as long as the account is borrowed.
    _lock: Option<File>,
}

impl Account {
    /// Borrows an account of this kind, waiting for one to come free.
    pub fn borrow(kind: Kind) -> Self {
        let me = rustix::process::geteuid().as_raw();
        if kind == Kind::Root || me != 0 {
            return Self::own(kind);
        }
        let prefix = if kind == Kind::Single { "kelpone" } else { "kelptest" };
        fs::create_dir_all(SCRATCH).unwrap();
        loop {
            for n in 0..16 {
                let name = format!("{prefix}{n}");
                let path = PathBuf::from(SCRATCH).join(format!("{name}.lock"));
                let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
                if flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
                    make(&name, kind);
                    return Self::look_up(&name, Some(lock));
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The account that the tests themselves run as.
    fn own(kind: Kind) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        assert!(kind != Kind::Root || uid == 0, "this test needs root: run the tests as root, as CI does");
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let name = passwd.lines().find(|l| l.split(':').nth(2) == Some(&uid.to_string()));
        let name = name.and_then(|l| l.split(':').next()).expect("the account is in /etc/passwd");
        Self::look_up(name, None)
    }

    fn look_up(name: &str, lock: Option<File>) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let line = passwd.lines().find(|l| l.starts_with(&format!("{name}:"))).expect("the account exists");
        let id = |n: usize| line.split(':').nth(n).unwrap().parse::<u32>().unwrap();
        Self { uid: id(2), gid: id(3), range: range_of(name), exclusive: lock.is_some(), _lock: lock }
    }

    /// Whether a process with this uid is the account's doing.
    pub fn owns(&self, uid: u32) -> bool {
        uid == self.uid
            || self.range.is_some_and(|(first, count)| uid.checked_sub(first).is_some_and(|n| n < count))
    }
}

fn range_of(name: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let mut fields = text.lines().find(|l| l.starts_with(&format!("{name}:")))?.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Makes the account unless it is there. Account tools lock `/etc/passwd` and fail when it is locked: one at a
/// time.
fn make(name: &str, kind: Kind) {
    static TOOLS: Mutex<()> = Mutex::new(());
    let _turn = TOOLS.lock().unwrap_or_else(|e| e.into_inner());
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    if !passwd.lines().any(|l| l.starts_with(&format!("{name}:"))) {
        // A system account is given no sub-ids.
        let kind_flag: &[&str] = if kind == Kind::Single { &["--system"] } else { &[] };
        run(Command::new("useradd")
            .args(kind_flag)
            .args(["--no-create-home", "--home-dir", "/nonexistent"])
            .arg(name));
    }
    if kind == Kind::Ranges && range_of(name).is_none() {
        let first = 1_000_000_000 + name.bytes().last().map_or(0, u32::from) * 65536;
        let range = format!("{first}-{}", first + 65535);
        run(Command::new("usermod").args(["--add-subuids", &range, "--add-subgids", &range, name]));
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}
