//! One worker follows a client from processor to processor: that it does, that nobody waits for it, and that it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Case;
use super::mounts::{Dirs, Fuse};

pub const CASES: &[Case] =
    &[("company", company), ("company:long", long), ("company:crowd", crowd), ("company:end", end)];

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

/// The same, once two workers have answered the client. `None`: there can be none.
fn chosen(client: &mut Client<'_>) -> Option<PathBuf> {
    client.ask(10);
    let end = Instant::now() + Duration::from_secs(60);
    while is_possible() && companion().is_none() {
        assert!(Instant::now() < end, "no worker gives way");
        client.ask(10);
    }
    let companion = companion();
    assert_eq!(companion.is_some(), is_possible());
    companion
}

/// The processor time of the thread that does what takes the companion long, in ticks.
fn deputys_time() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    // proc_pid_stat(5): utime and stime are fields 14 and 15.
    let time = |thread: PathBuf| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        let (name, rest) = stat.rsplit_once(')').unwrap_or_default();
        let ticks = |field: &str| field.parse::<u64>().unwrap();
        name.ends_with("(deputy").then(|| rest.split_whitespace().skip(11).take(2).map(ticks).sum::<u64>())
    };
    threads.filter_map(time).sum()
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
    let end = Instant::now() + Duration::from_secs(300);
    let Some(companion) = chosen(&mut client) else { return };
    // It comes in where the machine is not too busy, so it may take a while.
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

/// Others may come to want the processors while the companion has something to do: what takes long it must not do itself.
fn long(base: &Path) {
    const SIZE: usize = 16 << 20;
    let dirs = Dirs::new(base, "m", &["lower"]);
    let content: Vec<u8> = (0..SIZE).map(|at| at.to_le_bytes()[at % 3]).collect();
    let names: Vec<_> = (0..12).map(|n| format!("file{n}")).collect();
    names.iter().for_each(|name| fs::write(dirs.lowers[0].join(name), &content).unwrap());
    fs::create_dir(dirs.lowers[0].join("many")).unwrap();
    for name in 0..3000 {
        fs::write(dirs.lowers[0].join(format!("many/a-name-of-some-length-{name}")), "").unwrap();
    }
    let mount = dirs.fuse();
    let mut client = Client::new(&mount, "a");
    let companion = chosen(&mut client);
    let mut followed = 0;
    for name in &names {
        // It does not come in where the machine is busy.
        let end = Instant::now() + Duration::from_secs(1);
        let is_followed = || companion.as_deref().is_some_and(is_bound);
        while !is_followed() && Instant::now() < end {
            client.ask(100);
        }
        followed += usize::from(is_followed());
        let file = mount.at.join(name);
        let open = fs::File::options().write(true).open(&file).unwrap();
        open.set_len(SIZE as u64 - 1).unwrap();
        client.ask(100);
        assert_eq!(fs::read(&file).unwrap(), content[..SIZE - 1]);
        assert_eq!(fs::read_dir(mount.at.join("many")).unwrap().count(), 3000);
        client.ask(100);
        open.set_len(0).unwrap();
        fs::remove_file(&file).unwrap();
        drop(open);
        assert!(!file.exists());
    }
    // Now and then the companion has left by the time.
    assert!(
        deputys_time() > 0 || followed < names.len() / 2,
        "followed {followed} times, and did all itself"
    );
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
