//! `kelp diff`: the same lines as another engine gives for the same deeds, whatever the container is doing.

use std::time::Duration;

use crate::harness::{Image, Layer, Others, Sandbox, needs_root, within};

/// A layer below for every case, and what a container does to it.
fn image() -> Image {
    let layer = Layer::default()
        .dir("srv", 0o755)
        .dir("srv/merged", 0o755)
        .file("srv/merged/kept", 0o644, b"k")
        .file("srv/merged/gone", 0o644, b"g")
        .dir("srv/replaced", 0o755)
        .file("srv/replaced/old", 0o644, b"o")
        .dir("srv/replaced/deep", 0o755)
        .file("srv/replaced/deep/x", 0o644, b"x")
        .dir("srv/moved", 0o755)
        .file("srv/moved/in", 0o644, b"i")
        .file("srv/mode", 0o644, b"m")
        .file("srv/owner", 0o644, b"o")
        .file("srv/opened", 0o644, b"o")
        .file("srv/touched", 0o644, b"t")
        .file("srv/first", 0o644, b"one file")
        .symlink("srv/link", "mode")
        .dir("srv/becomes-file", 0o755)
        .file("srv/becomes-dir", 0o644, b"f")
        .dir("srv/untouched", 0o755)
        .file("srv/untouched/x", 0o644, b"u");
    Image::busybox().layer(layer)
}

const DEEDS: &str = "cd /srv; rm merged/gone; echo new > merged/new; rm -r replaced; mkdir replaced; \
    mkdir replaced/deep; touch replaced/fresh; mv moved elsewhere; chmod 600 mode; chown 33 owner; : >> opened; \
    touch touched; ln first second; ln -sf owner link; rmdir becomes-file; touch becomes-file; rm becomes-dir; \
    mkdir becomes-dir; touch becomes-dir/x; mkfifo pipe; mkdir 'a b'; touch a 'a b/c'; rm /etc/group";

const CHANGES: &str = "C /etc
D /etc/group
C /srv
A /srv/a
A /srv/a b
A /srv/a b/c
C /srv/becomes-dir
A /srv/becomes-dir/x
C /srv/becomes-file
A /srv/elsewhere
A /srv/elsewhere/in
C /srv/link
C /srv/merged
D /srv/merged/gone
A /srv/merged/new
C /srv/mode
D /srv/moved
C /srv/owner
A /srv/pipe
C /srv/replaced
C /srv/replaced/deep
D /srv/replaced/deep/x
A /srv/replaced/fresh
D /srv/replaced/old
A /srv/second
C /srv/touched
";

#[test]
fn every_kind_of_change_is_told_and_nothing_else() {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    s.ok(["run", "--name", "box", "image:1", "sh", "-c", DEEDS]);
    assert_eq!(s.ok("diff box").stdout, CHANGES);
    assert_eq!(s.ok("container diff box").stdout, CHANGES);
    s.ok("create --name never image:1 true");
    assert_eq!(s.ok("diff never").stdout, "");
    let id = s.ok(["run", "-d", "--name", "runs", "image:1", "sh", "-c", "touch /tmp/x; exec sleep 100"]);
    assert!(within(Duration::from_secs(20), || s.ok("diff runs").stdout == "C /tmp\nA /tmp/x\n"));
    s.ok(format!("diff {}", &id.text()[..8]).as_str()).is("C /tmp\nA /tmp/x");
    s.ok("rm -f runs");
}

/// The witness keeps whole trees of files, so what it says comes from comparing them.
#[test]
fn podman_tells_the_same_changes() {
    let s = Sandbox::new();
    let test = "podman_tells_the_same_changes";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    let archive = s.write("image.tar", image().docker_archive("image:1"));
    others.podman("load -i").args([&archive]).exits(0);
    let options =
        "run --name box --network none --ulimit nofile=1000:1000 --ulimit nproc=4000:4000 image:1 sh -c";
    others.podman(options).args([DEEDS]).exits(0);
    let theirs = others.podman("diff box").exits(0).stdout;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
        lines
    };
    // There two names of one file stay two names of it when it gets a third; in an overlay too, but it is copied.
    assert_eq!(sorted(&theirs), sorted(CHANGES));
}

#[test]
fn roots_of_the_hosts_are_compared_where_there_is_something_to_compare_with() {
    let s = Sandbox::new();
    let dir = s.busybox_dir("root");
    let root = dir.to_str().unwrap();
    s.ok(["run", "--name", "box", "--rootfs", root, "sh", "-c", "echo x > /etc/new; rm /etc/passwd"]);
    s.ok("diff box").is("C /etc\nA /etc/new\nD /etc/passwd");
    s.ok(["run", "--name", "through", "--rootfs", &format!("{root}:rw"), "touch", "/etc/x"]);
    s.exits(1, "diff through").says("cannot compare container through").says("its root directory itself");
    let over = Sandbox::over_the_host();
    s.ok(&format!("run {over} --name machine --rootfs / sh -c 'echo x > /usr/new-here'"));
    s.ok("diff machine").is("C /usr\nA /usr/new-here");
}

#[test]
fn wrong_words_are_told() {
    let s = Sandbox::new();
    s.exits(1, "diff nobody").says("no such container: nobody");
    s.exits(1, "diff").says("CONTAINER");
    s.exits(1, "diff a b");
    s.exits(125, "diff --format json a").says("--format is not built yet");
}

/// Where devices hide what is gone, a file that is called like a mark of other file systems hides nothing.
#[test]
fn a_file_that_looks_like_a_whiteout_is_a_file() {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    let script = "cd /srv; : > .wh.mode; chmod 0 .wh.mode; ls mode";
    s.ok(["run", "--name", "box", "image:1", "sh", "-c", script]).is("mode");
    s.ok("diff box").is("C /srv\nA /srv/.wh.mode");
    let script = format!("{} export box | tar -tf -", s.program().display());
    let list = s.program_call("sh").args(["-c", &script]).exits(0);
    list.has("srv/mode\n").has("srv/.wh.mode\n");
    s.exits(1, "commit box").says("/srv/.wh.mode cannot be in an image");
}
