//! What is known of a container that the kernel killed for want of memory, in a control group with too little of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Out, Sandbox, needs_root, within};

/// Enough for kelp itself, and little to be eaten.
const LIMIT: &str = "62914560";

/// A control group with [`LIMIT`] bytes of memory and no swap; it goes with this value.
struct Group(PathBuf);

impl Group {
    /// `None` where the test is not root. Root that cannot make one fails the test.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let (mount, limits): (_, &[_]) = if Path::new("/sys/fs/cgroup/memory/cgroup.procs").exists() {
            ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else {
            // Enabled already, or else the files below are missing.
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            ("/sys/fs/cgroup", &["memory.max", "memory.swap.max"])
        };
        let dir = Path::new(mount).join(format!("kelp-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir)
            .unwrap_or_else(|e| panic!("cannot make a memory group at {}: {e}", dir.display()));
        let group = Self(dir);
        let [memory, swap] = limits else { unreachable!() };
        fs::write(group.0.join(memory), LIMIT).unwrap_or_else(|e| panic!("cannot limit memory: {e}"));
        // Kernels without accounting of swap have no such file.
        if group.0.join(swap).exists() {
            let none = if *swap == "memory.swap.max" { "0" } else { LIMIT };
            fs::write(group.0.join(swap), none).unwrap_or_else(|e| panic!("cannot limit swap: {e}"));
        }
        Some(group)
    }

    fn run(&self, s: &Sandbox, line: &str) -> Out {
        s.kelp(line).in_group(&self.0.join("cgroup.procs")).run()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let gone = within(Duration::from_secs(10), || fs::remove_dir(&self.0).is_ok());
        if !gone {
            eprintln!("{} could not be removed", self.0.display());
        }
    }
}

/// The actions of the event log that concern `name`, in their order.
fn events(s: &Sandbox, name: &str) -> Vec<String> {
    let log = fs::read_to_string(s.store().join("events.log")).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events
        .filter(|event| event["Actor"]["Attributes"]["name"] == name)
        .map(|event| event["Action"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn who_ate_too_much_is_known_as_such() {
    let Some(group) = Group::new("eaten") else { return needs_root("who_ate_too_much_is_known_as_such") };
    let s = Sandbox::new().busybox();
    for (name, options) in [("c1", ""), ("d1", "--init"), ("e1", "--network none -d")] {
        group.run(&s, &format!("run --name {name} {options} busybox tail /dev/zero"));
        assert!(s.becomes(name, "exited"));
        assert_eq!(s.field(name, ".State.OOMKilled"), "true", "{name}");
        assert_eq!(s.field(name, ".State.ExitCode"), "137");
        // The log is written after the end is told.
        assert!(within(Duration::from_secs(20), || events(&s, name).last().is_some_and(|e| e == "die")));
        assert_eq!(events(&s, name), ["create", "start", "oom", "die"]);
        s.ok(&format!("ps -a --filter name={name} --format {{{{.Status}}}}")).has("Exited (137)");
    }
    assert_eq!(group.run(&s, "run --rm --name f1 busybox tail /dev/zero").code, 137);
    assert!(within(Duration::from_secs(20), || events(&s, "f1").len() == 5));
    assert_eq!(events(&s, "f1"), ["create", "start", "oom", "die", "destroy"]);
    // The next run is judged by itself.
    let once = "test -e /eaten && exit 0; touch /eaten; exec tail /dev/zero";
    assert_eq!(group.run(&s, &format!("run --name g1 busybox sh -c '{once}'")).code, 137);
    assert_eq!(s.field("g1", ".State.OOMKilled"), "true");
    s.ok("start -a g1");
    assert!(s.becomes("g1", "exited"));
    assert_eq!(s.field("g1", ".State.OOMKilled"), "false");
}

#[test]
fn who_was_killed_otherwise_is_not() {
    let Some(group) = Group::new("killed") else { return needs_root("who_was_killed_otherwise_is_not") };
    let s = Sandbox::new().busybox();
    let ended = |name: &str| {
        assert!(s.becomes(name, "exited"));
        assert_eq!(s.field(name, ".State.ExitCode"), "137");
        assert_eq!(s.field(name, ".State.OOMKilled"), "false", "{name}");
        assert!(!events(&s, name).contains(&"oom".to_owned()));
    };
    for name in ["c1", "d1", "e1"] {
        assert_eq!(group.run(&s, &format!("run -d --name {name} busybox sleep 1000")).code, 0);
    }
    // From outside, and the kernel did not count.
    let pid = rustix::process::Pid::from_raw(s.pid_of("e1")).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    ended("e1");
    // By a command, though the kernel did count: the process below the first one was its victim.
    s.exits(137, "exec c1 tail /dev/zero");
    s.ok("kill -s KILL c1");
    ended("c1");
    s.exits(137, "exec d1 tail /dev/zero");
    s.ok("stop d1");
    ended("d1");
}
