//! `kelp cp`: docker's rules of what lands where, in containers that run, have ended or never ran; and that nothing a
//! container does meanwhile leads out of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::harness::{Image, Layer, Sandbox};

const CONTAINERS: [&str; 3] = ["never", "ended", "runs"];

/// A container of each kind, and files on both sides.
fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    let layer = Layer::default()
        .dir("srv", 0o755)
        .file("srv/file", 0o640, b"inside")
        .dir("srv/dir", 0o755)
        .file("srv/dir/one", 0o644, b"1")
        .owner(33, 44)
        .file("srv/dir/tool", 0o4755, b"#!")
        .owner(0, 0)
        .symlink("srv/to-file", "file")
        .symlink("srv/to-dir", "/srv/dir")
        .symlink("srv/dangling", "/srv/new");
    s.load(&Image::busybox().layer(layer), "image:1");
    s.ok("create --name never image:1 sleep 1000");
    s.ok("run --name ended image:1 true");
    s.ok("run -d --name runs image:1 sleep 1000");
    s.write("file", "outside");
    s.dir("dir/sub");
    s.write("dir/a", "a");
    s.write("dir/sub/b", "b");
    s
}

/// What a container's file holds, read through `cp` itself.
fn content(s: &Sandbox, path: &str) -> String {
    let archive = s.ok(["cp", "-L", path, "-"]).stdout;
    archive[512..].trim_end_matches('\0').rsplit('\0').next().unwrap().to_owned()
}

#[test]
fn into_containers_by_dockers_table() {
    let s = sandbox();
    for c in CONTAINERS {
        let to = |from: &str, path: &str| s.ok(["cp", from, &format!("{c}:{path}")]).silent().code;
        to("file", "/srv/copied");
        to("file", "/srv/dir");
        to("file", "/srv/file");
        to("file", "/srv/dangling");
        to("file", "srv/to-dir/through");
        to("dir", "/srv/dir");
        to("dir", "/fresh");
        to("dir/.", "/srv/dir/");
        for path in
            ["/srv/copied", "/srv/dir/file", "/srv/file", "/srv/to-file", "/srv/new", "/srv/dir/through"]
        {
            assert_eq!(content(&s, &format!("{c}:{path}")), "outside", "{c}:{path}");
        }
        for path in ["/srv/dir/dir/sub/b", "/fresh/sub/b", "/srv/dir/sub/b"] {
            assert_eq!(content(&s, &format!("{c}:{path}")), "b", "{c}:{path}");
        }
        let no = |from: &str, path: &str, words: &str| {
            s.exits(1, ["cp", from, &format!("{c}:{path}")]).says(words);
        };
        no("file", "/none/x", &format!("could not find the file /none/x in container {c}"));
        no("file", "/none/", "no such directory");
        no("dir", "/srv/file", "/srv/file is not a directory");
        no("file", "/srv/file/", "/srv/file is not a directory");
        no("nothing", "/srv", "nothing");
        no("file/", "/srv", "not a directory");
        s.ok(["cp", "dir/sub", &format!("{c}:/srv/dir/a-dir")]);
        // A file does not take the place of a directory, nor a directory that of a file.
        s.dir("clash/a-dir");
        fs::remove_dir(s.work().join("clash/a-dir")).unwrap();
        s.write("clash/a-dir", "file");
        no("clash/.", "/srv/dir", "cannot overwrite directory with non-directory");
        fs::remove_file(s.work().join("clash/a-dir")).unwrap();
        s.dir("clash/one");
        no("clash/.", "/srv/dir", "cannot overwrite non-directory with directory");
        fs::remove_dir(s.work().join("clash/one")).unwrap();
    }
    s.ok("start never");
    for c in ["never", "runs"] {
        s.ok(["exec", c, "stat", "-c", "%u:%g %a", "/srv/copied", "/srv/dir"]).is("0:0 644\n0:0 755");
    }
    s.ok("rm -f never runs ended");
    s.ok("system check");
}

