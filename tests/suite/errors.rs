//! When it goes wrong: each failure names the thing, the cause and the way out, has its exit code, and leaves
//! nothing behind. Failures of a single option stand beside the option, in the other modules.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::harness::{Layer, Sandbox, needs_root, within};

#[test]
fn no_user_namespaces() {
    let s = Sandbox::new().busybox();
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {} run --rm busybox true",
        s.program().display()
    );
    let call =
        s.program_call("unshare").args(["--user", "--map-root-user", "--map-auto", "sh", "-c", &script]);
    let out = call.exits(125);
    // Nothing is tried out for the driver that works everywhere: it is its copying that fails.
    let doing =
        if Sandbox::snapshotter() == "copy" { "cannot copy the image for the container: " } else { "" };
    let why = format!("kelp: {doing}this machine lets you make no user namespace: unshare: ");
    out.says("max_user_namespaces").says(&why);
    assert_eq!(s.ok("ps -aq").text(), "");
}

#[test]
fn unknown_things_are_named() {
    let s = Sandbox::new().busybox();
    for verb in ["start", "stop", "restart", "kill", "rm", "wait", "logs", "inspect", "attach"] {
        s.exits(1, &format!("{verb} nobody")).says("nobody").says("no such");
    }
    s.exits(1, "exec nobody true").says("nobody");
    s.exits(1, "rmi nothing").says("nothing");
    s.exits(125, "run --rm nothing:7 true").says("nothing:7");
    s.exits(1, "create nothing:7 true").says("nothing:7");
    s.exits(1, "nonsense-verb").says("nonsense-verb");
    s.exits(125, "ps --nonsense").says("--nonsense");
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let s = Sandbox::new().busybox();
    let word = std::ffi::OsStr::from_bytes(b"/srv/\xe4");
    s.kelp("run --rm busybox cat").args([word]).exits(1).says(r"not UTF-8").says(r"'/srv/\xe4'");
    s.ok("ps -aq").is("");
}

