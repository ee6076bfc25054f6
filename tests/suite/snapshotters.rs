//! `--snapshotter`: the kernel's overlay, ours and a copy make the same containers.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Release, Sandbox, needs_root, status_field, within};

/// The pid of the process that serves a container's files.
fn file_server(s: &Sandbox) -> Option<i32> {
    s.processes().iter().find(|p| p.line.contains("kelp-files")).map(|p| p.pid)
}

#[test]
fn each_makes_the_same_container() {
    let s = Sandbox::new().debian(Release::Bookworm);
    let script = "cd /; find bin/ etc/ usr/ var/ -printf '%p %y %m %U %G %l %s\n' | grep -v ' d ' | sort | md5sum; \
        rm -r /usr/share/doc; mv /etc/passwd /etc/moved; echo x >> /etc/fstab; ls -d /usr/share/*; cat /etc/fstab";
    let of = |name: &str| {
        let words = ["run", "--rm", "--snapshotter", name, "debian", "sh", "-c", script];
        s.ok(words).text().to_owned()
    };
    let overlay = of("overlay");
    assert_eq!(overlay, of("fuse"));
    assert_eq!(overlay, of("copy"));
}

#[test]
fn it_is_shown_and_chosen() {
    let s = Sandbox::new().busybox();
    s.ok("create --name over --snapshotter overlay busybox true");
    s.ok("create --name fuse --snapshotter fuse busybox true");
    assert_eq!(s.field("over", ".Driver"), "overlay");
    assert_eq!(s.field("fuse", ".Driver"), "fuse");
    s.ok("create --name copy --snapshotter copy busybox true").silent();
    assert_eq!(s.field("copy", ".Driver"), "copy");
    s.exits(125, "run --rm --snapshotter btrfs busybox true").says("btrfs");
    let config = s.home().join(".config/kelp/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "snapshotter = \"zfs\"\n").unwrap();
    s.exits(125, "info").says("config.toml:1").says("zfs");
    fs::write(&config, "snapshotter = \"fuse\"\n").unwrap();
    s.ok("info").has("Storage Driver: fuse");
    s.ok("run --rm busybox mount").has("fuse on / type fuse.kelp");
    s.ok("run --rm --snapshotter auto busybox true");
}

/// A worker has 16 MB to read requests into, which only large writes fill.
#[test]
fn the_file_server_has_little_memory_of_its_own() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 --snapshotter fuse busybox sleep 1000");
    s.ok("exec c1 sh -c 'ls -l /; echo x > /file; cat /file'");
    let server = file_server(&s).unwrap();
    let own = status_field(server, "RssAnon").unwrap();
    let kilobytes: u64 = own.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 4096, "{own}");
}

#[test]
fn what_was_written_stays() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 --snapshotter fuse busybox sh -c 'echo kept > /etc/file; dd if=/dev/zero of=/big bs=64k count=99 2>/dev/null'");
    assert!(within(Duration::from_secs(10), || file_server(&s).is_none()), "the file server stays");
    s.ok("start -a c1");
    let upper = s.store().join("containers").join(s.field("c1", ".Id")).join("upper");
    assert_eq!(fs::metadata(upper.join("big")).unwrap().len(), 99 << 16);
    assert_eq!(fs::read(upper.join("etc/file")).unwrap(), b"kept\n");
}

#[test]
fn no_mount_is_seen_on_the_host() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name web --snapshotter fuse busybox sleep 1000");
    s.ok("exec web sh -c 'echo a > /b && cat /b'").is("a");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.lines().any(|l| l.contains("fuse.kelp")), "{mounts}");
}

#[test]
fn without_its_file_server_a_container_ends() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name web --snapshotter fuse busybox sleep 1000");
    let pid = Pid::from_raw(file_server(&s).expect("a file server runs")).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    assert!(s.becomes("web", "exited"), "the container goes on");
    // Killed, unless it touched a page of its program before: then by SIGBUS.
    assert!(["137", "135"].contains(&s.field("web", ".State.ExitCode").as_str()));
    s.ok("start web");
    s.ok("exec web true");
}

