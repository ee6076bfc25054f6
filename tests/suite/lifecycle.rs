//! create, start, stop, restart, kill, rm, wait, attach, ps, inspect: what a container goes through.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Job, Out, Sandbox, within};

const CATCHER: &str = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(s: &Sandbox, container: &str) {
    assert!(within(Duration::from_secs(20), || s.ok(&format!("logs {container}")).stdout.contains("ready")));
}

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
fn ps_tells_who_is_there() {
    let s = Sandbox::new().busybox();
    let a = s.ok("run -d --name a1 -l tier=web busybox sleep 100").text().to_owned();
    s.exits(3, "run --name b1 busybox sh -c 'exit 3'");
    s.ok("create --name c1 busybox true");
    assert!(s.becomes("b1", "exited"));
    let out = s.ok("ps");
    let header = out.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    assert_eq!(out.lines().len(), 2);
    out.has(&a[..12]).has("\"sleep 100\"").has("Up ").has("busybox");
    s.ok("ps -a --format '{{.Names}} {{.State}}'").is("c1 created\nb1 exited\na1 running");
    s.ok("ps -a --filter status=exited --format '{{.Names}} {{.Status}}'").has("b1 Exited (3)");
    s.ok("ps -aq --filter name=^a1$").is(&a[..12]);
    s.ok("ps -q --no-trunc").is(&a);
    s.ok("ps -q --format '{{.Names}}'").is(&a[..12]).says("--format is ignored");
    s.ok("ps -aq -n 2").lines().len().eq(&2).then_some(()).unwrap();
    s.ok("ps -l --format '{{.Names}}'").is("c1");
    s.ok("ps -a --filter label=tier=web --format '{{.Label \"tier\"}}'").is("web");
    let first = s.ok("ps --format json");
    assert_eq!(serde_json::from_str::<serde_json::Value>(first.lines()[0]).unwrap()["Names"], "a1");
    let row = s.json(["ps", "--filter", "name=a1", "--format", "{{json .}}"]);
    assert!(row.get("Label").is_none(), "{row}");
    assert!(row["Size"].as_str().unwrap().contains("(virtual "), "{row}");
    for bad in ["nonsense=1", "status=nonsense", "exited=x", "before=nobody"] {
        s.exits(1, &format!("ps --filter {bad}"));
    }
    s.exits(125, "ps --filter nonsense");
    s.exits(1, "ps --format '{{.Nonsense}}'");
}

#[test]
fn inspect_has_dockers_shape() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d --name c1 -e A=b -w /tmp -h box busybox sleep 100").text().to_owned();
    let all = s.json("inspect c1");
    let c = &all[0];
    assert_eq!(c["Id"], id.as_str());
    assert_eq!(c["Name"], "/c1");
    assert_eq!(c["State"]["Status"], "running");
    assert_eq!(c["Config"]["WorkingDir"], "/tmp");
    assert_eq!(c["Config"]["Hostname"], "box");
    assert_eq!(c["Path"], "sleep");
    assert_eq!(c["Args"], serde_json::json!(["100"]));
    assert!(c["Config"]["Env"].as_array().unwrap().contains(&"A=b".into()));
    assert!(c["Created"].as_str().unwrap().contains('T'));
    for key in
        ["HostConfig", "Mounts", "NetworkSettings", "Image", "LogPath", "RestartCount", "Driver", "Platform"]
    {
        assert!(c.get(key).is_some(), "no {key}");
    }
    assert_eq!(c["GraphDriver"]["Name"], Sandbox::snapshotter());
    if Sandbox::snapshotter() != "copy" {
        let upper = s.store().join("containers").join(&id).join("upper");
        assert_eq!(c["GraphDriver"]["Data"]["UpperDir"], upper.display().to_string());
    }
    let optional = "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{json .Config.Healthcheck}} \
        {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}} {{len .HostConfig.PortBindings}} {{.Config.Domainname}}";
    s.ok(["inspect", "-f", optional, "c1"]).is("none null no 0 0");
    s.ok("create --name t1 --tmpfs /t:size=1m,mode=700 busybox true");
    s.ok("inspect -f '{{json .HostConfig.Tmpfs}}' t1").is(r#"{"/t":"size=1048576,mode=700"}"#);
    let out = s.exits(1, "inspect c1 nobody");
    out.says("nobody").has(&id);
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
    s.ok("run -d --name c1 busybox sh -c 'sleep 1000 & sleep 1000'");
    let shim = rustix::process::Pid::from_raw(s.shim_of("c1")).unwrap();
    rustix::process::kill_process(shim, Signal::KILL).unwrap();
    assert!(within(Duration::from_secs(3), || s.processes().is_empty()), "{:?}", s.processes());
    assert_eq!(s.field("c1", ".State.Status"), "exited");
    assert_eq!(s.field("c1", ".State.ExitCode"), "137");
    assert_ne!(s.field("c1", ".State.Error"), "");
    s.ok("start c1");
    assert_eq!(s.field("c1", ".State.Running"), "true");
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

/// Nothing that was to be printed is lost without a word and a status. The container goes on, as with docker.
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let s = Sandbox::new().busybox();
    s.ok("run -d -i --name c1 busybox sh -c 'echo first; cat'");
    assert!(within(Duration::from_secs(20), || s.ok("logs c1").stdout.contains("first")));
    let sh = |script: &str| {
        let call = s.program_call("bash").args(["-c", script]).env("KELP", s.program());
        call.run()
    };
    for line in
        ["ps", "logs c1", "inspect c1", "exec c1 echo hi", "images", "version", "save busybox", "ps --help"]
    {
        let out = sh(&format!("\"$KELP\" {line} >/dev/full"));
        out.says("no space left on device");
        assert_eq!(out.code, 1, "{line}: {}", out.story());
    }
    let out = sh("\"$KELP\" run --name r1 busybox sh -c 'echo hi; sleep 1000' >/dev/full");
    out.says("no space left on device");
    assert_eq!(out.code, 125, "{}", out.story());
    assert_eq!(s.field("r1", ".State.Running"), "true");
    s.ok("logs r1").is("hi");
    assert_eq!(sh("\"$KELP\" run --rm busybox sh -c 'echo hi >&2' 2>/dev/full").code, 125);
    s.ok("create --name r2 busybox echo hi");
    let out = sh("\"$KELP\" start -a r2 >/dev/full");
    assert_eq!(out.code, 1, "{}", out.story());
}

