//! With a single id, without the id helpers, and as root: what still works, and what is said about the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;

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
    s.ok("run --rm --rootfs / sh -c 'id -u; touch /new'").is("0");
    assert!(!fs::exists("/new").unwrap());
}

#[test]
fn a_user_without_sub_ids() {
    let s = Sandbox::single();
    let out = s.kelp(["import", s.busybox_tar().to_str().unwrap(), "busybox"]).exits(0);
    the_main_job_is_done(&s);
    let told = format!("{}{}", out.stderr, s.ok("run --rm busybox true").stderr);
    assert!(told.contains("/etc/subuid"), "the notice names what is missing: {told}");
    s.ok("run --rm busybox sh -c 'grep -c . /proc/self/uid_map'").is("1");
}

#[test]
fn with_one_id_another_user_is_an_error_that_says_why() {
    let s = Sandbox::single().busybox();
    let out = s.kelp("run --rm -u 33 busybox true").run();
    assert!((125..=126).contains(&out.code), "{}", out.story());
    out.says("33").says("subuid");
    s.ok("ps -aq").is("");
}

#[test]
fn with_one_id_foreign_owners_are_kept_beside_the_data() {
    let s = Sandbox::single();
    let image = Image::busybox().layer(Layer::default().owner(33, 44).file("owned", 0o640, b"content"));
    s.load(&image, "i");
    s.ok("run --rm i cat /owned").is("content");
    s.ok("save -o out.tar i");
    s.ok("rmi i");
    s.ok("load -i out.tar");
    s.ok("run --rm i cat /owned").is("content");
}

#[test]
fn without_the_id_helpers() {
    let mut s = Sandbox::new();
    let path = s.path_without(&["newuidmap", "newgidmap"]);
    s.set_path(path);
    let out = s.kelp(["import", s.busybox_tar().to_str().unwrap(), "busybox"]).exits(0);
    let told = format!("{}{}", out.stderr, s.ok("run --rm busybox true").stderr);
    assert!(told.contains("newuidmap"), "{told}");
    s.ok("run --rm busybox id -u").is("0");
}

#[test]
fn with_helpers_that_lost_their_privilege() {
    let mut s = Sandbox::new();
    let path = s.path_without(&["newuidmap", "newgidmap"]);
    for helper in ["newuidmap", "newgidmap"] {
        let copy = s.write(&format!("path/{helper}"), fs::read(format!("/usr/bin/{helper}")).unwrap());
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    s.set_path(path);
    let out = s.kelp(["import", s.busybox_tar().to_str().unwrap(), "busybox"]).run();
    let run = s.kelp("run --rm busybox id -u").run();
    let told = format!("{}{}", out.stderr, run.stderr);
    assert!(told.contains("newuidmap") && told.contains("setuid"), "{told}");
}

#[test]
fn root_may_use_it_too() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("root_may_use_it_too");
    }
    let s = Sandbox::root().busybox();
    the_main_job_is_done(&s);
    s.ok("run --rm -u 33 busybox id -u").is("33");
    let image = Image::busybox().layer(Layer::default().owner(33, 44).file("owned", 0o4640, b"x"));
    s.load(&image, "i");
    s.ok("run --rm i stat -c %u:%g:%a /owned").is("33:44:4640");
}
