//! Images and containers that attack who looks into them, or starts beside them: the T-tests of the published
//! advisories that are about more than one command.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Image, Layer, Sandbox, split, within};

/// Everything that can be read of a file of the host's.
fn state(path: &Path) -> (u32, u32, i64, i64, Vec<u8>) {
    use std::os::unix::fs::MetadataExt;
    let m = fs::metadata(path).unwrap();
    (m.mode(), m.uid(), m.mtime(), m.ctime(), fs::read(path).unwrap_or_default())
}

/// T-decomp, T-static (CVE-2026-41567, CVE-2019-14271): nothing of the image is executed by who copies, compares,
/// commits or exports; archives are decompressed by kelp itself.
#[test]
fn tools_of_the_image_are_never_executed() {
    let s = Sandbox::new();
    let trojan = b"#!/bin/busybox sh\n/bin/busybox touch /trojan\n/bin/busybox kill -9 $PPID\n";
    let mut layer = Layer::default();
    for dir in ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"] {
        for name in ["tar", "gzip", "gunzip", "unpigz", "pigz", "xz", "zstd", "bzip2", "cp", "kelp", "getent"]
        {
            let path = format!("{dir}/{name}");
            layer = layer.file(&format!("{dir}/.wh.{name}"), 0o644, b"").file(&path, 0o755, trojan);
        }
    }
    let layer = layer
        .file("lib/libnss_files.so.2", 0o755, trojan)
        .file("etc/ld.so.preload", 0o644, b"/lib/libnss_files.so.2\n")
        .file("etc/nsswitch.conf", 0o644, b"passwd: files\n");
    s.load(&Image::busybox().layer(layer), "i");
    s.write("file", "content");
    s.ok("create --name never i true");
    s.ok("run -d --name runs i /bin/busybox sleep 1000");
    let archives = "tar -cf plain.tar file; gzip -k plain.tar; xz -k plain.tar 2>/dev/null; bzip2 -k plain.tar 2>/dev/null; \
        zstd -q plain.tar 2>/dev/null; ls plain.tar*";
    let made = s.program_call("sh").args(["-c", archives]).run();
    for c in ["never", "runs"] {
        for archive in made.lines() {
            let bytes = fs::read(s.work().join(archive)).unwrap();
            s.kelp(["cp", "-", &format!("{c}:/tmp")]).stdin(bytes).run();
        }
        s.ok(["cp", "file", &format!("{c}:/root/file")]);
        s.ok(["cp", "-a", &format!("{c}:/root"), "out"]);
        let changed = s.ok(["diff", c]);
        changed.has("/root/file");
        s.ok(["export", "-o", "all.tar", c]);
        s.ok(["commit", "--pause=false", c, "j"]);
        assert!(!changed.stdout.contains("trojan"), "{}", changed.story());
        assert_eq!(
            s.kelp(["cp", &format!("{c}:/trojan"), "-"]).run().code,
            1,
            "the image's tool was executed"
        );
    }
    assert!(!fs::exists("/trojan").unwrap());
}

/// T-volexport (CVE-2023-0778): what swaps a file for a link to one of the host's while it is exported, committed or
/// compared has its own link in the archive, and nothing of the host's.
#[test]
fn an_export_of_what_moves_holds_nothing_of_the_host() {
    let s = Sandbox::new().busybox();
    s.dir("victim/dir");
    let secret = s.write("victim/secret", "belongs-to-the-host");
    s.write("victim/dir/secret", "belongs-to-the-host");
    let before = state(&secret);
    let up = "/..".repeat(30);
    let script = format!(
        "mkdir /t; cd /t; echo inside >file; mkdir dir; echo inside >dir/secret; echo ready; while :; do \
         ln -s .{up}{v}/secret l; mv l file; rm file; echo inside >file; \
         mv dir d; ln -s {v}/dir dir; rm dir; ln -s .{up}{v} dir; rm dir; mv d dir; done",
        v = s.work().join("victim").display()
    );
    s.ok(["run", "-d", "--name", "evil", "busybox", "sh", "-c", &script]);
    assert!(within(Duration::from_secs(10), || s.ok("logs evil").stdout.contains("ready")));
    for round in 0..40 {
        // A file that has gone under the walker's hands may be an error; a file of the host's may not be content.
        s.kelp("export -o all.tar evil").run();
        s.kelp("diff evil").run();
        if s.kelp("commit --pause=false evil evil:1").run().code == 0 {
            s.ok("save -o image.tar evil:1");
        }
        for name in ["all.tar", "image.tar"] {
            let bytes = fs::read(s.work().join(name)).unwrap_or_default();
            let found = bytes.windows(19).any(|w| w == b"belongs-to-the-host");
            assert!(!found, "round {round}: {name} has what is the host's");
        }
    }
    assert_eq!(state(&secret), before);
    s.ok("rm -f evil");
}

