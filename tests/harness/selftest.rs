//! The harness itself: that it finds what it promises to find. A check that never fails checks nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{Sandbox, Terminal, split, status_field};

/// What a dropped sandbox complains about.
fn complaint(s: Sandbox) -> String {
    let cause = catch_unwind(AssertUnwindSafe(|| drop(s))).expect_err("nothing was found");
    cause.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(split("a  'b c' \"d 'e'\" '' f"), ["a", "b c", "d 'e'", "", "f"]);
    assert_eq!(split("--x='y z'w"), ["--x=y zw"]);
}

#[test]
fn a_process_left_behind_is_found_and_ended() {
    let s = Sandbox::new();
    let line = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let pid = s.program_call("/bin/sh").args(["-c", line]).exits(0).text().to_owned();
    assert!(complaint(s).contains("sleep 1000"));
    // Whoever adopted it may take its time to reap it.
    assert!(status_field(pid.parse().unwrap(), "State").is_none_or(|state| state.starts_with('Z')));
}

#[test]
fn a_file_beside_the_store_is_found() {
    let s = Sandbox::new();
    s.program_call("touch").args([s.home().join("stray")]).exits(0);
    assert!(complaint(s).contains("stray"));
}

#[test]
fn a_file_where_everybody_may_write_is_blamed_on_the_test_that_made_it() {
    let s = Sandbox::new();
    if !s.account.exclusive {
        return eprintln!("NOT ASKED: the account of these tests has files of its own in such places");
    }
    let uid = s.account.uid;
    let stray = format!("/var/tmp/kelp-stray-{uid}");
    s.program_call("touch").args([&stray]).exits(0);
    assert!(complaint(s).contains(&stray));
    // Another test may have been quicker: those in between are kept until the same account comes round.
    let mut others = Vec::new();
    while others.last().is_none_or(|s: &Sandbox| s.account.uid != uid) {
        others.push(Sandbox::new());
    }
    drop(others);
    std::fs::remove_file(stray).unwrap();
}

#[test]
fn commands_run_as_the_account_with_an_empty_environment() {
    let s = Sandbox::new();
    s.program_call("id").args(["-u"]).exits(0).is(&s.account.uid.to_string());
    let out = s.program_call("/usr/bin/env").exits(0);
    assert_eq!(out.lines().len(), 2, "{}", out.story());
}

#[test]
fn a_command_that_hangs_is_ended_with_its_group() {
    let s = Sandbox::new();
    let begin = Instant::now();
    let call =
        s.program_call("/bin/sh").args(["-c", "echo before; sleep 1000 | cat"]).limit(Duration::from_secs(1));
    let cause = catch_unwind(AssertUnwindSafe(|| call.run())).expect_err("it came back");
    let told = cause.downcast_ref::<String>().unwrap();
    assert!(told.contains("did not end") && told.contains("before"), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_stream_that_stays_open_is_found() {
    let s = Sandbox::new();
    let call = s.program_call("/bin/sh").args(["-c", "sleep 1000 & exit 0"]).limit(Duration::from_secs(1));
    let cause = catch_unwind(AssertUnwindSafe(|| call.run())).expect_err("it came back");
    assert!(cause.downcast_ref::<String>().unwrap().contains("still holds"));
}

#[test]
fn a_terminal_is_one() {
    let s = Sandbox::new();
    let mut t = Terminal::start(&s.program_call("/bin/sh"));
    t.send("test -t 0 && stty size && test -r /dev/tty && echo whole-$((1 + 1))\n");
    t.expect("24 80");
    t.expect("whole-2");
    t.resize(5, 7);
    t.send("stty size; exit 3\n");
    assert!(t.exits(3).contains("5 7"));
}
