//! create, start, restart, rm, wait, attach: what a container goes through.

use std::time::Duration;

use rustix::process::Signal;

use super::stop::CATCHER;
use crate::harness::{Sandbox, within};

#[test]
fn a_container_exists_or_does_not() {
    let s = Sandbox::new().busybox();
    s.exits(1, "container exists c1").is("").silent();
    s.ok("create --name c1 busybox true");
    s.ok("container exists c1").is("").silent();
    s.exits(125, "container exists");
    s.exits(1, "container stats").says("kelp container stats is not built yet");
    s.exits(1, "image build").says("kelp image build is not built yet");
}

#[test]
fn from_created_to_gone() {
    let s = Sandbox::new().busybox();
    let id = s.ok("create --name c1 busybox sh -c 'echo run; exit 5'").text().to_owned();
    assert_eq!(s.field("c1", ".State.Status"), "created");
    s.ok("start c1").is("c1");
    s.ok("wait c1").is("5");
    assert!(s.becomes("c1", "exited"));
    assert_eq!(s.field("c1", ".State.ExitCode"), "5");
    s.exits(5, "start -a c1").is("run");
    s.ok("logs c1").is("run\nrun");
    s.ok("rm c1").is("c1");
    s.exits(1, &format!("inspect {id}"));
}

/// `create --rm`: the container is there until it has run, and gone behind it, whoever waits for its end.
#[test]
fn a_created_container_is_removed_at_its_end_with_rm() {
    let s = Sandbox::new().busybox();
    s.ok("create --rm --name c1 busybox sh -c 'exit 5'");
    assert_eq!(s.field("c1", ".State.Status"), "created");
    assert_eq!(s.field("c1", ".HostConfig.AutoRemove"), "true");
    s.exits(5, "start -a c1");
    s.exits(1, "container exists c1");
    s.ok("container create --rm --name c2 busybox sleep 1000");
    s.ok("start c2");
    s.ok("stop -t 0 c2");
    s.exits(1, "container exists c2");
    s.ok("create --rm=false --name c3 busybox true");
    s.ok("start -a c3");
    s.ok("rm c3");
    // One that cannot start goes too.
    s.ok("create --rm --name c4 busybox /no/such/program");
    s.exits(1, "start -a c4");
    s.exits(1, "container exists c4");
}

#[test]
fn every_verb_has_its_long_form() {
    let s = Sandbox::new().busybox();
    s.ok("container create --name c1 busybox sleep 100");
    s.ok("container start c1");
    s.ok("container exec c1 true");
    s.ok("container ls -q");
    s.ok("container inspect c1");
    s.ok("container logs c1");
    s.ok("container restart -t 0 c1");
    s.ok("container kill c1");
    s.ok("container wait c1").is("137");
    s.ok("container stop c1");
    s.ok("container rm c1");
    s.exits(3, "container run --rm busybox sh -c 'exit 3'");
}

#[test]
fn restart_is_a_new_process_in_the_same_container() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sh -c 'echo x >> /count; sleep 1000'");
    let first = s.pid_of("c1");
    let begun = || s.kelp(["exec", "c1", "cat", "/count"]).run().text() == "x";
    assert!(within(Duration::from_secs(20), begun), "the shell has written before it is killed");
    s.ok("restart -t 0 c1").is("c1");
    assert_ne!(s.field("c1", ".State.FinishedAt"), "0001-01-01T00:00:00Z", "the last end");
    assert_ne!(s.pid_of("c1"), first);
    s.ok("exec c1 sh -c 'sleep 0.2; wc -l < /count'").is("2");
    s.ok("stop -t 0 c1");
    s.ok("restart c1");
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

#[test]
fn starting_a_running_container_does_nothing() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 100");
    let pid = s.pid_of("c1");
    s.ok("start c1").is("c1");
    assert_eq!(s.pid_of("c1"), pid);
}

#[test]
fn twenty_starts_at_once_start_one() {
    let s = Sandbox::new().busybox();
    s.ok("create --name c1 busybox sh -c 'echo started; sleep 1000'");
    let jobs: Vec<_> = (0..20).map(|_| s.kelp("start c1").spawn(false)).collect();
    for job in jobs {
        job.finish(Duration::from_secs(60)).expect_code(0);
    }
    assert!(within(Duration::from_secs(5), || !s.ok("logs c1").stdout.is_empty()));
    s.ok("logs c1").is("started");
}

#[test]
fn two_removals_at_once_both_end_well() {
    let s = Sandbox::new().busybox();
    for n in 0..10 {
        s.ok(&format!("run -d --name round{n} busybox sleep 100"));
        let jobs: Vec<_> = (0..3).map(|_| s.kelp(&format!("rm -f round{n}")).spawn(false)).collect();
        let codes: Vec<i32> = jobs.into_iter().map(|j| j.finish(Duration::from_secs(60)).code).collect();
        assert!(codes.contains(&0) && codes.iter().all(|c| [0, 1].contains(c)), "{codes:?}");
        s.exits(1, &format!("inspect round{n}"));
    }
}