/// T-volpath, T-fdleak of images (CVE-2022-23648, CVE-2024-21626): paths that an image's configuration names lead
/// nowhere outside.
#[test]
fn paths_of_an_image_configuration_stay_inside() {
    let s = Sandbox::new();
    let victim = s.dir("victim");
    let secret = s.write("victim/secret", "belongs-to-the-host");
    let before = state(&secret);
    let ways = |tail: &str| {
        let up = "/..".repeat(30);
        let host = victim.display();
        [
            format!("{up}{host}{tail}"),
            format!("/x{up}{host}{tail}"),
            format!("/link{tail}"),
            format!("/proc/self/fd/7{up}{host}{tail}"),
        ]
    };
    let image = |volume: &str, workdir: &str| {
        let image = Image::busybox().layer(Layer::default().symlink("link", victim.to_str().unwrap()));
        s.load(&image.set("Volumes", json!({ volume: {} })).set("WorkingDir", json!(workdir)), "i");
    };
    for (volume, workdir) in ways("").iter().zip(ways("/made")) {
        image(volume, &workdir);
        let out = s.kelp("run --rm i sh -c 'cat secret ../secret; ls /..'").run();
        out.lacks("belongs-to-the-host");
        s.ok("create --name c1 i true");
        s.write("file", "x");
        s.kelp("cp file c1:.").run();
        s.kelp(["cp", &format!("c1:{volume}/secret"), "-"]).run().lacks("belongs-to-the-host");
        s.ok("rm c1");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "{workdir} was made on the host");
    }
    assert_eq!(state(&secret), before);
    image("relative/../..", "no/root");
    s.ok("run --rm i sh -c pwd").is("/no/root");
}

/// T-procfs, T-procrace (CVE-2019-19921, CVE-2023-27561, CVE-2025-52881): a root that another container writes to, and
/// whose `/proc` becomes a link to a directory of fakes and back while containers start in it. What is written for them
/// goes to the kernel.
#[test]
fn a_flipping_proc_is_never_written_to() {
    let s = Sandbox::new().busybox();
    let root = s.busybox_dir("shared");
    let fakes = "mkdir -p fake/sys/net/ipv4 fake/self/attr fake/thread-self/attr fake/sys/kernel; \
        for f in sys/net/ipv4/ip_forward sys/net/ipv4/ip_unprivileged_port_start self/attr/exec self/oom_score_adj \
        self/uid_map thread-self/attr/exec sysrq-trigger; do echo fake >fake/$f; chmod 666 fake/$f; done";
    let flip = format!(
        "cd /v; {fakes}; mkdir -p real; rmdir proc 2>/dev/null; echo ready; while :; do ln -s /fake proc; rm proc; \
         mkdir proc; rmdir proc; ln -s fake proc; rm proc; mkdir proc; rmdir proc; done"
    );
    let v = format!("{}:/v", root.display());
    s.ok(["run", "-d", "--name", "flip", "-v", &v, "busybox", "sh", "-c", &flip]);
    assert!(within(Duration::from_secs(10), || s.ok("logs flip").stdout.contains("ready")));
    let rw = format!("{}:rw", root.display());
    let mut started = 0;
    for _ in 0..150 {
        let line = "run --rm --network none --sysctl net.ipv4.ip_forward=1 --rootfs";
        let mut call = split(line);
        call.extend(
            [&rw, "sh", "-c", "stat -f -c %T /proc; cat /proc/sys/net/ipv4/ip_forward"].map(str::to_owned),
        );
        let out = s.kelp(call).run();
        // Who shares its root can take its mounts away again, by removing what they are on: that is between the two.
        started += usize::from(out.code == 0 && out.text() == "proc\n1");
    }
    s.ok("rm -f flip");
    let fake = |name: &str| fs::read_to_string(root.join("fake").join(name)).unwrap();
    for name in
        ["sys/net/ipv4/ip_forward", "self/attr/exec", "self/oom_score_adj", "self/uid_map", "sysrq-trigger"]
    {
        assert_eq!(fake(name), "fake\n", "{name} was taken for the kernel's");
    }
    assert!(started > 0, "no start ever met a directory: the race was not run");
}

/// T-biglen (CVE-2021-43784): what is too long is refused, by name, and nothing is cut to fit.
#[test]
fn what_is_too_long_is_refused_and_never_cut() {
    let s = Sandbox::new().busybox();
    let long = "x".repeat(70_000);
    let path = format!("/{}", "d/".repeat(35_000));
    let refused = |words: &[&str]| {
        let call: Vec<_> =
            ["run", "--rm", "--network", "none"].iter().chain(words).map(|w| (*w).to_owned()).collect();
        let out = s.kelp(call).run();
        assert!((125..=126).contains(&out.code), "{:?}: {}", words[0], out.code);
        assert!(!out.stderr.is_empty());
        s.ok("ps -aq").is("");
    };
    let (data, user) = (s.dir("data"), format!("{long}:5"));
    let (volume, mount) = (format!("{}:{path}", data.display()), format!("type=tmpfs,dst={path}"));
    let map = format!("keep-id:uid={long}");
    refused(&["-w", &path, "busybox", "true"]);
    refused(&["-v", &volume, "busybox", "true"]);
    refused(&["--mount", &mount, "busybox", "true"]);
    refused(&["--tmpfs", &path, "busybox", "true"]);
    refused(&["-u", &user, "busybox", "true"]);
    refused(&["--userns", &map, "busybox", "true"]);
    refused(&["--hostname", &long, "busybox", "true"]);
    refused(&["--name", &long, "busybox", "true"]);
    refused(&["--sysctl", &format!("net.{long}=1"), "busybox", "true"]);
    // One argument has room for no more than the kernel allows a variable; a file has.
    s.write("env", format!("A={}", "z".repeat(131_072)));
    refused(&["--env-file", "env", "busybox", "true"]);
    s.write("env", format!("A={}", "z".repeat(131_071 - 2)));
    s.ok("run --rm --env-file env busybox sh -c 'echo ${#A}'").is("131069");
}
