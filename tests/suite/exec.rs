//! `exec`: one more process in a running container.

use std::time::Duration;

use crate::harness::{Sandbox, within};

#[test]
fn exec_runs_in_the_container_and_passes_the_code_on() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 -h box -e A=1 -w /tmp busybox sleep 1000");
    s.ok("exec c1 sh -c 'hostname; pwd; echo $A; cat /proc/1/comm'").is("box\n/tmp\n1\nsleep");
    s.exits(3, "exec c1 sh -c 'exit 3'");
    s.exits(137, "exec c1 sh -c 'kill -9 $$'");
    s.exits(127, "exec c1 no-such-command").says("no-such-command");
    s.exits(126, "exec c1 /etc/passwd").says("/etc/passwd");
}

#[test]
fn exec_takes_its_own_environment_user_and_directory() {
    let s = Sandbox::new().busybox();
    s.write("vars", "F=file\n");
    s.ok("run -d --name c1 -e A=1 -e B=2 busybox sleep 1000");
    let out =
        s.ok("exec -e A=x --env-file vars -u app -w /etc c1 sh -c 'echo $A $B $F; id -un; pwd; echo $HOME'");
    out.is("x 2 file\napp\n/etc\n/home/app");
    s.ok("exec -u 33:44 c1 sh -c 'echo $(id -u):$(id -g)'").is("33:44");
    let out = s.kelp("exec -w /no/such/dir c1 true").run();
    assert!([126, 127].contains(&out.code), "{}", out.story());
    assert_ne!(s.kelp("exec -u nobody1 c1 true").run().code, 0);
}

#[test]
fn exec_streams_input_and_output() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    s.kelp("exec -i c1 cat").stdin("in and out").exits(0).is("in and out");
    s.kelp("exec c1 cat").stdin("not read").exits(0).is("");
    let out = s.ok("exec c1 sh -c 'echo o; echo e >&2'");
    out.is("o");
    assert_eq!(out.stderr, "e\n");
    assert_eq!(s.ok("exec c1 sh -c 'head -c 5000000 /dev/zero | tr \"\\0\" y'").stdout.len(), 5_000_000);
    s.ok("logs c1").is("");
}

#[test]
fn detached_exec_runs_on() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let out = s.ok("exec -d c1 sh -c 'sleep 0.3; touch /done; sleep 1000'");
    assert!(out.took < Duration::from_secs(5));
    assert!(within(Duration::from_secs(10), || s.kelp("exec c1 test -e /done").run().code == 0));
    s.ok("rm -f c1");
}

#[test]
fn exec_needs_a_running_container() {
    let s = Sandbox::new().busybox();
    s.ok("create --name c1 busybox true");
    s.exits(1, "exec c1 true").says("not running");
    s.exits(1, "exec nobody true").says("nobody");
}

#[test]
fn exec_dies_with_its_container() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let job = s.kelp("exec c1 sh -c 'echo in; sleep 1000'").spawn(false);
    job.expect("in");
    s.ok("kill c1");
    job.finish(Duration::from_secs(20)).expect_code(137);
}

#[test]
fn privileged_exec_has_everything() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    s.exits(1, "exec c1 mount -t tmpfs none /tmp");
    s.ok("exec --privileged c1 mount -t tmpfs none /tmp");
}

#[test]
fn many_at_once() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let jobs: Vec<_> = (0..40).map(|n| s.kelp(["exec", "c1", "echo", &n.to_string()]).spawn(false)).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        job.finish(Duration::from_secs(60)).expect_code(0).is(&n.to_string());
    }
}

#[test]
fn exec_into_a_container_with_init_and_another_user() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 --init -u app busybox sleep 1000");
    s.ok("exec c1 id -un").is("app");
    s.ok("exec -u root c1 id -un").is("root");
}

/// A container may stop whatever enters it before it gets to its program: that is a matter between the two.
#[test]
fn a_container_that_stops_what_enters_it_holds_up_nobody_else() {
    let s = Sandbox::new().busybox();
    let hostile = "echo ready; while :; do kill -STOP -1; done";
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", hostile]);
    assert!(within(Duration::from_secs(20), || s.ok("logs c1").stdout.contains("ready")));
    let jobs: Vec<_> =
        (0..4).map(|_| s.kelp("exec c1 true").limit(Duration::from_secs(30)).spawn(false)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let out = s.ok("kill -s CONT c1");
    assert!(out.took < Duration::from_secs(3), "kill took {:?}", out.took);
    let out = s.ok("kill c1");
    assert!(out.took < Duration::from_secs(3), "kill took {:?}", out.took);
    for job in jobs {
        assert_ne!(job.finish(Duration::from_secs(30)).code, 125);
    }
}