/// docker's client is asked the same where there is one: it looks at the words before it looks for a daemon.
#[test]
fn wrong_usage_ends_as_dockers_does() {
    let s = Sandbox::new();
    let lines = [
        "run",
        "run -d",
        "run --nope",
        "run --name",
        "create",
        "create --nope",
        "pull",
        "pull a b",
        "pull --nope",
        "push",
        "images a b",
        "images --nope",
        "images --filter",
        "image",
        "image nope",
        "container nope",
        "system nope",
        "nope",
        "--nope",
        "tag a",
        "tag a b c",
        "rmi",
        "rm",
        "exec",
        "exec a",
        "exec --nope",
        "load x",
        "save",
        "import",
        "history",
        "inspect",
        "inspect --nope",
        "ps a",
        "ps -zz",
        "logs",
        "logs --tail",
        "stop -t x y",
        "cp a",
        "cp a b",
        "cp a: b:",
        "commit",
        "diff",
        "start",
        "wait",
        "login --nope",
        "login --password-stdin host",
        "login -p x --password-stdin host",
        "search",
        "search --limit x y",
        "image prune --filter x",
        "container prune x",
        "manifest nope",
        "manifest inspect",
        "manifest annotate a",
        "system df x",
        "version x",
        "run -d -a stdin x",
    ];
    let docker = std::path::Path::new("/usr/bin/docker");
    for line in lines {
        let ours = s.kelp(line).run();
        assert!([0, 1, 125].contains(&ours.code), "{}", ours.story());
        if !docker.exists() {
            continue;
        }
        let call = s.program_call(docker).args(["-H", "unix:///nowhere"]).args(crate::harness::split(line));
        let theirs = call.run();
        assert_eq!(ours.code, theirs.code, "{line}\n{}\n{}", ours.story(), theirs.story());
    }
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let mut s = Sandbox::new().busybox();
    s.expect_damage();
    let path = s.store().join("kelp.db");
    {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", 1_000_000).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    own_database(&s);
    s.exits(1, "ps -a").says("newer").says("kelp");
    s.exits(125, "run --rm busybox true").says("newer");
    let db = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
    assert_eq!(version, 1_000_000);
}

#[test]
fn a_corrupt_database_is_told_and_never_wiped() {
    let mut s = Sandbox::new().busybox();
    s.expect_damage();
    let path = s.store().join("kelp.db");
    for log in ["kelp.db-wal", "kelp.db-shm"] {
        let _ = fs::remove_file(s.store().join(log));
    }
    let garbage = b"this is no database at all, but somebody's last hope".repeat(200);
    fs::write(&path, &garbage).unwrap();
    own_database(&s);
    for line in ["ps -a", "images", "system check"] {
        s.exits(1, line).says("kelp.db");
    }
    s.exits(125, "run --rm busybox true").says("kelp.db");
    assert_eq!(fs::read(&path).unwrap(), garbage);
    assert!(fs::read_dir(s.store().join("layers")).unwrap().count() > 0, "layers were wiped");
}

#[test]
fn a_database_that_may_not_be_opened() {
    let s = Sandbox::new().busybox();
    s.ok("ps -a");
    for name in ["kelp.db", "kelp.db-wal"] {
        let path = s.store().join(name);
        if !path.exists() {
            continue;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for line in ["ps -a", "images"] {
            let told = format!("kelp: cannot open the database {}: permission denied\n", path.display());
            s.exits(1, line).says(&told).says(&format!("chmod 600 {}", path.display()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The test may run as root, and SQLite's files then are root's.
fn own_database(s: &Sandbox) {
    for name in ["kelp.db", "kelp.db-wal", "kelp.db-shm"] {
        let path = s.store().join(name);
        if path.exists() {
            s.give(&path);
        }
    }
}

#[test]
fn check_finds_what_is_wrong() {
    let mut s = Sandbox::new().busybox();
    s.ok("system check");
    let layer = fs::read_dir(s.store().join("layers")).unwrap().next().unwrap().unwrap().path();
    let hidden = s.work().join("hidden");
    fs::rename(&layer, &hidden).unwrap();
    let out = s.exits(1, "system check");
    let told = format!("{}{}", out.stdout, out.stderr);
    assert!(told.contains(&layer.file_name().unwrap().to_string_lossy()[..12]), "{}", out.story());
    fs::rename(&hidden, &layer).unwrap();
    s.ok("system check");
    s.expect_damage();
    let blob = fs::read_dir(s.store().join("blobs/sha256")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let name = blob.file_name().unwrap().to_str().unwrap();
    s.exits(1, "system check --blobs").has(name);
}

#[test]
fn configuration_errors_have_file_and_line() {
    let s = Sandbox::new();
    let dir = s.home().join(".config/kelp");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.toml"), "# fine\n\nno_such_key = 1\n").unwrap();
    let out = s.kelp("ps").run();
    assert!([1, 125].contains(&out.code), "{}", out.story());
    out.says("config.toml:3").says("no_such_key");
    fs::write(dir.join("config.toml"), "broken = = 1\n").unwrap();
    let out = s.kelp("ps").run();
    assert!([1, 125].contains(&out.code), "{}", out.story());
    out.says("config.toml:1");
}

#[test]
fn a_home_that_cannot_be_written() {
    let s = Sandbox::new();
    fs::set_permissions(s.home(), fs::Permissions::from_mode(0o555)).unwrap();
    s.exits(125, "run --rm busybox true").says(".local").says("permission denied");
    fs::set_permissions(s.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let s = Sandbox::new();
    s.kelp("ps").env("HOME", "/no/such/home").run().says("/no/such/home");
}

#[test]
fn a_full_disk_during_import() {
    let Some(s) = Sandbox::with_small_disk("size=40m") else {
        return needs_root("a_full_disk_during_import");
    };
    // One that leaves no room for its files, and one that does not even fit as a blob.
    for megabytes in [12, 48] {
        let big = Layer::default().file("big", 0o644, &vec![7; megabytes << 20]).bytes();
        let out = s.kelp("import - big").stdin(big).exits(1);
        assert!(out.stderr.contains("disk") || out.stderr.contains("o space left"), "{}", out.story());
        assert_eq!(s.ok("images -aq").text(), "");
    }
    s.ok("system check");
    let small = Layer::default().file("small", 0o644, &vec![7; 1 << 20]).bytes();
    s.kelp("import - small").stdin(small).exits(0);
}

#[test]
fn a_full_disk_during_a_run() {
    let Some(s) = Sandbox::with_small_disk("size=40m") else { return needs_root("a_full_disk_during_a_run") };
    let s = s.busybox();
    let script = "'cat /dev/zero > /fill; echo the log must not be lost; exit 7'";
    let out = s.exits(7, &format!("run --name c1 busybox sh -c {script}"));
    out.says("no space left").has("the log must not be lost");
    // How it ended is written down where there is no room left.
    assert_eq!(s.field("c1", ".State.ExitCode"), "7");
    s.ok("ps -a");
    s.ok("rm c1");
    s.ok("run --rm busybox true");
}

/// A container that never stops printing, or writing, is one that can be looked at, stopped and removed, whatever the size
/// of the disk's blocks: below that of a page, what is mapped may have no room for a part of it.
#[test]
fn a_full_disk_does_not_keep_a_container_that_fills_it() {
    for block in [1024, 4096] {
        let make = format!("mkfs.ext4 -q -b {block} BASE/image");
        let line = format!("-o loop $(truncate -s 80m BASE/image && {make} && echo BASE/image)");
        let Some(s) = Sandbox::with_home_on(&line) else {
            return needs_root("a_full_disk_does_not_keep_a_container_that_fills_it");
        };
        let _ = fs::remove_dir(s.home().join("lost+found"));
        let s = s.busybox();
        let free = || {
            let stat = rustix::fs::statvfs(s.home()).unwrap();
            stat.f_bavail * stat.f_frsize
        };
        let talks = "yes $(printf %099d 7) & while :; do echo; done";
        let writes = "yes $(printf %099d 7) > /fill; while :; do echo x >> /fill; done 2> /dev/null";
        for (name, script, least) in [("talks", talks, 8 << 20), ("writes", writes, 4096)] {
            s.kelp(["run", "-d", "--name", name, "busybox", "sh", "-c", script].map(str::to_owned).to_vec())
                .exits(0);
            assert!(within(Duration::from_secs(30), || free() <= least), "{} bytes are free", free());
            std::thread::sleep(Duration::from_secs(1));
            for line in
                ["ps", "inspect NAME", "exec NAME true", "logs --tail 1 NAME", "system df", "stop -t 0 NAME"]
            {
                s.ok(&line.replace("NAME", name));
            }
            s.ok(&format!("rm {name}"));
            s.ok("run --rm busybox true");
        }
        s.ok("system check");
    }
}

/// What nobody sees any more does not keep the disk full.
#[test]
fn a_throw_away_container_that_fills_the_disk_goes_all_the_same() {
    let Some(s) = Sandbox::with_small_disk("size=40m") else {
        return needs_root("a_throw_away_container_that_fills_the_disk_goes_all_the_same");
    };
    let s = s.busybox();
    s.exits(1, "run --rm busybox sh -c 'cat /dev/zero > /fill'").says("no space left");
    let containers = s.store().join("containers");
    let gone = within(Duration::from_secs(5), || fs::read_dir(&containers).unwrap().next().is_none());
    assert!(gone, "its files keep the disk full");
    s.ok("run --rm busybox true");
}

/// Somebody, or a power cut, took the files of a container away.
#[test]
fn a_container_without_its_files_can_be_removed() {
    let s = Sandbox::new().busybox();
    for (name, removal) in [("c1", "rm c1"), ("c2", "rm -f c2"), ("c3", "container prune -f")] {
        s.ok(&format!("create --name {name} busybox true"));
        fs::remove_dir_all(s.store().join("containers").join(s.field(name, ".Id"))).unwrap();
        s.exits(1, "system check").has("its files are missing");
        s.ok(removal);
        s.ok("system check");
        s.exits(1, &format!("inspect {name}"));
    }
}

/// What makes room works where there is none.
#[test]
fn a_full_disk_is_no_obstacle_to_removing() {
    let Some(s) = Sandbox::with_small_disk("size=64m") else {
        return needs_root("a_full_disk_is_no_obstacle_to_removing");
    };
    let tar = s.busybox_tar();
    for n in 1..4 {
        s.ok(&format!("import -m {n} {} a:{n}", tar.display()));
    }
    s.ok("run --name c1 a:1 true");
    let fill = || {
        let path = s.home().join("fill");
        let _ = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(&vec![1; 80 << 20]);
    };
    fill();
    s.exits(1, "tag a:1 more:1").says("disk is full");
    s.ok("system df");
    s.ok("image prune -a --dry-run").has("untagged: a:3");
    s.ok("system check");
    // Each time to the brim again: what was set aside is less each time.
    for line in ["rmi a:3", "rm c1", "untag a:2", "image prune -f"] {
        fill();
        s.ok(line);
    }
    s.ok("images --format '{{.Tag}}'").is("1");
    fs::remove_file(s.home().join("fill")).unwrap();
    s.ok(&format!("import {} a:4", tar.display()));
    fill();
    s.ok("system prune -af");
    s.ok("images -q").is("");
    fs::remove_file(s.home().join("fill")).unwrap();
    s.ok("system check");
}

#[test]
fn a_home_without_space_for_one_more_file() {
    let Some(s) = Sandbox::with_small_disk("nr_inodes=700") else {
        return needs_root("a_home_without_space_for_one_more_file");
    };
    let s = s.busybox();
    let mut taken = 0;
    while fs::write(s.home().join(format!("x{taken}")), "").is_ok() {
        taken += 1;
    }
    s.exits(125, "run --rm busybox true").says("no space left");
    s.exits(1, "create busybox true").says("no space left");
    for n in 0..taken {
        fs::remove_file(s.home().join(format!("x{n}"))).unwrap();
    }
    assert_eq!(s.ok("ps -aq").text(), "");
    s.ok("run --rm busybox true");
}

#[test]
fn nothing_is_left_of_a_run_that_failed() {
    let s = Sandbox::new().busybox();
    for line in [
        "run --rm busybox no-such-command",
        "run --rm -u nosuch busybox true",
        "run --rm -w /etc/passwd busybox true",
        "run --rm --mount type=bind,source=/no/such,target=/x busybox true",
        "run --rm --sysctl net.nonsense=1 busybox true",
        "run --rm -v /etc/passwd:/proc busybox true",
    ] {
        let out = s.kelp(line).run();
        assert!((125..=127).contains(&out.code), "{}", out.story());
        assert!(out.stderr.starts_with("kelp: "), "{}", out.story());
        assert_eq!(s.ok("ps -aq").text(), "", "{line}");
    }
}

#[test]
fn help_goes_to_stdout_and_usage_errors_to_stderr() {
    let s = Sandbox::new();
    s.ok("--help").has("run").silent();
    s.ok("run --help").has("--entrypoint").silent();
    assert_eq!(s.ok("help").stdout, s.ok("--help").stdout);
    assert_eq!(s.ok("help container rm").stdout, s.ok("container rm --help").stdout);
    s.exits(1, "help nonsense").says("nonsense");
    let out = s.kelp("run --nonsense").exits(125);
    assert_eq!(out.stdout, "");
}
