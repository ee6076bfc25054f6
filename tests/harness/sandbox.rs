//! A home of its own for one test, and the check that the test leaves nothing in it or outside it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::account::{Account, Kind, SCRATCH};
use super::command::{Call, Out};
use super::terminal::Terminal;
use super::{Image, Release, fixtures, processes, split, within};

/// How long a shim may take to clean up after the command that ended its container has returned: on a busy disk also of
/// one that has a copy of a whole Debian to remove.
const SETTLE: Duration = Duration::from_secs(40);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Drop it, and every container and image is removed; then no process, mount or file may be left.
#[derive(Debug)]
pub struct Sandbox {
    pub account: Account,
    base: PathBuf,
    program: PathBuf,
    path: String,
    /// The store is meant to be damaged: it cannot be asked whether it is clean.
    damaged: bool,
    /// The home is a file system that was mounted for this test.
    small_disk: bool,
    /// What the account had in the places of all when it was borrowed.
    found: BTreeSet<PathBuf>,
}

/// A command line: a string split as a shell would, or words.
pub trait Words {
    fn words(self) -> Vec<String>;
}

impl Words for &str {
    fn words(self) -> Vec<String> {
        split(self)
    }
}

impl Words for &String {
    fn words(self) -> Vec<String> {
        split(self)
    }
}

impl Words for &[&str] {
    fn words(self) -> Vec<String> {
        self.iter().map(|w| (*w).to_owned()).collect()
    }
}

impl<const N: usize> Words for [&str; N] {
    fn words(self) -> Vec<String> {
        self.map(str::to_owned).to_vec()
    }
}

impl Words for Vec<String> {
    fn words(self) -> Vec<String> {
        self
    }
}

impl Sandbox {
    /// An unprivileged user with sub-ids.
    pub fn new() -> Self {
        Self::of(Kind::Ranges)
    }

    /// An unprivileged user without any; `None` where the tests run as a plain user who has some.
    pub fn single() -> Option<Self> {
        let sandbox = Self::of(Kind::Single);
        (sandbox.account.exclusive || sandbox.account.range.is_none()).then_some(sandbox)
    }

    /// Root itself. Tests that need root say so where the tests do not run as root.
    pub fn root() -> Self {
        Self::of(Kind::Root)
    }

    /// A sandbox whose home is a file system of its own with these tmpfs options; `None` where the tests may
    /// not mount.
    pub fn with_small_disk(options: &str) -> Option<Self> {
        let sandbox = Self::with_home_on(&format!("-t tmpfs -o {options} small"))?;
        // What was chosen before lies below the mount.
        sandbox.choose_snapshotter();
        Some(sandbox)
    }

