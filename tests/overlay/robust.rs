//! What the server outlives, and what it does not pile up.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use kelp::overlay::{Layers, Options, Server};

use super::Case;
use super::hand::shell;
use super::mounts::{Dirs, Fuse};
use super::random::Random;
use super::requests;

pub const CASES: &[Case] = &[
    ("memory_is_bounded", memory_is_bounded),
    ("what_is_forgotten_leaves_nothing", what_is_forgotten_leaves_nothing),
    ("arbitrary_requests", arbitrary_requests),
    ("who_syncs_holds_up_nobody", who_syncs_holds_up_nobody),
];

/// Lookups of all names of a tree, each forgotten again, in a server without a kernel: 500,000, or as many as
/// `KELP_TEST_LOOKUPS` says.
fn what_is_forgotten_leaves_nothing(base: &Path) {
    const DIRS: u64 = 100;
    const FILES: u64 = 500;
    fs::create_dir(base.join("l")).unwrap();
    for dir in 0..DIRS {
        let dir = base.join(format!("l/dir{dir}"));
        fs::create_dir(&dir).unwrap();
        (0..FILES).for_each(|file| rustix::fs::symlink("target", dir.join(format!("file{file}"))).unwrap());
    }
    let (kernel, device) = UnixDatagram::pair().unwrap();
    let layers = Layers { lowers: vec![File::open(base.join("l")).unwrap().into()], upper: None };
    let server = Server::on(device.into(), layers, Options { workers: 1, ..Options::default() }).unwrap();
    let server = std::thread::spawn(move || server.serve());
    requests::greet(&kernel);
    let mut answer = vec![0; 1 << 16];
    kernel.recv(&mut answer).unwrap();
    let mut unique = 1;
    let mut ask = |node: u64, name: &str| {
        unique += 1;
        requests::send(&kernel, unique, requests::LOOKUP, node, format!("{name}\0").as_bytes());
        assert!(kernel.recv(&mut answer).unwrap() > 24, "{name}");
        u64::from_ne_bytes(answer[16..24].try_into().unwrap())
    };
    let forget = |node: u64| requests::send(&kernel, 1, requests::FORGET, node, &1u64.to_ne_bytes());
    let mut round = || {
        for dir in 0..DIRS {
            let dir = ask(1, &format!("dir{dir}"));
            for file in 0..FILES {
                forget(ask(dir, &format!("file{file}")));
            }
            forget(dir);
        }
    };
    let asked = std::env::var("KELP_TEST_LOOKUPS").ok().and_then(|n| n.parse().ok()).unwrap_or(500_000);
    round();
    let before = resident();
    (1..asked / (DIRS * FILES)).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    println!("{asked} lookups: {before} bytes, and {grown} more");
    assert!(grown < 1 << 20, "{grown} bytes more");
    requests::send(&kernel, u64::MAX, requests::DESTROY, 0, &[]);
    server.join().unwrap().unwrap();
}

/// With a single worker, a question that comes after fsync(2) of much is answered before the disk has it. A disk that is
/// quicker than the worker proves nothing: ten tries.
fn who_syncs_holds_up_nobody(base: &Path) {
    const GETATTR: u32 = 3;
    const FSYNC: u32 = 20;
    let layers = Dirs::new(base, "s", &[]).layers();
    let file = base.join("s-upper/file");
    fs::write(&file, "").unwrap();
    let (kernel, device) = UnixDatagram::pair().unwrap();
    let server = Server::on(device.into(), layers, Options { workers: 1, ..Options::default() }).unwrap();
    let server = std::thread::spawn(move || server.serve());
    requests::greet(&kernel);
    let mut answer = [0; 1024];
    kernel.recv(&mut answer).unwrap();
    requests::send(&kernel, 2, requests::LOOKUP, 1, b"file\0");
    kernel.recv(&mut answer).unwrap();
    let node = u64::from_ne_bytes(answer[16..24].try_into().unwrap());
    let mut answered = || {
        assert!(kernel.recv(&mut answer).unwrap() >= 16);
        assert_eq!(answer[4..8], [0; 4], "an error");
        u64::from_ne_bytes(answer[8..16].try_into().unwrap())
    };
    let overtaken = (0..10).any(|n| {
        fs::write(&file, vec![n; 32 << 20]).unwrap();
        requests::send(&kernel, 3, FSYNC, node, &[0; 16]);
        requests::send(&kernel, 4, GETATTR, node, &[0; 16]);
        let order = [answered(), answered()];
        assert!(order == [3, 4] || order == [4, 3], "{order:?}");
        order == [4, 3]
    });
    requests::send(&kernel, u64::MAX, requests::DESTROY, 0, &[]);
    server.join().unwrap().unwrap();
    assert!(overtaken, "ten times nobody was answered before the disk was");
}

fn arbitrary_requests(base: &Path) {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let bytes = random.bytes(4000);
        let dir = base.join(seed.to_string());
        println!("arbitrary requests of seed {seed}");
        for play in [requests::play, requests::explore] {
            fs::create_dir(&dir).unwrap();
            play(&dir, &bytes);
            fs::remove_dir_all(&dir).unwrap();
        }
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
