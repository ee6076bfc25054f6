//! The command's own standard streams: full, closed, or left by their reader.

use std::time::Duration;

use crate::harness::{Sandbox, within};

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

/// A reader that was away finds what waits for it in large pieces, not line by line.
#[test]
fn a_backlog_comes_in_large_pieces() {
    let s = Sandbox::new().busybox();
    let script = "\"$KELP\" run --rm busybox seq 1 300000 | (sleep 1; dd bs=64k 2>&1 >/dev/null)";
    let out = s.program_call("bash").args(["-c", script]).env("KELP", s.program()).exits(0);
    assert!(out.stdout.contains("1988895 bytes"), "{}", out.story());
    let whole_and_partial = out.stdout.lines().next().unwrap().trim_end_matches(" records in");
    let reads: u32 = whole_and_partial.split('+').map(|n| n.parse::<u32>().unwrap()).sum();
    assert!(reads < 1000, "{reads} reads");
}

/// Without `-i` a container reads its own `/dev/null`, under the name that it has there; what else an image or a
/// mount put in its place is not opened.
#[test]
fn stdin_of_nobody_is_the_containers_own_null() {
    let s = Sandbox::new().busybox();
    let look = "readlink /proc/self/fd/0; stat -L -c %t:%T /proc/self/fd/0; cat; echo >&0 && echo written";
    s.ok(["run", "--rm", "busybox", "sh", "-c", look]).is("/dev/null\n1:3\nwritten");
    s.ok(["run", "--rm", "--userns", "keep-id", "busybox", "readlink", "/proc/self/fd/0"]).is("/dev/null");
    s.ok("run -d --name c1 busybox sleep 1000");
    s.ok(["exec", "c1", "sh", "-c", look]).is("/dev/null\n1:3\nwritten");
    let secret = s.write("secret", "not for reading");
    let over = format!("{}:/dev/null", secret.display());
    let number = "stat -L -c %t:%T /proc/self/fd/0; cat";
    s.ok(["run", "--rm", "-v", &over, "busybox", "sh", "-c", number]).is("1:3");
    let empty = s.work().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let over = format!("{}:/dev", empty.display());
    s.ok(["run", "--rm", "-v", &over, "busybox", "sh", "-c", number]).is("1:3");
    std::os::unix::fs::symlink("/proc/self/fd/2", empty.join("null")).unwrap();
    s.ok(["run", "--rm", "-v", &over, "busybox", "sh", "-c", number]).is("1:3");
}
