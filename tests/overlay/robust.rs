//! What the server outlives, and what it does not pile up.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;

use kelp::overlay::{Layers, Options};

use super::Case;
use super::hand::shell;
use super::mounts::{Dirs, Fuse};
use super::random::Random;
use super::requests;

pub const CASES: &[Case] =
    &[("memory_is_bounded", memory_is_bounded), ("arbitrary_requests", arbitrary_requests)];

fn arbitrary_requests(base: &Path) {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..20_000).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        let dir = base.join(seed.to_string());
        fs::create_dir(&dir).unwrap();
        println!("arbitrary requests of seed {seed}");
        requests::play(&dir, &bytes);
        let _ = fs::remove_dir_all(&dir);
    }
}

/// Bytes of memory of this process that are its own.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn memory_is_bounded(base: &Path) {
    const DIRS: u64 = 100;
    const FILES: u64 = 1000;
    let dirs = Dirs::new(base, "m", &["l"]);
    for dir in 0..DIRS {
        let dir = dirs.lowers[0].join(format!("dir{dir}"));
        fs::create_dir(&dir).unwrap();
        for file in 0..FILES {
            rustix::fs::symlink("target", dir.join(format!("a-name-of-usual-length-{file}"))).unwrap();
        }
    }
    let lower: OwnedFd = File::open(&dirs.lowers[0]).unwrap().into();
    let mount = Fuse::mount(Layers { lowers: vec![lower], upper: None }, Options::default(), &dirs.at);
    shell(&mount.at, "ls >/dev/null");
    let before = resident();
    shell(&mount.at, "find . -printf %s >/dev/null");
    let grown = resident().saturating_sub(before);
    let each = grown / (DIRS * FILES);
    println!("{each} bytes an inode");
    assert!(each < 300, "{each} bytes an inode");
}