#[test]
fn a_running_container_is_not_removed_without_force() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 100");
    s.exits(1, "rm c1").says("running");
    assert_eq!(s.field("c1", ".State.Running"), "true");
    s.ok("rm -f c1").is("c1");
    s.ok("rm -f c1").says("no such container").is("");
    s.exits(1, "rm c1").says("no such container");
}

#[test]
fn several_are_done_and_the_bad_one_is_told() {
    let s = Sandbox::new().busybox();
    s.ok("create --name a1 busybox true");
    s.ok("create --name b1 busybox true");
    let out = s.exits(1, "rm a1 nobody b1");
    assert_eq!(out.lines(), ["a1", "b1"]);
    out.says("nobody");
}

#[test]
fn ids_work_by_unique_prefix() {
    let s = Sandbox::new().busybox();
    let ids: Vec<String> = (0..20).map(|_| s.ok("create busybox true").text().to_owned()).collect();
    for id in &ids {
        assert_eq!(s.field(&id[..20], ".Id"), *id);
    }
    let twice =
        "0123456789abcdef".chars().find(|c| ids.iter().filter(|i| i.starts_with(*c)).count() > 1).unwrap();
    s.exits(1, &format!("inspect {twice}"));
}

#[test]
fn names_are_unique_until_they_are_free() {
    let s = Sandbox::new().busybox();
    let first = s.ok("create --name c1 busybox true").text().to_owned();
    let out = s.exits(125, "run --name c1 busybox true");
    out.says("c1").says(&first[..12]);
    assert_eq!(s.ok("ps -aq").lines().len(), 1);
    s.ok("rm c1");
    s.ok("create --name c1 busybox true");
}

/// SQLite's log is moved into the tables whenever it has grown, by a process that outlives its command, while the
/// next commands read and write.
#[test]
fn nothing_is_forgotten_while_the_log_is_tidied() {
    let s = Sandbox::new().busybox();
    let label = "x".repeat(32 << 10);
    for _ in 0..40 {
        s.kelp("create --label").args([format!("l={label}").as_str(), "busybox", "true"]).exits(0);
    }
    assert_eq!(s.ok("ps -aq").lines().len(), 40);
}

#[test]
fn wait_answers_at_the_end_and_after_it() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sh -c 'sleep 0.5; exit 6'");
    let jobs: Vec<_> = (0..5).map(|_| s.kelp("wait c1").spawn(false)).collect();
    for job in jobs {
        job.finish(Duration::from_secs(20)).expect_code(0).is("6");
    }
    s.ok("wait c1").is("6");
    s.exits(1, "wait nobody").says("nobody");
}

#[test]
fn attach_joins_output_input_and_exit_code() {
    let s = Sandbox::new().busybox();
    s.ok("run -d -i --name c1 busybox sh -c 'read line; echo got $line; exit 4'");
    let out = s.kelp("attach c1").stdin("hello\n").exits(4);
    out.is("got hello");
    s.exits(1, "attach c1");
}

#[test]
fn signals_to_the_client_reach_the_process() {
    let s = Sandbox::new().busybox();
    let job = s.kelp(["run", "--name", "c1", "busybox", "sh", "-c", CATCHER]).spawn(false);
    job.expect("ready");
    job.signal(Signal::TERM);
    job.finish(Duration::from_secs(20)).expect_code(3).has("caught");
}

#[test]
fn the_container_outlives_a_killed_client() {
    let s = Sandbox::new().busybox();
    let job = s.kelp("run --name c1 busybox sh -c 'echo ready; sleep 1000'").spawn(false);
    job.expect("ready");
    job.signal(Signal::KILL);
    job.finish(Duration::from_secs(10)).expect_code(-9);
    assert_eq!(s.field("c1", ".State.Running"), "true");
    s.ok("exec c1 true");
}

#[test]
fn version_and_info_answer() {
    let s = Sandbox::new();
    s.ok("version").has(env!("CARGO_PKG_VERSION"));
    s.ok("version --format '{{.Client.Version}}'").is(env!("CARGO_PKG_VERSION"));
    s.json("info --format '{{json .}}'");
    s.ok("info -f '{{len .ID}} {{.LoggingDriver}} {{.DefaultRuntime}}'").is("32 k8s-file kelp");
    s.ok("info").has(&format!("Storage Driver: {}", Sandbox::snapshotter()));
    s.ok("--version").has(env!("CARGO_PKG_VERSION"));
}