/// Nobody in the container can end while it waits for an answer.
#[test]
fn a_container_whose_file_server_is_stuck_can_be_removed() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name web --snapshotter fuse busybox sh -c 'while :; do echo x > /file; rm /file; done'");
    let pid = Pid::from_raw(file_server(&s).expect("a file server runs")).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    s.kelp("rm -f web").limit(Duration::from_secs(40)).exits(0);
    assert!(within(Duration::from_secs(5), || s.processes().is_empty()), "{:#?}", s.processes());
    s.ok("ps -aq").silent();
}

#[test]
fn a_killed_shim_takes_its_file_server_along() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name web --snapshotter fuse busybox sleep 1000");
    kill_process(Pid::from_raw(s.shim_of("web")).unwrap(), Signal::KILL).unwrap();
    assert!(within(Duration::from_secs(5), || file_server(&s).is_none()), "the file server goes on");
    assert!(s.becomes("web", "exited"));
}

/// Where the kernel's overlay makes what holds the store, or mounts, read-only.
#[test]
fn the_hosts_root_is_writable_everywhere() {
    let s = Sandbox::new();
    let script =
        "touch /usr/new /new /var/tmp/new && rm /usr/bin/yes && ! ls /usr/bin/yes 2>/dev/null && id -u";
    s.ok(["run", "--rm", "--snapshotter", "fuse", "--rootfs", "/", "sh", "-c", script]).is("0");
    let there = |path: &str| fs::exists(path).unwrap();
    assert!(there("/usr/bin/yes") && !there("/usr/new") && !there("/new") && !there("/var/tmp/new"));
    let store = s.store();
    let out = s.kelp([
        "run",
        "--rm",
        "--snapshotter",
        "fuse",
        "--rootfs",
        "/",
        "ls",
        "-A",
        store.to_str().unwrap(),
    ]);
    assert_eq!(out.run().text(), "", "the store is seen");
}

#[test]
fn a_single_id_is_enough() {
    let Some(s) = Sandbox::single() else { return crate::harness::needs_root("a_single_id_is_enough") };
    let s = s.busybox();
    let script = "echo x > /f && chmod 0 /f && stat -c %a /f && cat /f && mkdir -m 2750 /d && stat -c %a /d";
    s.ok(["run", "--rm", "--snapshotter", "fuse", "busybox", "sh", "-c", script]).is("0\nx\n2750");
}

/// The kernel takes what is written into its memory; that it does not fit on the disk is told all the same, and once.
#[test]
fn a_full_disk_stops_who_only_writes() {
    let script = "cat /dev/zero > /fill || stat -c %n /fill; rm /fill; echo fits > /fill; cat /fill";
    // Each on a disk of its own: the end of a container is told before all of it is cleared away.
    for driver in ["overlay", "fuse", "copy"] {
        let Some(s) = Sandbox::with_small_disk("size=40m") else {
            return needs_root("a_full_disk_stops_who_only_writes");
        };
        let s = s.busybox();
        let call = s.kelp(["run", "--rm", "--snapshotter", driver, "busybox", "sh", "-c", script]);
        call.exits(0).says("o space left").is("/fill\nfits");
    }
}

/// A shell does not look at what close(2) says, and the disk takes a while to clear a large file away.
#[test]
fn the_room_of_a_removed_file_is_there_at_once() {
    let script =
        "for n in 1 2 3; do cat /dev/zero 2>/dev/null > /fill; rm /fill; echo fits > /etc/file$n; done";
    for driver in ["overlay", "fuse", "copy"] {
        let Some(s) = Sandbox::with_small_disk("size=300m") else {
            return needs_root("the_room_of_a_removed_file_is_there_at_once");
        };
        let s = s.busybox();
        s.kelp(["run", "--name", "c1", "--snapshotter", driver, "busybox", "sh", "-c", script]).exits(0);
        for n in 1..=3 {
            let file = s.home().join("file");
            s.ok(&format!("cp c1:/etc/file{n} {}", file.display()));
            assert_eq!(fs::read_to_string(&file).unwrap(), "fits\n", "{driver}");
            fs::remove_file(file).unwrap();
        }
    }
}
