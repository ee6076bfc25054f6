//! `-v`, `--mount`, `--tmpfs`, `--read-only`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::Sandbox;

#[test]
fn a_bind_shows_and_takes_files() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    s.write("data/in", "from the host");
    let v = format!("-v {}:/d", dir.display());
    s.busybox_sh(&v, "cat /d/in; echo out > /d/out").is("from the host");
    assert_eq!(fs::read_to_string(dir.join("out")).unwrap(), "out\n");
    assert_eq!(fs::metadata(dir.join("out")).unwrap().uid(), s.account.uid);
}

#[test]
fn a_read_only_bind_cannot_be_written_by_anyone() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    s.write("data/in", "x");
    for v in [
        format!("-v {}:/d:ro", dir.display()),
        format!("--mount type=bind,src={},dst=/d,readonly", dir.display()),
    ] {
        s.busybox_sh(
            &v,
            "cat /d/in; touch /d/new 2>/dev/null || echo refused; rm /d/in 2>/dev/null || echo refused",
        );
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn a_single_file_can_be_bound() {
    let s = Sandbox::new().busybox();
    let file = s.write("file", "content");
    s.busybox_sh(&format!("-v {}:/etc/deep/new/file:ro", file.display()), "cat /etc/deep/new/file")
        .is("content");
    s.busybox_sh(&format!("-v {}:/etc/passwd", file.display()), "cat /etc/passwd").is("content");
}

#[test]
fn a_file_and_a_directory_do_not_go_together() {
    let s = Sandbox::new().busybox();
    let (file, dir) = (s.write("file", ""), s.dir("dir"));
    for (source, target) in [(&dir, "/bin/busybox"), (&file, "/tmp")] {
        let bind = format!("{}:{target}", source.display());
        s.exits(125, ["run", "--rm", "-v", &bind, "busybox", "true"])
            .says(&format!("{target} is a file on one side and a directory on the other"));
    }
}

#[test]
fn read_only_reaches_submounts() {
    let s = Sandbox::new().busybox();
    s.busybox_sh(
        "-v /proc:/hostproc:ro",
        "test -d /hostproc/sys && ! sh -c 'echo x > /hostproc/self/comm' 2>/dev/null",
    );
    s.busybox_sh(
        "-v /dev:/hostdev:ro",
        "! touch /hostdev/shm/x 2>/dev/null && ! touch /hostdev/x 2>/dev/null",
    );
}

#[test]
fn v_makes_a_missing_source_and_mount_refuses() {
    let s = Sandbox::new().busybox();
    let made = s.work().join("made/by/kelp");
    s.busybox_sh(&format!("-v {}:/d", made.display()), "touch /d/x");
    assert!(made.join("x").exists());
    let missing = s.work().join("missing");
    let out = s.exits(
        125,
        &format!("run --rm --mount type=bind,source={},target=/d busybox true", missing.display()),
    );
    out.says(missing.to_str().unwrap());
    assert!(!missing.exists());
}

#[test]
fn relative_sources_mean_the_current_directory() {
    let s = Sandbox::new().busybox();
    s.write("here/x", "x");
    s.busybox_sh("-v ./here:/d", "cat /d/x").is("x");
}

#[test]
fn tmpfs_takes_size_mode_owner_and_number_of_files() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh(
        "--tmpfs /t:size=4m,mode=700",
        "stat -c %a /t; df -k /t | tail -1; grep ' /t ' /proc/mounts",
    );
    out.has("700").has(" 4096 ").has(" /t tmpfs").has("nosuid").has("nodev").has("noexec");
    s.busybox_sh(
        "--mount type=tmpfs,dst=/t,tmpfs-size=1m",
        "head -c 2m /dev/zero > /t/x 2>/dev/null || echo full",
    )
    .is("full");
    s.busybox_sh("--tmpfs /t", "stat -c %a /t").is("1777");
    s.exits(125, "run --rm --tmpfs /t:nonsense=1 busybox true").says("nonsense");
    s.busybox_sh(
        "-u 5 --tmpfs /t:uid=5,gid=6,mode=700,nr_inodes=3",
        "stat -c '%u %g' /t; cd /t; touch a b && touch c || echo full",
    )
    .has("5 6")
    .has("full");
    s.exits(125, "run --rm --tmpfs /t:uid=90000 busybox true").says("uid=90000").says("map");
}

#[test]
fn a_read_only_root_leaves_the_mounts_writable() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    let options = format!("--read-only --tmpfs /t -v {}:/d", dir.display());
    s.busybox_sh(
        &options,
        "touch /t/x /d/x /dev/shm/x && ! touch /x 2>/dev/null && ! touch /etc/x 2>/dev/null",
    );
    s.ok("run --rm --read-only -w /tmp busybox true");
}

#[test]
fn the_order_of_mounts_does_not_matter() {
    let s = Sandbox::new().busybox();
    let (outer, inner) = (s.dir("outer"), s.dir("inner"));
    s.write("inner/x", "inner");
    let options = format!("-v {}:/a/b -v {}:/a", inner.display(), outer.display());
    s.busybox_sh(&options, "cat /a/b/x").is("inner");
}

#[test]
fn nonsense_is_refused_with_the_word() {
    let s = Sandbox::new().busybox();
    for bad in [
        "-v /a:/b:nonsense",
        "-v relative:b",
        "--mount type=nonsense,dst=/x",
        "--mount type=bind,src=/tmp",
        "-v /tmp:/",
        "--mount type=tmpfs,dst=relative",
        "--mount type=bind,src=/tmp,dst=/x,nonsense=1",
        "-v /tmp:/x -v /etc:/x",
    ] {
        let out = s.exits(125, &format!("run --rm {bad} busybox true"));
        assert!(!out.stderr.trim().is_empty(), "{bad}");
    }
    assert_eq!(s.ok("ps -aq").text(), "");
}

/// T-procvol: nothing is mounted over `/proc`, whoever asks.
#[test]
fn proc_is_never_covered() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    for target in ["/proc", "/proc/self", "/proc/sys/kernel", "/x/../proc"] {
        s.exits(125, &format!("run --rm -v {}:{target} busybox true", dir.display())).says("proc");
        s.exits(125, &format!("run --rm --tmpfs {target} busybox true")).says("proc");
    }
}

#[test]
fn host_mounts_keep_their_locked_flags() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("-v /proc/sys/kernel/ostype:/o", "cat /o").is("Linux");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let host = mounts.lines().find(|l| l.split(' ').nth(1) == Some("/proc")).unwrap();
    let inside = s.busybox_sh("-v /proc:/host-proc", "grep ' /host-proc ' /proc/mounts");
    for flag in ["nosuid", "nodev", "noexec"].into_iter().filter(|f| host.contains(f)) {
        inside.has(flag);
    }
}

#[test]
fn propagation_words() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    for word in ["rprivate", "private", "rslave", "slave"] {
        s.busybox_sh(&format!("-v {}:/d:{word}", dir.display()), "touch /d/x");
    }
    let out = s.busybox_sh(&format!("-v {}:/d:rslave", dir.display()), "grep ' /d ' /proc/self/mountinfo");
    assert!(out.text().contains("master:") || !out.text().contains("shared:"), "{}", out.story());
}