#[test]
fn out_of_containers_by_dockers_table() {
    let s = sandbox();
    for c in CONTAINERS {
        let work = s.work();
        let read = |path: &str| fs::read_to_string(work.join(path)).unwrap();
        s.dir("out");
        let from = |path: &str, to: &str| s.ok(["cp", &format!("{c}:{path}"), to]).silent().code;
        from("/srv/file", "out");
        from("/srv/file", "out/renamed");
        from("/srv/dir", "out");
        from("/srv/dir", "out/fresh");
        from("/srv/dir/.", "out");
        from("/srv/to-dir/.", "out/through/");
        from("/srv/to-file", "out/link");
        assert_eq!(read("out/file"), "inside");
        assert_eq!(read("out/renamed"), "inside");
        for path in ["out/dir/one", "out/fresh/one", "out/one", "out/through/one"] {
            assert_eq!(read(path), "1", "{c} {path}");
        }
        assert_eq!(fs::read_link(work.join("out/link")).unwrap(), Path::new("file"));
        s.ok(["cp", "-L", &format!("{c}:/srv/to-file"), "out/followed"]);
        s.ok(["cp", "--follow-link", &format!("{c}:/srv/to-dir"), "out/"]);
        assert_eq!(read("out/followed"), "inside");
        assert_eq!(read("out/to-dir/one"), "1");
        let tool = fs::metadata(work.join("out/dir/tool")).unwrap();
        assert_eq!(tool.permissions().mode() & 0o7777, 0o755, "set-user-ID stays inside");
        assert_eq!(tool.uid(), fs::metadata(s.home()).unwrap().uid());
        s.ok(["cp", "-a", &format!("{c}:/srv/dir"), "out/kept"]);
        let tool = fs::metadata(work.join("out/kept/tool")).unwrap();
        assert_ne!(tool.uid(), fs::metadata(s.home()).unwrap().uid());
        assert_eq!(tool.permissions().mode() & 0o7777, 0o4755);

        s.exits(1, ["cp", &format!("{c}:/none"), "out"]).says("could not find the file /none in container");
        s.exits(1, ["cp", &format!("{c}:/srv/dir"), "out/file"]).says("not a directory");
        s.exits(1, ["cp", &format!("{c}:/srv/file"), "out/none/"]).says("no such directory");
        s.exits(1, ["cp", &format!("{c}:/srv/file"), "out/none/x"]).says("out/none/x");
        s.exits(1, ["cp", &format!("{c}:/proc/version"), "out"]).says("could not find the file");
        // What belongs to sub-ids only the namespace can remove; a container's `rm` does.
        let out = work.join("out");
        s.ok(["run", "--rm", "-v", &format!("{}:/out", out.display()), "image:1", "rm", "-r", "/out/kept"]);
        fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn archives_by_stdin_and_stdout() {
    let s = sandbox();
    let mut archive =
        Layer::default().owner(33, 44).dir("made", 0o750).file("made/x", 0o600, b"from tar").bytes();
    for c in CONTAINERS {
        s.kelp(["cp", "-", &format!("{c}:/srv")]).stdin(archive.clone()).exits(0);
        assert_eq!(content(&s, &format!("{c}:/srv/made/x")), "from tar");
        let list = s.program_call("/bin/sh");
        let script = format!("{} cp {c}:/srv/made - | tar --numeric-owner -tvf -", s.program().display());
        list.args(["-c", &script]).exits(0).has("drwxr-x--- 33/44").has("-rw------- 33/44").has("made/x");
        s.kelp(["cp", "-", &format!("{c}:/srv/file")])
            .stdin(archive.clone())
            .exits(1)
            .says("not a directory");
        s.kelp(["cp", "-", &format!("{c}:/none")]).stdin(archive.clone()).exits(1).says("/none");
        let evil = Layer::default().file("../../escaped", 0o644, b"x").bytes();
        s.kelp(["cp", "-", &format!("{c}:/srv")]).stdin(evil).exits(1).says("`..`");
        s.kelp(["cp", "-", &format!("{c}:/srv")]).stdin(b"no archive at all".repeat(100)).exits(1);
    }
    let id = s.ok("cp ended:/srv/dir/. -");
    assert!(id.stdout.starts_with("./"), "only what is in it");
    archive.truncate(700);
    s.kelp("cp - ended:/srv").stdin(archive).exits(1);
    for line in ["cp runs:/srv -", "cp - runs:/srv"] {
        let seen = s.terminal(line).exits(1);
        assert!(seen.contains("terminal"), "{line}: {seen}");
    }
    let seen = s.terminal("cp file runs:/srv/x").exits(0);
    assert!(seen.contains("Successfully copied ") && seen.contains("kB to runs:/srv/x"), "{seen}");
    assert!(!s.terminal("cp -q file runs:/srv/x").exits(0).contains("copied"));
}

#[test]
fn binds_are_seen_and_read_only_ones_kept() {
    let s = Sandbox::new().busybox();
    s.dir("rw");
    s.dir("ro");
    s.write("ro/kept", "kept");
    s.write("file", "x");
    let (rw, ro) = (s.work().join("rw"), s.work().join("ro"));
    let binds = [format!("{}:/rw", rw.display()), format!("{}:/ro:ro", ro.display())];
    let made = |verb: &[&str], name: &str| {
        let words = [verb, &["--name", name, "-v", &binds[0], "-v", &binds[1], "busybox", "sleep", "1000"]];
        s.ok(words.concat().as_slice());
    };
    made(&["create"], "never");
    made(&["run", "-d"], "runs");
    for c in ["never", "runs"] {
        s.ok(["cp", "file", &format!("{c}:/rw/{c}")]);
        assert_eq!(fs::read_to_string(rw.join(c)).unwrap(), "x");
        s.ok(["cp", &format!("{c}:/ro/kept"), &format!("from-{c}")]);
        s.exits(1, ["cp", "file", &format!("{c}:/ro/kept")]).says("read-only");
        s.exits(1, ["cp", "file", &format!("{c}:/ro/")]).says("read-only");
    }
    assert_eq!(fs::read_to_string(ro.join("kept")).unwrap(), "kept");
    s.ok("create --name locked --read-only busybox true");
    s.exits(1, "cp file locked:/etc/x").says("read-only");
    s.ok("rm -f runs");
}

#[test]
fn wrong_words_are_told() {
    let s = Sandbox::new().busybox();
    s.ok("create --name box busybox true");
    s.exits(1, "cp a b").says("must specify at least one container source");
    s.exits(1, "cp box:/a box:/b").says("copying between containers is not supported");
    s.exits(1, "cp nobody:/a .").says("no such container: nobody");
    s.exits(1, "cp box:/etc").says("DESTINATION");
    s.exits(1, ["cp", "", "box:/"]).says("source can not be empty");
    s.exits(1, "cp box: .").says("empty");
    s.exits(125, "cp --overwrite a box:/b").says("--overwrite is not built yet");
    s.ok("container cp box:/etc/passwd .");
}

/// T-cprace: a container that puts links in the place of files and directories while they are copied gains nothing on
/// the host, in neither direction.
#[test]
fn a_container_that_swaps_links_meanwhile_stays_inside() {
    let s = Sandbox::new().busybox();
    let victim = s.dir("victim");
    let secret = s.write("victim/secret", "the host's own");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let state = |path: &Path| {
        let m = fs::metadata(path).unwrap();
        (m.mode(), m.uid(), m.mtime(), m.mtime_nsec(), m.len())
    };
    let before = (state(&victim), state(&secret));
    let up = "/..".repeat(30);
    // Whoever followed one of these on the host would be at the victim's.
    let script = format!(
        "mkdir -p /t/dir /t/real; echo inside > /t/real/secret; echo inside > /t/file; cd /t; while :; do \
         ln -sfn {victim} l1; mv -T l1 dir 2>/dev/null || {{ rm -rf dir; ln -sfn {victim} dir; }}; \
         rm -f dir; mkdir dir; echo inside > dir/secret; \
         rm -f file; ln -s .{up}{victim}/secret file; rm -f file; echo inside > file; done",
        victim = victim.display()
    );
    s.ok(["run", "-d", "--name", "evil", "busybox", "sh", "-c", &script]);
    s.dir("payload");
    s.write("payload/secret", "overwritten");
    s.write("single", "overwritten");
    for round in 0..60 {
        let out = s.work().join("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        s.give(&out);
        // Whether it succeeds depends on the moment; where it ends up does not.
        for words in [
            ["cp", "payload/.", "evil:/t/dir"],
            ["cp", "single", "evil:/t/file"],
            ["cp", "single", "evil:/t/dir/secret"],
            ["cp", "evil:/t", "out"],
        ] {
            s.kelp(words).run();
        }
        s.kelp(["cp", "-L", "evil:/t/file", "out/file"]).run();
        s.kelp(["cp", "-L", "evil:/t/dir/secret", "out/secret"]).run();
        for name in ["out/file", "out/secret", "out/t/file", "out/t/dir/secret"] {
            let path = s.work().join(name);
            // A link to the victim that came out as the link it is, is no more than that.
            let straight = fs::canonicalize(&path).is_ok_and(|real| real == path);
            if straight && path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                assert!(!text.contains("host's own"), "round {round}: {name} has what is the host's");
            }
        }
        assert_eq!((state(&victim), state(&secret)), before, "round {round}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "round {round}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the host's own");
    s.ok("rm -f evil");
}

/// The destination on the host holds links that the container has left there before.
#[test]
fn links_that_came_out_before_are_not_followed() {
    let s = Sandbox::new().busybox();
    let victim = s.dir("victim");
    s.dir("out/t");
    symlink(&victim, s.work().join("out/t/dir")).unwrap();
    symlink(victim.join("file"), s.work().join("out/t/file")).unwrap();
    s.ok("run --name box busybox sh -c 'mkdir -p /t/dir; echo x > /t/dir/file; echo x > /t/file'");
    s.exits(1, "cp box:/t out").says("cannot overwrite non-directory with directory");
    s.kelp("cp box:/t/. out/t").run();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}