    /// A sandbox whose home is what mount(8) makes of this line, in which `BASE` is a directory for whatever it needs;
    /// `None` where the tests may not mount. kelp itself chooses the snapshotter there, in every run of the tests:
    /// which one such a home allows is what these are about.
    pub fn with_home_on(line: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut sandbox = Self::of(Kind::Ranges);
        let line = line.replace("BASE", sandbox.base.to_str().unwrap());
        let script =
            format!("cd {} && mkdir lower upper workdir && mount {line} home", sandbox.base.display());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.unwrap().success(), "mount {line} failed");
        sandbox.make_dir(&sandbox.home());
        sandbox.small_disk = true;
        Some(sandbox)
    }

    fn of(kind: Kind) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = fixtures::kelp();
        let account = Account::borrow(kind);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = Path::new(SCRATCH).join(format!("{}-{number}", std::process::id()));
        let found = in_places_of_all(&account);
        let path = PATH.to_owned();
        let sandbox = Self { account, base, program, path, damaged: false, small_disk: false, found };
        sandbox.make_dir(&sandbox.base);
        sandbox.make_dir(&sandbox.home());
        sandbox.make_dir(&sandbox.work());
        sandbox.choose_snapshotter();
        sandbox
    }

    /// Who makes root file systems in this run of the tests.
    pub fn snapshotter() -> String {
        std::env::var("KELP_TEST_SNAPSHOTTER").unwrap_or_else(|_| "overlay".into())
    }

    /// The same, or the kernel's where that is `copy`, which lays nothing over the machine's own root.
    pub fn over_the_host() -> String {
        let name = Self::snapshotter();
        format!("--snapshotter {}", if name == "copy" { "overlay" } else { &name })
    }

    /// The whole suite runs under another driver with `KELP_TEST_SNAPSHOTTER=fuse`, or `copy`.
    fn choose_snapshotter(&self) {
        let name = Self::snapshotter();
        if name == "overlay" {
            return;
        }
        self.make_dir(&self.home().join(".config"));
        self.make_dir(&self.home().join(".config/kelp"));
        let config = self.home().join(".config/kelp/config.toml");
        fs::write(&config, format!("snapshotter = \"{name}\"\n")).unwrap();
        self.give(&config);
    }

    fn make_dir(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        self.give(dir);
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Makes a file or directory the account's own.
    pub fn give(&self, path: &Path) {
        chown(path, Some(self.account.uid), Some(self.account.gid)).unwrap();
    }

    pub fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// Where commands run and tests keep their files.
    pub fn work(&self) -> PathBuf {
        self.base.join("work")
    }

    pub fn store(&self) -> PathBuf {
        self.home().join(".local/share/kelp")
    }

    /// The program that this sandbox runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A file in the work directory, and its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        if let Some(parent) = path.parent().filter(|p| !p.exists()) {
            self.make_dir(parent);
        }
        fs::write(&path, content).unwrap();
        self.give(&path);
        path
    }

    /// A directory in the work directory, and its path.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.work().join(name);
        self.make_dir(&path);
        path
    }

    /// A program of the account's own copy of kelp, which it may write to.
    pub fn own_copy_of_kelp(&self) -> PathBuf {
        let path = self.write("kelp", fs::read(&self.program).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// From here on another copy of kelp is run.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The store is going to be damaged on purpose.
    pub fn expect_damage(&mut self) {
        self.damaged = true;
    }

    /// Any program, run as the account in its empty environment.
    pub fn program_call(&self, program: impl Into<PathBuf>) -> Call {
        let call = Call::new(program.into(), &self.account, self.work());
        call.env("HOME", self.home()).env("PATH", self.path.clone())
    }

    pub fn kelp(&self, line: impl Words) -> Call {
        self.program_call(self.program.clone()).args(line.words())
    }

    /// Runs kelp, which must succeed.
    #[track_caller]
    pub fn ok(&self, line: impl Words) -> Out {
        self.kelp(line).exits(0)
    }

    /// Runs kelp, which must end with this code.
    #[track_caller]
    pub fn exits(&self, code: i32, line: impl Words) -> Out {
        self.kelp(line).exits(code)
    }

    /// Runs `sh -c SCRIPT` in a fresh busybox container; it must succeed.
    #[track_caller]
    pub fn busybox_sh(&self, options: &str, script: &str) -> Out {
        let mut words = split(&format!("run --rm {options} busybox sh -c"));
        words.push(script.to_owned());
        self.ok(words)
    }

    /// Runs kelp in a terminal.
    #[track_caller]
    pub fn terminal(&self, line: impl Words) -> Terminal {
        Terminal::start(&self.kelp(line).env("TERM", "xterm"))
    }

    /// Imports the busybox image under the name `busybox`.
    #[track_caller]
    pub fn busybox(self) -> Self {
        self.kelp("import").args([fixtures::busybox()]).args(["busybox"]).exits(0);
        self
    }

    /// The busybox root file system as a tar.
    pub fn busybox_tar(&self) -> PathBuf {
        fixtures::busybox()
    }

    /// A Debian root file system as a tar.
    pub fn debian_tar(&self, release: Release) -> PathBuf {
        fixtures::debian(release)
    }

    /// A directory with about a hundred packages of Debian 12.
    pub fn packages_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        let tar = self.program_call("tar").args(["-xf"]).args([fixtures::packages()]);
        tar.args(["-C"]).args([dir.clone()]).exits(0);
        dir
    }

    /// Imports a Debian under the name `debian`.
    #[track_caller]
    pub fn debian(self, release: Release) -> Self {
        let call = self.kelp("import").args([self.debian_tar(release)]).args(["debian"]);
        call.limit(Duration::from_secs(240)).exits(0);
        self
    }

    /// A directory with busybox in it, for `--rootfs`.
    pub fn busybox_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        let tar = self
            .program_call("tar")
            .args(["-xf"])
            .args([fixtures::busybox()])
            .args(["-C"])
            .args([dir.clone()]);
        tar.exits(0);
        dir
    }

    /// Loads an image under a tag.
    #[track_caller]
    pub fn load(&self, image: &Image, tag: &str) -> Out {
        self.kelp("load").stdin(image.docker_archive(tag)).exits(0)
    }

    /// stdout of a command as JSON.
    #[track_caller]
    pub fn json(&self, line: impl Words) -> Value {
        let out = self.ok(line);
        serde_json::from_str(out.text()).unwrap_or_else(|e| panic!("not JSON: {e}\n{}", out.story()))
    }

    /// What `inspect` says about one field, through a template: `.State.Pid`.
    #[track_caller]
    pub fn field(&self, container: &str, template: &str) -> String {
        self.ok(["inspect", "--format", &format!("{{{{{template}}}}}"), container]).text().to_owned()
    }

    /// The first process of a running container, as the host sees it.
    #[track_caller]
    pub fn pid_of(&self, container: &str) -> i32 {
        let pid = self.field(container, ".State.Pid").parse().unwrap();
        assert!(pid > 0, "{container} does not run");
        pid
    }

    /// The shim of a running container.
    #[track_caller]
    pub fn shim_of(&self, container: &str) -> i32 {
        processes::status_field(self.pid_of(container), "PPid").unwrap().parse().unwrap()
    }

    /// Whether the container gets into this state in time.
    pub fn becomes(&self, container: &str, state: &str) -> bool {
        within(SETTLE, || self.field(container, ".State.Status") == state)
    }

    /// Every live process of this sandbox.
    pub fn processes(&self) -> Vec<processes::Process> {
        processes::of(&self.account, self.base.to_str().unwrap())
    }

    /// Kills whatever of this sandbox is alive, and removes its files, whatever state they are in.
    pub fn wipe(&self) {
        for process in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        within(Duration::from_secs(2), || self.processes().is_empty());
        if self.small_disk {
            let _ = Command::new("umount").arg("--lazy").arg(self.home()).status();
        }
        if fs::remove_dir_all(&self.base).is_err() {
            // Files of sub-ids, or directories without permission: root of a namespace with the ids may.
            let _ = Command::new("unshare")
                .args(["--map-root-user", "--map-auto", "rm", "-rf"])
                .arg(&self.base)
                .status();
        }
    }

    fn remove_everything(&self) {
        let containers = self.ok("ps -aq").stdout;
        if !containers.is_empty() {
            self.kelp("rm -f").args(containers.split_whitespace()).exits(0);
        }
        let left = within(SETTLE, || self.processes().is_empty());
        assert!(left, "processes are left: {:#?}", self.processes());
        self.ok("system check");
        let images = self.ok("images -aq").stdout;
        if !images.is_empty() {
            let mut ids: Vec<_> = images.split_whitespace().collect();
            ids.sort_unstable();
            ids.dedup();
            self.kelp("rmi -f").args(ids).exits(0);
        }
        self.ok("system check");
    }

    /// No process, no mount, no file of a removed object, nothing outside the places kelp may write to.
    fn check_leaks(&self) {
        if self.store().exists() && !self.damaged {
            self.remove_everything();
            for dir in ["staging", "containers", "layers", "blobs/sha256"] {
                assert_eq!(names_in(&self.store().join(dir)), [""; 0], "left in {dir}/");
            }
        }
        let quiet = within(SETTLE, || self.processes().is_empty());
        assert!(quiet, "processes are left: {:#?}", self.processes());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|l| l.contains(self.base.to_str().unwrap())).count();
        assert_eq!(ours, usize::from(self.small_disk), "mounts are left:\n{mounts}");
        for name in names_in(&self.home()) {
            assert!([".local", ".config", ".cache"].contains(&name.as_str()), "~/{name} was made");
        }
        for place in [".local", ".local/share"] {
            for name in names_in(&self.home().join(place)) {
                assert!(["share", "kelp"].contains(&name.as_str()), "~/{place}/{name} was made");
            }
        }
        if self.account.exclusive {
            let now = in_places_of_all(&self.account);
            let made: Vec<_> = now.difference(&self.found).collect();
            assert!(made.is_empty(), "{made:?} was made");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.wipe();
            return;
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.check_leaks()));
        self.wipe();
        if let Err(cause) = checked {
            std::panic::resume_unwind(cause);
        }
    }
}

/// What belongs to the account where everybody may write. Whoever used the account before, another program or a bench
/// that was killed, may have left something there.
fn in_places_of_all(account: &Account) -> BTreeSet<PathBuf> {
    let entries =
        ["/tmp", "/dev/shm", "/run", "/var/tmp"].map(|place| fs::read_dir(place).unwrap().flatten());
    let owned = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|m| account.owns(m.uid()));
    entries.into_iter().flatten().filter(owned).map(|entry| entry.path()).collect()
}

/// Sorted; empty when there is no such directory.
pub fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
