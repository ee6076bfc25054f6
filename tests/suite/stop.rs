//! stop and kill: signals, the grace that is given, and containers that are just starting.

use std::time::Duration;

use crate::harness::{Job, Out, Sandbox, within};

pub(super) const CATCHER: &str = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(s: &Sandbox, container: &str) {
    assert!(within(Duration::from_secs(20), || s.ok(&format!("logs {container}")).stdout.contains("ready")));
}

#[test]
fn stop_is_quick_when_nobody_can_hear_the_signal() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let out = s.ok("stop c1");
    out.is("c1");
    assert!(out.took < Duration::from_secs(4), "stop took {:?}", out.took);
    assert_eq!(s.field("c1", ".State.ExitCode"), "137");
    s.ok("stop c1").is("c1");
}

#[test]
fn stop_waits_for_a_process_that_catches_the_signal() {
    let s = Sandbox::new().busybox();
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", CATCHER]);
    ready(&s, "c1");
    s.ok("stop c1");
    assert_eq!(s.field("c1", ".State.ExitCode"), "3");
    s.ok("logs c1").has("caught");
}

#[test]
fn stop_gives_the_grace_that_was_asked_for() {
    let s = Sandbox::new().busybox();
    let slow = "trap 'sleep 2; echo done; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", slow]);
    ready(&s, "c1");
    s.ok("stop -t 20 c1");
    s.ok("logs c1").has("done");
    let never = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    s.ok(["run", "-d", "--name", "d1", "--stop-timeout", "1", "busybox", "sh", "-c", never]);
    ready(&s, "d1");
    s.ok("stop d1");
    assert_eq!(s.field("d1", ".State.ExitCode"), "137");
}

/// users.md row 44: a process that sits in `sigwait` has no handler, and yet it listens.
#[test]
fn stop_keeps_the_grace_for_sigwait() {
    let s = Sandbox::new().busybox();
    let source = "#include <signal.h>\n#include <unistd.h>\nint main(void){sigset_t s;int n;sigemptyset(&s);\
        sigaddset(&s,SIGTERM);sigprocmask(SIG_BLOCK,&s,0);write(1,\"ready\\n\",6);sigwait(&s,&n);sleep(1);\
        write(1,\"caught\\n\",7);return n;}\n";
    s.write("w.c", source);
    s.program_call("gcc").args(["-static", "-o", "w", "w.c"]).exits(0);
    let v = format!("{}:/w", s.work().join("w").display());
    s.ok(["run", "-d", "--name", "c1", "-v", &v, "busybox", "/w"]);
    ready(&s, "c1");
    s.ok("stop c1");
    assert_eq!(s.field("c1", ".State.ExitCode"), "15");
    s.ok("logs c1").has("caught");
}

#[test]
fn the_stop_signal_is_the_one_chosen() {
    let s = Sandbox::new().busybox();
    let script = "trap 'exit 9' USR1; trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done";
    s.ok(["run", "-d", "--name", "c1", "--stop-signal", "SIGUSR1", "busybox", "sh", "-c", script]);
    ready(&s, "c1");
    s.ok("stop c1");
    assert_eq!(s.field("c1", ".State.ExitCode"), "9");
}

/// A start that stands still in its shim, which waits to make the user's namespace.
struct SlowStart {
    job: Job,
    /// Locked.
    namespace: std::fs::File,
}

impl SlowStart {
    fn begin(s: &Sandbox, container: &str) -> Self {
        let state = s.store().join("containers").join(s.field(container, ".Id")).join("state.jsonl");
        // Nobody has the namespace, and the lock's file is there.
        s.ok("run --rm busybox true");
        let namespace = std::fs::OpenOptions::new().write(true).open(s.store().join("userns.lock")).unwrap();
        let lock = || rustix::fs::flock(&namespace, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        assert!(within(Duration::from_secs(10), || lock().is_ok()));
        let job = s.kelp(&format!("start {container}")).spawn(false);
        // The life lock's file, which is taken before the start is recorded.
        assert!(within(Duration::from_secs(10), || state.exists()));
        std::thread::sleep(Duration::from_millis(300));
        Self { job, namespace }
    }

    /// Lets it go on, and waits for what became of it.
    fn go_on(self) -> Out {
        drop(self.namespace);
        self.job.finish(Duration::from_secs(20))
    }
}

/// Runs a command on a container that is just starting, lets the start go on, and gives back how the command ended.
#[track_caller]
fn amid_start(s: &Sandbox, line: &str) -> Out {
    s.ok("create --name slow busybox sleep 1000");
    let start = SlowStart::begin(s, "slow");
    let job = s.kelp(line).spawn(false);
    std::thread::sleep(Duration::from_millis(300));
    start.go_on();
    job.finish(Duration::from_secs(20))
}

#[test]
fn what_is_just_starting_is_stopped_killed_and_removed_all_the_same() {
    let s = Sandbox::new().busybox();
    for line in ["stop slow", "stop -t 0 slow", "kill slow"] {
        amid_start(&s, line).expect_code(0).is("slow");
        assert_eq!(s.field("slow", ".State.Status"), "exited", "{line}");
        assert_eq!(s.field("slow", ".State.ExitCode"), "137", "{line}");
        s.ok("rm slow");
    }
    amid_start(&s, "rm -f slow").expect_code(0);
    s.exits(1, "inspect slow");
    amid_start(&s, "rm slow").expect_code(1).says("running");
    assert_eq!(s.field("slow", ".State.Running"), "true");
    s.ok("rm -f slow");
    amid_start(&s, "restart -t 0 slow").expect_code(0);
    assert_eq!(s.field("slow", ".State.Running"), "true");
    s.ok("rm -f slow");
    amid_start(&s, "exec slow echo inside").expect_code(0).is("inside");
}

#[test]
fn kill_sends_any_signal() {
    let s = Sandbox::new().busybox();
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", CATCHER]);
    ready(&s, "c1");
    s.ok("kill -s WINCH c1").is("c1");
    assert_eq!(s.field("c1", ".State.Running"), "true");
    s.ok("kill --signal SIGTERM c1");
    s.ok("wait c1").is("3");
    s.exits(1, "kill c1").says("not running");
    s.ok("run -d --name d1 busybox sleep 100");
    s.exits(1, "kill -s NOSUCH d1").says("NOSUCH");
    s.ok("kill -s 9 d1");
    s.ok("wait d1").is("137");
}
