//! One worker follows a client from processor to processor: that it does, that nobody waits for it, and that it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Case;
use super::mounts::{Dirs, Fuse};

pub const CASES: &[Case] = &[("company", company), ("company:crowd", crowd), ("company:end", end)];

/// `SCHED_IDLE`.
const IDLE: &str = "5";

/// A client, which has to ask: names that are not there, each once.
struct Client<'a> {
    dir: &'a Path,
    name: String,
    asked: usize,
}

impl<'a> Client<'a> {
    fn new(mount: &'a Fuse, name: &str) -> Self {
        Self { dir: &mount.at, name: name.to_owned(), asked: 0 }
    }

    fn ask(&mut self, times: usize) {
        for _ in 0..times {
            self.asked += 1;
            let name = format!("{}{}", self.name, self.asked);
            assert!(fs::symlink_metadata(self.dir.join(name)).is_err());
        }
    }
}

/// The thread of this process that gives way to all others.
fn companion() -> Option<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    threads.into_iter().find(|thread| {
        // proc_pid_stat(5): the policy is field 41, the first behind the name 3.
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.split_whitespace().nth(38) == Some(IDLE))
    })
}

/// Whether a thread may run on one processor only.
fn is_bound(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().parse::<usize>().is_ok()
}

/// Kernels before 6.12 have no time slices of a thread's own, and where there is one processor there is no other.
fn is_possible() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    version >= (6, 12) && std::thread::available_parallelism().unwrap().get() > 1
}

fn company(base: &Path) {
    let mount = Dirs::new(base, "m", &["lower"]).fuse();
    let mut client = Client::new(&mount, "a");
    client.ask(10);
    assert_eq!(companion().is_some(), is_possible());
    let Some(companion) = companion() else { return };
    // It comes in where the machine is not too busy, so it may take a while.
    let end = Instant::now() + Duration::from_secs(300);
    while !is_bound(&companion) {
        assert!(Instant::now() < end, "one client, and nobody follows it");
        client.ask(1000);
    }
    // Nobody asks: nobody watches, nobody is bound.
    while is_bound(&companion) {
        assert!(Instant::now() < end, "nobody asks, and the companion stays bound");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What it has others begin is not as it is.
    client.ask(1000);
    let file = mount.at.join("file");
    fs::write(&file, "content").unwrap();
    for _ in 0..100 {
        fs::File::open(&file).unwrap().sync_all().unwrap();
        client.ask(20);
    }
}

/// More that want to run than there are processors, clients that come and go: all are answered.
fn crowd(base: &Path) {
    let mount = Dirs::new(base, "m", &["lower"]).fuse();
    let processors = std::thread::available_parallelism().unwrap().get();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for round in 0..12 {
            let mut one = Client::new(&mount, &format!("one{round}-"));
            one.ask(2000);
            over.store(false, Ordering::Relaxed);
            // They come while one is followed.
            let busy = || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            };
            let hogs: Vec<_> = (0..2 * processors).map(|_| scope.spawn(busy)).collect();
            one.ask(100);
            let clients = (0..round % 3).map(|n| {
                let (mount, answered) = (&mount, &answered);
                scope.spawn(move || {
                    Client::new(mount, &format!("{round}-{n}-")).ask(50);
                    answered.fetch_add(1, Ordering::Relaxed);
                })
            });
            let clients: Vec<_> = clients.collect();
            one.ask(100);
            clients.into_iter().for_each(|client| client.join().unwrap());
            over.store(true, Ordering::Relaxed);
            hogs.into_iter().for_each(|hog| hog.join().unwrap());
        }
    });
    assert_eq!(answered.load(Ordering::Relaxed), 12);
}

/// Unmounted in whatever mode the workers are, they end: the mount's drop waits for them.
fn end(base: &Path) {
    let dirs = Dirs::new(base, "m", &["lower"]);
    for requests in (0..60).chain([200, 1000, 5000]) {
        let mount = dirs.fuse();
        // One worker has answered, and the others never will.
        assert!(fs::metadata(&mount.at).unwrap().is_dir());
        Client::new(&mount, "a").ask(requests);
    }
    assert_eq!(companion(), None, "a worker outlived its mount");
}
