//! `logs`, and the file behind it.

use std::fs;
use std::time::Duration;

use crate::harness::{Sandbox, within};

#[test]
fn logs_keep_both_streams_apart() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 busybox sh -c 'echo one; echo two >&2; echo three'");
    let out = s.ok("logs c1");
    out.is("one\nthree");
    assert_eq!(out.stderr, "two\n");
}

#[test]
fn the_file_is_in_the_cri_format() {
    let s = Sandbox::new().busybox();
    let script = "echo out; echo err >&2; printf half; sleep 0.2; printf 'then whole\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo";
    s.ok(["run", "--name", "c1", "busybox", "sh", "-c", script]);
    let path = s.field("c1", ".LogPath");
    let log = fs::read_to_string(&path).unwrap();
    for line in log.lines() {
        let fields: Vec<&str> = line.splitn(4, ' ').collect();
        assert_eq!(fields.len(), 4, "{line}");
        let (time, fraction) = fields[0].split_once('.').unwrap();
        assert!(
            time.len() == 19 && fraction.trim_end_matches('Z').len() == 9,
            "time to the nanosecond: {line}"
        );
        assert!(["stdout", "stderr"].contains(&fields[1]) && ["F", "P"].contains(&fields[2]), "{line}");
    }
    assert!(log.lines().any(|l| l.contains(" stderr F err")) && log.contains(" stdout P "), "{log:.2000}");
    let out = s.ok("logs c1");
    out.has("halfthen whole\n");
    assert_eq!(out.lines().iter().filter(|l| l.len() == 40000).count(), 1);
}

#[test]
fn the_last_line_may_lack_its_end() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 busybox printf 'a\\nb'");
    assert_eq!(s.ok("logs c1").stdout.trim_end(), "a\nb");
}

#[test]
fn tail_since_and_timestamps() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 busybox sh -c 'for i in 1 2 3 4 5; do echo $i; done; sleep 1.2; echo late'");
    s.ok("logs --tail 2 c1").is("5\nlate");
    s.ok("logs -n 0 c1").is("");
    s.ok("logs --tail all c1").is("1\n2\n3\n4\n5\nlate");
    s.ok("logs --tail 100 c1").is("1\n2\n3\n4\n5\nlate");
    s.ok("logs --details --tail 2 c1").is("5\n late");
    let stamped = s.ok("logs -t c1");
    let last = *stamped.lines().last().unwrap();
    let (time, text) = last.split_once(' ').unwrap();
    assert!(text == "late" && time.ends_with('Z') && time.len() == 30, "{last}");
    s.ok(&format!("logs --since {time} c1")).is("late");
    s.ok(&format!("logs --until {} c1", stamped.lines()[0].split(' ').next().unwrap()))
        .has("1")
        .lacks("late");
    s.ok("logs --since 1h c1").has("1").has("late");
    s.exits(1, "logs --since nonsense c1").says("nonsense");
    s.exits(1, "logs nobody").says("nobody");
}

#[test]
fn follow_shows_what_comes_and_ends_with_the_container() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sh -c 'echo first; sleep 1; echo second; sleep 1; printf third'");
    let job = s.kelp("logs -f c1").spawn(false);
    job.expect("first");
    job.expect("second");
    let out = job.finish(Duration::from_secs(20)).expect_code(0);
    assert_eq!(out.text(), "first\nsecond\nthird");
    s.ok("logs -f c1").is("first\nsecond\nthird");
}

#[test]
fn a_million_lines_are_a_million_lines() {
    let s = Sandbox::new().busybox();
    s.kelp("run -d --name c1 busybox seq 1000000").limit(Duration::from_secs(120)).exits(0);
    s.kelp("wait c1").limit(Duration::from_secs(200)).exits(0).is("0");
    let out = s.kelp("logs c1").limit(Duration::from_secs(120)).exits(0);
    let mut expected = 1u32;
    for line in out.stdout.lines() {
        assert_eq!(line.parse::<u32>().ok(), Some(expected), "after {} lines", expected - 1);
        expected += 1;
    }
    assert_eq!(expected, 1_000_001);
    s.ok("logs --tail 1 c1").is("1000000");
}

#[test]
fn attached_output_is_whole_too() {
    let s = Sandbox::new().busybox();
    let out = s.kelp("run --rm busybox seq 200000").limit(Duration::from_secs(120)).exits(0);
    assert_eq!(out.stdout.lines().count(), 200_000);
}

/// A client that does not read blocks neither the container nor the log.
#[test]
fn a_stalled_reader_holds_up_nobody() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sh -c 'sleep 1; seq 300000; touch /done; sleep 1000'");
    let mut command = s.kelp("attach --no-stdin c1").command();
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let mut stalled = command.spawn().unwrap();
    let finished = within(Duration::from_secs(60), || s.kelp("exec c1 test -e /done").run().code == 0);
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    assert!(finished, "the container waits for a client that does not read");
    assert_eq!(s.ok("logs c1").stdout.lines().count(), 300_000);
}

#[test]
fn logs_survive_restarts_and_go_with_the_container() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 busybox echo x");
    s.ok("start c1");
    assert!(within(Duration::from_secs(10), || s.ok("logs c1").text() == "x\nx"));
    let path = s.field("c1", ".LogPath");
    assert!(s.becomes("c1", "exited"));
    s.ok("rm c1");
    assert!(!std::path::Path::new(&path).exists());
}
