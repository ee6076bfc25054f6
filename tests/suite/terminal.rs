//! `-t`: a terminal inside that is one, and ways to leave it.

use std::time::Duration;

use crate::harness::{Release, Sandbox, within};

#[test]
fn a_terminal_that_resizes() {
    let s = Sandbox::new().busybox();
    let mut t = s.terminal("run --rm -it busybox sh");
    t.send("stty size; tty; echo TERM=$TERM\n");
    t.expect("24 80");
    t.expect("/dev/pts/0");
    t.expect("TERM=xterm");
    t.resize(50, 132);
    std::thread::sleep(Duration::from_millis(300));
    t.send("stty size\n");
    t.expect("50 132");
    t.send("exit 7\n");
    t.exits(7);
}

#[test]
fn keys_are_signals_inside() {
    let s = Sandbox::new().busybox();
    let mut t = s.terminal("run --rm -it busybox sh");
    t.send("sleep 1000; echo code=$?\n");
    std::thread::sleep(Duration::from_millis(500));
    t.send("\x03");
    t.send("echo still $((40+2))\n");
    t.expect("still 42");
    t.send("\x04");
    let _ = t;
}

#[test]
fn detaching_leaves_it_running_and_attach_comes_back() {
    let s = Sandbox::new().busybox();
    let mut t = s.terminal("run -it --name c1 busybox sh");
    t.send("X=kept; echo ready-$X\n");
    t.expect("ready-kept");
    t.send("\x10\x11");
    t.exits(0);
    assert_eq!(s.field("c1", ".State.Running"), "true");
    let mut t = s.terminal("attach c1");
    t.send("echo again-$X\n");
    t.expect("again-kept");
    t.send("exit 5\n");
    t.exits(5);
}

#[test]
fn detach_keys_can_be_chosen() {
    let s = Sandbox::new().busybox();
    let mut t = s.terminal("run -it --name c1 --detach-keys ctrl-x,x busybox sh");
    t.send("echo ready-$((1+1))\n");
    t.expect("ready-2");
    t.send("\x10\x11echo not-left-$((1+1))\n");
    t.expect("not-left-2");
    t.send("\x18x");
    t.exits(0);
    assert_eq!(s.field("c1", ".State.Running"), "true");
    let out = s.kelp("run --rm --detach-keys nonsense-key busybox true").run();
    assert!([1, 125].contains(&out.code), "{}", out.story());
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let mut t = s.terminal("exec -it c1 sh");
    t.resize(33, 77);
    std::thread::sleep(Duration::from_millis(300));
    t.send("stty size; test -t 0 && test -t 1 && echo is-a-tty\n");
    t.expect("33 77");
    t.expect("is-a-tty");
    t.send("exit 9\n");
    t.exits(9);
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

#[test]
fn the_shim_survives_the_terminal() {
    let s = Sandbox::new().busybox();
    let mut t = s.terminal("run -it --name c1 busybox sh");
    t.send("echo ready-$((1+1))\n");
    t.expect("ready-2");
    drop(t);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

#[test]
fn a_terminal_is_asked_for_where_there_is_none() {
    let s = Sandbox::new().busybox();
    let out = s.kelp("run --rm -it busybox true").run();
    assert!([1, 125].contains(&out.code), "{}", out.story());
    out.says("tty");
    s.ok("run --rm -t busybox tty").has("/dev/pts/0");
    s.ok("run -d -t --name c1 busybox sh -c 'tty; sleep 100'");
    assert!(within(Duration::from_secs(10), || s.ok("logs c1").stdout.contains("/dev/pts/0")));
}

#[test]
fn the_callers_terminal_is_as_it_was() {
    let s = Sandbox::new().busybox();
    // Not -a: the size, which it shows too, comes from this test, at a moment of its own.
    let script = format!(
        "stty -g > before; {} run --rm -it busybox true; stty -g > after; cmp before after && echo unchanged",
        s.program().display()
    );
    let call = s.program_call("/bin/sh").args(["-c", &script]).env("TERM", "xterm");
    let t = crate::harness::Terminal::start(&call);
    t.expect("unchanged");
    t.exits(0);
}

#[test]
fn bash_on_debian_has_job_control_and_console() {
    let s = Sandbox::new().debian(Release::Bookworm);
    let mut t = s.terminal("run --rm -it debian bash");
    t.send("tty; ls -l /dev/console | cut -c1; set -o | grep monitor\n");
    t.expect("/dev/pts/0");
    t.expect("monitor        \ton");
    t.send("su nobody -s /bin/sh -c 'id -un'\n");
    t.expect("nobody");
    t.send("exit\n");
    let seen = t.exits(0);
    assert!(!seen.contains("no job control"), "{seen}");
}