/// A parent that closed standard streams finds none of its output in the store's files.
#[test]
fn closed_standard_streams_are_not_taken_by_files_of_the_store() {
    let s = Sandbox::new().busybox();
    let sh = |script: &str| s.program_call("bash").args(["-c", script]).env("KELP", s.program()).run();
    for closed in ["<&- >&- 2>&-", ">&-", "2>&- <&-"] {
        assert_eq!(
            sh(&format!("\"$KELP\" nonsense {closed}; \"$KELP\" images {closed}")).code,
            0,
            "{closed}"
        );
        assert_eq!(sh(&format!("\"$KELP\" run --rm busybox echo hi {closed}")).code, 0, "{closed}");
    }
    s.ok("system check");
    s.ok("images -q --no-trunc");
}

#[test]
fn a_reader_that_leaves_ends_the_command_and_not_the_container() {
    let s = Sandbox::new().busybox();
    let ticking = "while sleep 0.05; do echo tick; done";
    let sh = |script: &str| {
        let out = s.program_call("bash").args(["-c", script]).env("KELP", s.program()).exits(0);
        out.silent();
        out.text().to_owned()
    };
    let run = format!("\"$KELP\" run --name c1 busybox sh -c '{ticking}' | head -1; echo ${{PIPESTATUS[0]}}");
    assert_eq!(sh(&run), "tick\n141");
    assert_eq!(s.field("c1", ".State.Running"), "true");
    for line in ["logs -f c1", "attach c1", &format!("exec c1 sh -c '{ticking}'")] {
        let piped = sh(&format!("\"$KELP\" {line} </dev/null | head -1; echo ${{PIPESTATUS[0]}}"));
        assert_eq!(piped, "tick\n141", "{line}");
    }
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

#[test]
fn a_container_whose_directory_is_gone_says_so() {
    let s = Sandbox::new().busybox();
    let id = s.ok("create --name c1 busybox true").text().to_owned();
    std::fs::remove_dir_all(s.store().join("containers").join(&id)).unwrap();
    s.exits(1, "start c1").says(&id).says("is gone").says("kelp rm c1");
    s.ok("rm c1").is("c1");
}

/// docker's raw form, its answers for what is empty, and its kinds of objects.
#[test]
fn listings_and_inspect_answer_as_dockers() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d=true -it=false --name c1 -l a=b busybox sleep 1000").text().to_owned();
    let short = &id[..12];
    let raw = s.ok("ps --format raw").stdout;
    let lines: Vec<&str> = raw.split('\n').collect();
    let [first, image, command, made, state, status, rest @ ..] = lines.as_slice() else { panic!("{raw}") };
    assert_eq!(*first, format!("container_id: {short}"));
    assert_eq!([*image, *command, *state], ["image: busybox", "command: \"sleep 1000\"", "state: running"]);
    assert!(made.starts_with("created_at: 2") && status.starts_with("status: Up "), "{raw}");
    assert_eq!(rest, ["names: c1", "labels: a=b", "ports:", "", ""]);
    s.ok("ps -s --format raw").has("\nports:\nsize: ");
    s.ok("ps -q --format raw").is(&format!("container_id: {short}"));
    let raw = s.ok("images --format raw").stdout;
    assert!(raw.starts_with("repository: busybox\ntag: latest\nimage_id: "), "{raw}");
    assert!(
        raw.contains("\ncreated_at: ") && raw.contains("\nvirtual_size: ") && raw.ends_with("B\n\n"),
        "{raw}"
    );
    s.ok("images --digests --format raw").has("\ndigest: sha256:");
    s.ok("images -q --format raw").has("image_id: ");

    let nulls = "{{.Config.Entrypoint}} {{.State.Health}} {{.Config.Volumes}} {{.HostConfig.PidsLimit}} \
                 {{json .Config.Volumes}} {{len .HostConfig.Devices}}";
    s.ok(["inspect", "-f", nulls, "c1"]).is("[] <nil> map[] <nil> null 0");
    s.exits(126, "exec -u nobodyx c1 true").says("nobodyx");
    s.exits(127, "exec c1 nosuch");
    s.ok("exec -i=false -t=f c1 echo hi").is("hi");
    s.ok("network create shop");
    for line in ["inspect shop", "inspect --type network shop"] {
        s.ok(format!("{line} -f {{{{.Name}}}}{{{{.Internal}}}}").as_str()).is("shopfalse");
    }
    s.exits(1, "inspect --type bogus x").says("unknown type: \"bogus\"");
    s.exits(1, "inspect --type volume x").says("not built yet");
    s.exits(1, "inspect --type image shop");
}
