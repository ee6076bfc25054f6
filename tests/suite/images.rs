//! import, load, save, images, rmi.

use std::fs;
use std::time::Duration;

use tar::EntryType;

use crate::harness::{Image, Layer, Sandbox, split};

#[test]
fn import_takes_files_and_pipes_plain_and_compressed() {
    let s = Sandbox::new();
    let tar = fs::read(s.busybox_tar()).unwrap();
    s.write("b.tar", &tar);
    for (program, args, file) in [
        ("gzip", "-k b.tar", "b.tar.gz"),
        ("xz", "-1 -k b.tar", "b.tar.xz"),
        ("bzip2", "-1 -k b.tar", "b.tar.bz2"),
    ] {
        s.program_call(program).args(split(args)).exits(0);
        let id = s.ok(&format!("import {file} x:{program}")).text().to_owned();
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        s.ok(&format!("run --rm x:{program} echo in")).is("in");
    }
    s.kelp("import - piped").stdin(tar).exits(0);
    s.ok("run --rm piped echo in").is("in");
    s.ok("import b.tar");
    s.ok("images --format '{{.Repository}}:{{.Tag}}'").has("x:gzip").has("piped:latest").has("<none>:<none>");
}

#[test]
fn archives_and_layers_of_any_compression_are_loaded() {
    let s = Sandbox::new();
    let image = Image::busybox().layer(Layer::default().file("note", 0o644, b"second layer"));
    for (program, suffix) in [("gzip", "gz"), ("xz", "xz"), ("bzip2", "bz2"), ("zstd", "zst")] {
        let compressed = |bytes: &[u8]| {
            s.write("plain", bytes);
            s.program_call(program).args(["-1", "-f", "-k", "plain"]).exits(0);
            fs::read(s.work().join(format!("plain.{suffix}"))).unwrap()
        };
        s.kelp("load").stdin(compressed(&image.docker_archive("whole:1"))).exits(0);
        s.ok("run --rm whole:1 cat /note").is("second layer");
        s.ok("rmi whole:1");
        s.kelp("load").stdin(image.docker_archive_with("layers:1", compressed)).exits(0);
        s.ok("run --rm layers:1 cat /note").is("second layer");
        s.ok("system check");
        s.ok("save -o saved layers:1");
        s.ok("rmi layers:1");
        s.ok("load -i saved");
        s.ok("rmi layers:1");
    }
    let mut damaged = fs::read(s.work().join("plain.bz2")).unwrap();
    damaged.truncate(damaged.len() / 2);
    s.kelp("import -").stdin(damaged).exits(1);
}

#[test]
fn import_changes_the_configuration() {
    let s = Sandbox::new();
    let tar = s.busybox_tar();
    let changes = "-c 'CMD [\"echo\",\"default\"]' -c 'ENV A=b' --change 'WORKDIR /etc' -m note";
    s.ok(&format!("import {changes} {} x", tar.display()));
    s.ok("run --rm x").is("default");
    s.ok("run --rm x sh -c 'echo $A; pwd'").is("b\n/etc");
}

#[test]
fn the_same_content_is_kept_once() {
    let s = Sandbox::new().busybox();
    let tar = s.busybox_tar();
    s.ok(&format!("import {} other", tar.display()));
    s.ok(&format!("import {} third", tar.display()));
    assert_eq!(fs::read_dir(s.store().join("layers")).unwrap().count(), 1);
}

#[test]
fn load_takes_both_formats_and_says_what_it_loaded() {
    let s = Sandbox::new();
    let image = Image::busybox().layer(Layer::default().file("note", 0o644, b"second layer"));
    s.kelp("load").stdin(image.docker_archive("a/b:1")).exits(0).has("Loaded image: a/b:1");
    s.ok("run --rm a/b:1 cat /note").is("second layer");
    s.ok("rmi a/b:1");
    s.write("oci.tar", image.oci_layout("c:2"));
    s.ok("load -i oci.tar").has("c:2");
    s.ok("run --rm c:2 cat /note").is("second layer");
    s.kelp("load -q").stdin(image.docker_archive("d:3")).exits(0);
    s.exits(1, "load -i no-such-file").says("no-such-file");
    s.kelp("load").stdin("garbage that is no archive").exits(1);
}

