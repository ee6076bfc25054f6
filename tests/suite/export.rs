//! `kelp export`: the whole tree, merged from its layers, as other programs unpack it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use crate::harness::{Image, Layer, Sandbox, within};

const DEEDS: &str = "cd /srv; chown 33:44 tool; chmod 4750 tool; ln tool second; rm gone; ln -s /no/where link; \
    dd if=/dev/zero of=holes bs=1 count=1 seek=5000000 2>/dev/null; touch -d '2001-02-03 04:05:06' holes; mkfifo pipe";

fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    let layer =
        Layer::default().dir("srv", 0o755).file("srv/tool", 0o755, b"#!").file("srv/gone", 0o644, b"x");
    s.load(&Image::busybox().layer(layer), "image:1");
    s.dir("bound");
    s.write("bound/secret", "not in it");
    let bound = s.work().join("bound");
    s.ok([
        "run",
        "--name",
        "box",
        "-v",
        &format!("{}:/bound", bound.display()),
        "image:1",
        "sh",
        "-c",
        DEEDS,
    ]);
    s
}

#[test]
fn the_tree_comes_out_as_it_is() {
    let s = sandbox();
    s.ok("export -o box.tar box").silent();
    let archive = s.work().join("box.tar");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600, "as docker leaves it");
    assert!(fs::metadata(&archive).unwrap().len() < 4 << 20, "holes are left out");
    let script = format!("{} export box | cmp - box.tar", s.program().display());
    s.program_call("/bin/sh").args(["-c", &script]).exits(0);

    let list = s.program_call("tar").args(["--numeric-owner", "-tvf", "box.tar"]).exits(0);
    list.has("srv/holes").has("2001-02-03").has("prw-r--r--").has("srv/link -> /no/where").has("bound/");
    list.lacks("srv/gone").lacks("secret").has("-rwsr-x--- 33/44").has("etc/hosts");
    s.dir("out");
    s.program_call("tar").args(["-C", "out", "-xf", "box.tar"]).exits(0);
    let out = s.work().join("out/srv");
    let holes = fs::metadata(out.join("holes")).unwrap();
    assert_eq!((holes.len(), holes.blocks() < 1000), (5_000_001, true));
    assert_eq!(fs::metadata(out.join("second")).unwrap().nlink(), 2);

    // And back, as an image of one layer.
    s.ok("import -c 'CMD [\"sh\"]' box.tar flat");
    s.ok("run --rm flat stat -c '%u:%g %a %h' /srv/tool").is("33:44 4750 2");
}

#[test]
fn running_and_never_started_ones_too() {
    let s = sandbox();
    s.ok("create --name never image:1 true");
    s.ok("export -o never.tar never");
    s.program_call("tar").args(["-tf", "never.tar"]).exits(0).has("srv/gone");
    s.ok(["run", "-d", "--name", "runs", "image:1", "sh", "-c", "echo x > /srv/new; exec sleep 100"]);
    let has_new = || {
        s.ok("export -o runs.tar runs");
        s.program_call("tar").args(["-tf", "runs.tar"]).exits(0).stdout.contains("srv/new")
    };
    assert!(within(Duration::from_secs(20), has_new));
    s.ok("rm -f runs");
}

#[test]
fn what_cannot_be_is_told_and_leaves_nothing() {
    let s = sandbox();
    s.exits(1, "export nobody").says("no such container");
    s.exits(1, "export -o x.tar nobody");
    s.exits(1, "export -o /no/such/dir/x.tar box").says("/no/such/dir");
    s.exits(1, "export").says("CONTAINER");
    assert!(!s.work().join("x.tar").exists());
    let seen = s.terminal("export box").exits(1);
    assert!(seen.contains("cowardly refusing to save to a terminal. Use the -o flag or redirect"), "{seen}");
    let script =
        format!("{} export box | head -c 10 > /dev/null; exit ${{PIPESTATUS[0]}}", s.program().display());
    s.program_call("/bin/bash").args(["-c", &script]).exits(141).silent();
    s.ok(&format!("run {} --name machine --rootfs / true", Sandbox::over_the_host()));
    s.exits(1, "export -o x.tar machine").says("cannot export container machine");
    assert!(!s.work().join("x.tar").exists());
}
