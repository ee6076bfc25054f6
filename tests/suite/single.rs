//! With a single id, without the id helpers, and as root: what still works, and what is said about the rest.

use std::fs;

use crate::harness::{Image, Layer, Sandbox, needs_root};

fn the_main_job_is_done(s: &Sandbox) {
    s.ok("run --rm busybox sh -c 'id -u; echo x > /new; cat /new'").is("0\nx");
    s.exits(7, "run --rm busybox sh -c 'exit 7'");
    s.ok("run -d --name c1 busybox sleep 1000");
    s.ok("exec c1 sh -c 'echo y > /tmp/y'");
    s.ok("exec c1 cat /tmp/y").is("y");
    s.ok("stop c1");
    s.ok("start c1");
    s.ok("exec c1 cat /tmp/y").is("y");
    s.ok("rm -f c1");
    s.ok(&format!("run --rm {} --rootfs / sh -c 'id -u; touch /new'", Sandbox::over_the_host())).is("0");
    assert!(!fs::exists("/new").unwrap());
}

#[test]
fn a_user_without_sub_ids() {
    let Some(s) = Sandbox::single() else { return needs_root("a_user_without_sub_ids") };
    let out = s.kelp(["import", s.busybox_tar().to_str().unwrap(), "busybox"]).exits(0);
    the_main_job_is_done(&s);
    let told = format!("{}{}", out.stderr, s.ok("run --rm busybox true").stderr);
    assert!(told.contains("/etc/subuid"), "the notice names what is missing: {told}");
    s.ok("run --rm busybox sh -c 'grep -c . /proc/self/uid_map'").is("1");
}

/// The namespace of the first is there for the others to join, whatever its map.
#[test]
fn several_containers_with_one_id_run_at_once() {
    let Some(s) = Sandbox::single() else {
        return needs_root("several_containers_with_one_id_run_at_once");
    };
    let s = s.busybox();
    for name in ["c1", "c2"] {
        s.ok(&format!("run -d --name {name} busybox sleep 1000"));
    }
    s.ok("run --rm --pid container:c1 busybox ps").has("sleep 1000");
    let namespace = |name: &str| fs::read_link(format!("/proc/{}/ns/user", s.pid_of(name))).unwrap();
    assert_eq!(namespace("c1"), namespace("c2"));
}

#[test]
fn with_one_id_another_user_is_an_error_that_says_why() {
    let Some(s) = Sandbox::single() else {
        return needs_root("with_one_id_another_user_is_an_error_that_says_why");
    };
    let s = s.busybox();
    let out = s.kelp("run --rm -u 33 busybox true").run();
    assert!((125..=126).contains(&out.code), "{}", out.story());
    out.says("33").says("subuid");
    s.ok("ps -aq").is("");
}

#[test]
fn with_one_id_foreign_owners_are_kept_beside_the_data() {
    let Some(s) = Sandbox::single() else {
        return needs_root("with_one_id_foreign_owners_are_kept_beside_the_data");
    };
    let image = Image::busybox().layer(Layer::default().owner(33, 44).file("owned", 0o640, b"content"));
    s.load(&image, "i");
    s.ok("run --rm i cat /owned").is("content");
    s.ok("save -o out.tar i");
    s.ok("rmi i");
    s.ok("load -i out.tar");
    s.ok("run --rm i cat /owned").is("content");
}

/// Runs kelp as the sandbox's user where `prepare` has changed what lies in `/usr/bin`, in a mount namespace.
fn with_changed_usr_bin(s: &Sandbox, prepare: &str, line: &str) -> (i32, String) {
    let own_copy = "mount -t tmpfs t /mnt && mkdir /mnt/u /mnt/w && \
                    mount -t overlay -o lowerdir=/usr/bin,upperdir=/mnt/u,workdir=/mnt/w o /usr/bin";
    let script = format!(
        "{own_copy} && {prepare} && exec setpriv --reuid {} --regid {} --clear-groups \
         env -i HOME={} PATH=/usr/bin:/bin {} {line}",
        s.account.uid,
        s.account.gid,
        s.home().display(),
        s.program().display(),
    );
    let out = std::process::Command::new("timeout")
        .args(["60", "unshare", "-m", "sh", "-c", &script])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), told)
}

#[test]
fn without_the_id_helpers() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("without_the_id_helpers");
    }
    let s = Sandbox::new();
    let root = s.busybox_dir("root");
    let line = format!("run --rm --rootfs {} id -u", root.display());
    let (code, told) = with_changed_usr_bin(&s, "rm /usr/bin/newuidmap /usr/bin/newgidmap", &line);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("newuidmap is not installed") && told.contains("uidmap"), "{told}");
    assert!(told.lines().any(|line| line == "0"), "{told}");
    let line = format!("run --rm -u 33 --rootfs {} true", root.display());
    let (code, told) = with_changed_usr_bin(&s, "rm /usr/bin/newuidmap /usr/bin/newgidmap", &line);
    assert_eq!(code, 125, "{told}");
    let hint = told.lines().find(|line| line.starts_with("hint:")).unwrap_or_default();
    assert!(hint.contains("newuidmap is not installed"), "{told}");
}

#[test]
fn with_helpers_that_lost_their_privilege() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("with_helpers_that_lost_their_privilege");
    }
    let s = Sandbox::new();
    let root = s.busybox_dir("root");
    let line = format!("run --rm --rootfs {} id -u", root.display());
    let (code, told) = with_changed_usr_bin(&s, "chmod 755 /usr/bin/newuidmap /usr/bin/newgidmap", &line);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("/usr/bin/newuidmap is neither set-uid root"), "{told}");
}

#[test]
fn root_may_use_it_too() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("root_may_use_it_too");
    }
    let s = Sandbox::root().busybox();
    the_main_job_is_done(&s);
    let out = s.ok("run --rm busybox cat /proc/self/uid_map");
    let real_root = out.text().split_whitespace().eq(["0", "0", "4294967295"]);
    assert_eq!(out.stderr.contains("root of this machine"), real_root, "{}", out.story());
    s.ok("run --rm -u 33 busybox id -u").is("33");
    let image = Image::busybox().layer(Layer::default().owner(33, 44).file("owned", 0o4640, b"x"));
    s.load(&image, "i");
    s.ok("run --rm i stat -c %u:%g:%a /owned").is("33:44:4640");
}