#[test]
fn save_and_load_come_full_circle() {
    let s = Sandbox::new().busybox();
    let image = Image::busybox()
        .layer(Layer::default().owner(33, 44).file("note", 0o4751, b"x"))
        .set("User", "app".into());
    s.load(&image, "two:1");
    let ids = |s: &Sandbox| s.ok("images -q --no-trunc two:1").stdout;
    let before = ids(&s);
    s.ok("save -o both.tar two:1 busybox");
    s.ok("rmi two:1 busybox");
    assert_eq!(s.ok("images -q").text(), "");
    let out = s.ok("load -i both.tar");
    out.has("two:1").has("busybox:latest");
    assert_eq!(ids(&s), before);
    s.ok("run --rm two:1 id -un").is("app");
    s.ok("run --rm two:1 stat -c %u:%g:%a /note").is("33:44:4751");
    s.exits(1, "save no-such-image").says("no-such-image");
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    let s = Sandbox::new();
    let image = Image::busybox()
        .layer(
            Layer::default()
                .dir("d", 0o755)
                .file("d/a", 0o644, b"a")
                .file("d/b", 0o644, b"b")
                .file("gone", 0o644, b"g"),
        )
        .layer(
            Layer::default()
                .file("d/.wh..wh..opq", 0o644, b"")
                .file("d/c", 0o644, b"c")
                .file(".wh.gone", 0o644, b""),
        );
    s.load(&image, "w");
    s.ok("run --rm w sh -c 'ls -A /d; ls -A / | grep -E \"wh|gone\"; true'").is("c");
}

#[test]
fn owners_modes_times_links_and_names_are_kept() {
    let s = Sandbox::new();
    let long = "d/".to_owned() + &"n".repeat(90);
    let layer = Layer::default()
        .dir("d", 0o1777)
        .owner(33, 44)
        .file("d/setuid", 0o4755, b"1")
        .file("d/locked", 0o000, b"2")
        .hardlink("d/hard", "d/setuid")
        .symlink("d/soft", "../etc/passwd")
        .symlink("d/dangling", "/nowhere")
        .entry(EntryType::Fifo, "d/fifo", "", 0o640, &[])
        .file(&long, 0o644, b"3");
    s.load(&Image::busybox().layer(layer), "i");
    let out = s.ok("run --rm i sh -c 'cd /d; stat -c \"%n %a %u:%g %h %Y %F\" setuid locked soft fifo; readlink dangling; cat n*; stat -c %a .'");
    assert_eq!(
        out.lines(),
        [
            "setuid 4755 33:44 2 1600000000 regular file",
            "locked 0 33:44 1 1600000000 regular file",
            "soft 777 33:44 1 1600000000 symbolic link",
            "fifo 640 33:44 1 1600000000 fifo",
            "/nowhere",
            "31777",
        ]
    );
}

#[test]
fn device_nodes_are_left_out() {
    let s = Sandbox::new();
    let layer = Layer::default().entry(EntryType::Block, "sda", "", 0o666, &[]).file("after", 0o644, b"x");
    s.load(&Image::busybox().layer(layer), "i");
    s.ok("run --rm i sh -c 'test ! -e /sda && cat /after'").is("x");
}

/// T-tar-*: whatever a layer says, nothing outside it is touched.
#[test]
fn hostile_archives_touch_nothing_outside() {
    let s = Sandbox::new();
    let victim = s.write("victim", "untouched");
    let work = s.work().to_str().unwrap().to_owned();
    let layers = [
        ("absolute", Layer::default().file(&format!("{work}/escaped"), 0o644, b"x")),
        ("dots", Layer::default().file("../../../../../../../../escaped", 0o644, b"x")),
        ("dots-inside", Layer::default().dir("a", 0o755).file("a/../../../escaped", 0o644, b"x")),
        ("through-link", Layer::default().symlink("l", &work).file("l/escaped", 0o644, b"x")),
        (
            "through-relative",
            Layer::default().symlink("l", "../../../../../..").file("l/tmp/escaped", 0o644, b"x"),
        ),
        ("root-link", Layer::default().symlink(".", &work).file("escaped", 0o644, b"x")),
        (
            "hard-out",
            Layer::default().hardlink("h", victim.to_str().unwrap()).file("h", 0o644, b"overwritten"),
        ),
        ("hard-dots", Layer::default().hardlink("h", "../../../../../../etc/passwd")),
        (
            "over-link",
            Layer::default().symlink("f", victim.to_str().unwrap()).file("f", 0o644, b"overwritten"),
        ),
        ("chmod-link", Layer::default().symlink("d", &work).dir("d", 0o000)),
        ("whiteout", Layer::default().file(".wh...", 0o644, b"").file("a/.wh..", 0o644, b"")),
    ];
    for (name, layer) in layers {
        let bytes = layer.bytes();
        let out = s.kelp(["import", "-", name]).stdin(bytes).run();
        assert!((0..=1).contains(&out.code), "{name}:\n{}", out.story());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched", "{name}");
        assert!(!s.work().join("escaped").exists(), "{name} escaped");
        for place in ["/escaped", "/tmp/escaped", "/var/tmp/escaped"] {
            assert!(!std::path::Path::new(place).exists(), "{name} made {place}");
        }
        for level in s.store().ancestors().take(6) {
            assert!(!level.join("escaped").exists(), "{name} escaped to {}", level.display());
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&work).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o755, "{name}");
        s.ok("system check");
    }
}