/// `kill -9` of a shim takes its container down at once, and the next command says what happened.
#[test]
fn a_killed_shim_takes_its_container_along() {
    let s = Sandbox::new().busybox();
    // What a throw-away container writes is not kept for a crash; it starts again all the same.
    for (name, flag) in [("c1", ""), ("c2", "--rm")] {
        s.ok(&format!(
            "run -d {flag} --name {name} busybox sh -c 'echo >> /starts; sleep 1000 & sleep 1000'"
        ));
        let shim = rustix::process::Pid::from_raw(s.shim_of(name)).unwrap();
        rustix::process::kill_process(shim, Signal::KILL).unwrap();
        assert!(within(Duration::from_secs(3), || s.processes().is_empty()), "{:?}", s.processes());
        assert_eq!(s.field(name, ".State.Status"), "exited");
        assert_eq!(s.field(name, ".State.ExitCode"), "137");
        assert_ne!(s.field(name, ".State.Error"), "");
        s.ok(&format!("start {name}"));
        assert_eq!(s.field(name, ".State.Running"), "true");
        s.ok(&format!("exec {name} wc -l /starts")).is("2 /starts");
        s.ok(&format!("rm -f {name}"));
    }
}

/// Whoever is attached hears that the exit code is not the program's own.
#[test]
fn who_is_attached_is_told_that_the_shim_was_killed() {
    let s = Sandbox::new().busybox();
    let told = "kelp: the container's shim was killed or died, and the container with it\n";
    s.ok("create --name c3 busybox sh -c 'echo up; sleep 1000'");
    for (name, line) in [
        ("c1", "run --rm --name c1 busybox sh -c 'echo up; sleep 1000'"),
        ("c2", "run --name c2 busybox sh -c 'echo up; sleep 1000'"),
        ("c3", "start -a c3"),
    ] {
        let run = s.kelp(line).spawn(false);
        run.expect("up");
        let shim = rustix::process::Pid::from_raw(s.shim_of(name)).unwrap();
        rustix::process::kill_process(shim, Signal::KILL).unwrap();
        let out = run.finish(Duration::from_secs(20));
        assert_eq!((out.code, out.stderr.as_str()), (137, told), "{}", out.story());
    }
    // Another end is the program's own, or was asked for.
    let run = s.kelp("run --rm --name c4 busybox sh -c 'echo up; sleep 1000'").spawn(false);
    run.expect("up");
    s.ok("rm -f c4");
    let out = run.finish(Duration::from_secs(20));
    assert_eq!((out.code, out.stderr.as_str()), (137, ""), "{}", out.story());
}

/// The same where the host went down meanwhile, as the boot id in the shim's last words says.
#[test]
fn a_throw_away_container_does_not_start_after_a_reboot() {
    let s = Sandbox::new().busybox();
    for (name, flag) in [("c1", ""), ("c2", "--rm")] {
        s.ok(&format!("run -d {flag} --name {name} busybox sleep 1000"));
        let id = s.field(name, ".Id");
        let shim = rustix::process::Pid::from_raw(s.shim_of(name)).unwrap();
        rustix::process::kill_process(shim, Signal::KILL).unwrap();
        assert!(within(Duration::from_secs(3), || s.processes().is_empty()), "{:?}", s.processes());
        let state = s.store().join("containers").join(id).join("state.jsonl");
        let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let text = std::fs::read_to_string(&state).unwrap();
        let before = text.replace(now.trim(), "00000000-0000-0000-0000-000000000000");
        assert_ne!(text, before);
        std::fs::write(&state, before).unwrap();
        assert_eq!(s.field(name, ".State.ExitCode"), "255");
    }
    s.ok("start c1");
    s.exits(1, "start c2").says("the host was rebooted while it ran").says("kelp rm c2");
    s.ok("rm -f c1 c2");
}

#[test]
fn the_event_log_tells_the_story() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 100");
    s.ok("stop -t 0 c1");
    s.ok("rm c1");
    let log = std::fs::read_to_string(s.store().join("events.log")).unwrap();
    let actions: Vec<String> = log
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .filter(|e| e["Type"] == "container")
        .map(|e| e["Action"].as_str().unwrap().to_owned())
        .collect();
    let mut at = 0;
    for expected in ["create", "start", "kill", "die", "stop", "destroy"] {
        let found = actions[at..].iter().position(|a| a == expected);
        at += found.unwrap_or_else(|| panic!("no {expected} in its place: {actions:?}"));
    }
}

#[test]
fn a_container_whose_directory_is_gone_says_so() {
    let s = Sandbox::new().busybox();
    let id = s.ok("create --name c1 busybox true").text().to_owned();
    std::fs::remove_dir_all(s.store().join("containers").join(&id)).unwrap();
    s.exits(1, "start c1").says(&id).says("is gone").says("kelp rm c1");
    s.ok("rm c1").is("c1");
}