#[test]
fn truncated_and_lying_archives_are_refused() {
    let s = Sandbox::new();
    let whole = fs::read(s.busybox_tar()).unwrap();
    s.kelp("import - x").stdin(&whole[..whole.len() / 2]).exits(1);
    let mut archive = Image::busybox().docker_archive("x");
    let at = archive.windows(9).position(|w| w == b"root:x:0:").unwrap();
    archive[at] = b'R';
    s.kelp("load").stdin(archive).exits(1);
    assert_eq!(s.ok("images -aq").text(), "");
}

/// T-whiteout: many opaque markers are no quadratic work.
#[test]
fn a_hundred_thousand_whiteouts_are_quick() {
    let s = Sandbox::new();
    let mut layer = Layer::default().dir("d", 0o755);
    for n in 0..100_000 {
        layer = layer.file(if n % 2 == 0 { "d/.wh..wh..opq" } else { "d/.wh.x" }, 0o644, b"");
    }
    s.kelp("import - x").stdin(layer.bytes()).limit(Duration::from_secs(30)).exits(0);
}

#[test]
fn an_owner_outside_the_range_is_an_error_that_names_both() {
    let s = Sandbox::new();
    let layer = Layer::default().owner(1_000_000, 0).file("f", 0o644, b"x").bytes();
    s.kelp("import - x").stdin(layer).exits(1).says("1000000").says("65536");
    assert_eq!(s.ok("images -aq").text(), "");
}

#[test]
fn images_and_their_columns() {
    let s = Sandbox::new().busybox();
    let out = s.ok("images");
    let header = out.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "REPOSITORY TAG IMAGE ID CREATED SIZE");
    out.has("busybox").has("latest");
    let long = s.ok("images -q --no-trunc").text().to_owned();
    s.ok("images -q").is(&long["sha256:".len()..][..12]);
    s.ok("images --format '{{.Repository}} {{.ID}}'").is(&format!("busybox {}", &long[7..19]));
    s.ok("images nothing-like-it").lacks("busybox");
    s.json("images --format json");
    s.ok("image ls -q");
}

#[test]
fn rmi_untags_then_removes() {
    let s = Sandbox::new().busybox();
    let tar = s.busybox_tar();
    s.ok(&format!("import {} other", tar.display()));
    s.ok("rmi other").has("other");
    s.ok("run --rm busybox true");
    let id = s.ok("create --name c1 busybox true").text().to_owned();
    s.exits(1, "rmi busybox").says(&id[..12]);
    s.ok("rm c1");
    s.ok("rmi busybox").has("Untagged: busybox:latest").has("Deleted: sha256:");
    s.exits(1, "rmi busybox").says("busybox");
    assert_eq!(fs::read_dir(s.store().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_container_keeps_its_image_alive() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    assert_ne!(s.kelp("rmi -f busybox").run().code, 125);
    s.ok("exec c1 ls /bin/busybox");
    s.ok("restart -t 0 c1");
}

#[test]
fn references_are_normalised() {
    let s = Sandbox::new();
    let tar = s.busybox_tar();
    s.ok(&format!("import {} docker.io/library/thing:1", tar.display()));
    s.ok("run --rm thing:1 true");
    s.ok("run --rm library/thing:1 true");
    s.exits(125, "run --rm thing true").says("thing");
    s.exits(1, &format!("import {} UPPER", tar.display())).says("UPPER");
    let id = s.ok("images -q --no-trunc").text().to_owned();
    s.ok(&format!("run --rm {} true", &id[7..19]));
    s.ok(&format!("run --rm {id} true"));
}
