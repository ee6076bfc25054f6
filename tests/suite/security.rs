//! Published advisories against other runtimes, each as a test against this one. The `T-` names are those of
//! the list that was collected; what concerns users, capabilities, mounts and archives stands in those modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::harness::{BUSYBOX, Image, Layer, Sandbox, status_field, within};

fn hash(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}

/// T-selfexe (CVE-2019-5736): nobody inside can write to kelp, though its owner runs the container.
#[test]
fn the_binary_cannot_be_overwritten_from_inside() {
    let mut s = Sandbox::new();
    let program = s.own_copy_of_kelp();
    s.set_program(program.clone());
    let before = hash(&program);
    let evil = Layer::default().file("evil", 0o755, b"#!/proc/self/exe\n").file(
        "grab",
        0o755,
        b"#!/bin/sh\nwhile :; do for p in /proc/[0-9]*/exe; do echo x >> $p; done; done 2>/dev/null\n",
    );
    s.load(&Image::busybox().layer(evil), "i");
    let _ = s.kelp("run --rm i /evil").run();
    s.ok("run -d --name c1 i /grab");
    for _ in 0..30 {
        let _ = s.kelp("exec c1 /evil").run();
        s.ok("exec c1 true");
    }
    s.ok("rm -f c1");
    assert_eq!(hash(&program), before);
}

/// T-fdleak (CVE-2024-21626): no descriptor of ours is inside, and none can be a working directory.
#[test]
fn no_descriptor_leaks_into_the_container() {
    let s = Sandbox::new().busybox();
    // The shell's own, and the one with which it reads the directory.
    s.busybox_sh("", "ls /proc/self/fd | tr '\\n' ' '").is("0 1 2 3");
    s.ok("run -d --name c1 busybox sleep 1000");
    s.ok("exec c1 sh -c 'ls /proc/self/fd | tr \"\\n\" \" \"; ls /proc/1/fd | tr \"\\n\" \" \"'")
        .is("0 1 2 3 0 1 2");
    for n in (0..30).step_by(if cfg!(debug_assertions) { 2 } else { 1 }) {
        for line in
            [format!("run --rm -w /proc/self/fd/{n} busybox ls"), format!("exec -w /proc/self/fd/{n} c1 ls")]
        {
            let out = s.kelp(&line).run();
            assert_ne!(out.code, 0, "{}", out.story());
        }
    }
}

/// T-proclink, T-devlink: the places of our own mounts are links in the image.
#[test]
fn links_in_place_of_mount_points_lead_nowhere() {
    let s = Sandbox::new();
    let victim = s.dir("victim");
    let target = victim.to_str().unwrap().to_owned();
    for place in ["proc", "dev", "sys", "etc", "tmp"] {
        let layer = Layer::default().file(&format!(".wh.{place}"), 0o644, b"");
        let image = Image::busybox().layer(layer).layer(Layer::default().symlink(place, &target));
        s.load(&image, place);
        let out = s
            .kelp([
                "run",
                "--rm",
                "--tmpfs",
                "/tmp",
                place,
                "sh",
                "-c",
                "cat /proc/1/comm; echo x > /etc/x; echo x > /tmp/x",
            ])
            .run();
        assert!(fs::read_dir(&victim).unwrap().next().is_none(), "/{place}:\n{}", out.story());
        if place == "proc" {
            assert_ne!(out.code, 0, "a container without a /proc of its own was started:\n{}", out.story());
        }
    }
}

/// T-mask, T-console: masking does not depend on what the image calls `/dev/null`.
#[test]
fn devices_of_the_image_are_not_believed() {
    let s = Sandbox::new();
    let layer = Layer::default()
        .symlink("dev/null", "/etc/passwd")
        .symlink("dev/console", "/etc/passwd")
        .symlink("dev/pts", "/etc")
        .file("dev/zero", 0o666, b"not zero");
    s.load(&Image::busybox().layer(layer), "i");
    s.ok("run --rm i sh -c 'cat /proc/kcore /proc/keys | wc -c; stat -c %t:%T /dev/null /dev/zero'")
        .is("0\n1:3\n1:5");
    s.ok("run --rm -t i sh -c 'tty; test -c /dev/console && cat /etc/passwd | head -1'")
        .has("/dev/pts/0")
        .has("root:x:0:0");
}

/// T-dropfile: the files that we put into a root are links to the host's in the image.
#[test]
fn files_we_put_in_do_not_follow_links() {
    let s = Sandbox::new();
    let victim = s.write("victim", "untouched");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o666)).unwrap();
    let target = victim.to_str().unwrap();
    for name in
        ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv", "run/.containerenv", "etc/mtab"]
    {
        let layer = Layer::default().dir("run", 0o755).symlink(name, target);
        s.load(&Image::busybox().layer(layer), "i");
        let _ = s.kelp("run --rm --add-host a:1.2.3.4 -w /new/dir i true").run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched", "{name}");
    }
    let absent = s.work().join("absent");
    let layer = Layer::default()
        .symlink("etc/hosts", absent.to_str().unwrap())
        .symlink("wd", s.work().to_str().unwrap());
    s.load(&Image::busybox().layer(layer), "i");
    let _ = s.kelp("run --rm -w /wd/made i true").run();
    assert!(!absent.exists() && !s.work().join("made").exists());
}

/// T-mnt-sym: targets of the user's mounts are links in the image, and stay inside.
#[test]
fn mount_targets_are_resolved_inside_the_root() {
    let s = Sandbox::new();
    let (victim, data) = (s.dir("victim"), s.dir("data"));
    s.write("data/mark", "data");
    let layer =
        Layer::default().symlink("abs", victim.to_str().unwrap()).symlink("up", "/").symlink("in", "/etc");
    s.load(&Image::busybox().layer(layer), "i");
    let data = data.display();
    for target in ["/abs/made", "/abs", "/up/var/tmp/made", "/in/made"] {
        let out = s.kelp(&format!("run --rm -v {data}:{target} i cat {target}/mark")).run();
        assert!(out.code != 0 || out.text() == "data", "{target}:\n{}", out.story());
        assert!(fs::read_dir(&victim).unwrap().next().is_none(), "{target} was made on the host");
        assert!(!Path::new("/var/tmp/made").exists());
    }
}

/// T-mntrace, T-mkrace (CVE-2021-30465, CVE-2024-45310): the target flips between a directory and a link to a
/// directory of the host while containers start on it.
#[test]
fn a_flipping_mount_target_never_reaches_the_host() {
    let s = Sandbox::new().busybox();
    let (victim, shared, data) = (s.dir("victim"), s.dir("shared"), s.dir("data"));
    s.write("data/mark", "data");
    let flip = format!(
        "cd /v; mkdir -p d; ln -s {} l; echo ready; while :; do mv -T d t 2>/dev/null; mv -T t d 2>/dev/null; \
         mv -T l t 2>/dev/null; mv -T t l 2>/dev/null; done",
        victim.display()
    );
    let v = format!("{}:/v", shared.display());
    s.ok(["run", "-d", "--name", "flip", "-v", &v, "busybox", "sh", "-c", &flip]);
    assert!(within(Duration::from_secs(10), || s.ok("logs flip").stdout.contains("ready")));
    let mut started = 0;
    for round in 0..100 {
        let jobs: Vec<_> = (0..3)
            .map(|n| {
                let target = format!("{}:/v/t/made-{round}-{n}", data.display());
                s.kelp(["run", "--rm", "-v", &v, "-v", &target, "busybox", "true"]).spawn(false)
            })
            .collect();
        started +=
            jobs.into_iter().map(|j| j.finish(Duration::from_secs(60))).filter(|o| o.code == 0).count();
    }
    s.ok("rm -f flip");
    let made: Vec<_> = fs::read_dir(&victim).unwrap().collect();
    assert!(made.is_empty(), "made on the host: {made:?}");
    assert!(started > 0, "no start ever met a directory: the race was not run");
    assert_eq!(fs::read_to_string(s.work().join("data/mark")).unwrap(), "data");
}

/// T-cgwrite (CVE-2023-25809).
#[test]
fn control_groups_cannot_be_written() {
    let s = Sandbox::new().busybox();
    for options in ["", "--network host", "--pid host"] {
        let out = s.busybox_sh(
            options,
            "mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; find /sys/fs/cgroup -maxdepth 2 -name x; true",
        );
        out.is("");
    }
}

/// T-abstract (CVE-2020-15257): our sockets have paths that only the user can reach.
#[test]
fn sockets_are_not_abstract_and_not_open() {
    let s = Sandbox::new().busybox();
    let before: BTreeSet<String> = abstract_sockets(&fs::read_to_string("/proc/net/unix").unwrap());
    s.ok("run -d --name c1 busybox sleep 1000");
    s.ok("exec -d c1 sleep 1000");
    let after = abstract_sockets(&s.busybox_sh("--network host", "cat /proc/net/unix").stdout);
    let ours: Vec<_> = after.difference(&before).filter(|l| l.contains("kelp")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

fn abstract_sockets(table: &str) -> BTreeSet<String> {
    table.lines().filter_map(|l| l.split('@').nth(1)).map(str::to_owned).collect()
}

/// T-envleak: what one container knows no other does, nor the shim's own environment.
#[test]
fn the_environment_of_one_is_not_anothers() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name a1 -e SECRET=hunter2 busybox sleep 1000");
    s.ok("run -d --name b1 busybox sleep 1000");
    let seen = [
        s.ok("exec b1 env").stdout,
        s.ok("inspect b1").stdout,
        s.ok("ps -a --no-trunc").stdout,
        fs::read_to_string(s.store().join("events.log")).unwrap(),
        String::from_utf8_lossy(&fs::read(format!("/proc/{}/environ", s.shim_of("b1"))).unwrap_or_default())
            .into_owned(),
    ];
    for text in seen {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// T-perm: nobody else reaches anything in the store, and a mapped user inside cannot either.
#[test]
fn the_store_is_the_users_alone() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let store = s.store();
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&store).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        let open = meta.permissions().mode() & 0o077;
        assert!(open == 0, "{} is open: {:o}", entry.path().display(), meta.permissions().mode());
        assert_eq!(meta.uid(), s.account.uid);
    }
}

/// T-name: names are names, never paths or options.
#[test]
fn names_are_checked_everywhere() {
    let s = Sandbox::new().busybox();
    for name in ["../x", "a/b", ".hidden", "_x", "a b", "a\nb", "ä", &"x".repeat(300)] {
        let option = format!("--name={name}");
        s.exits(125, ["run", "--rm", &option, "busybox", "true"]);
        s.exits(1, ["create", &option, "busybox", "true"]);
        s.exits(1, ["inspect", "--", name]);
    }
    assert_eq!(s.ok("ps -aq").text(), "");
}

/// T-execflood: a flood of output stays bounded in the shim's memory.
#[test]
fn a_flood_of_output_is_bounded_in_memory() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let shim = s.shim_of("c1");
    let mut flood = s.kelp("exec c1 sh -c 'yes | head -c 1073741824'").command();
    let quick =
        flood.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(quick.success());
    let mut stalled = s.kelp("exec c1 yes").command();
    let mut stalled =
        stalled.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let peak = status_field(shim, "VmHWM").unwrap();
    let kilobytes: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    assert!(kilobytes < 64 << 10, "the shim took {peak}");
}

/// A container that stops every process it sees cannot stop the shim by way of an exec: the shim waits for the new
/// process's exec, which those in the container can hold up.
#[test]
fn a_container_that_stops_execs_does_not_stop_its_shim() {
    let s = Sandbox::new().busybox();
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", "while :; do kill -STOP -1; done"]);
    let held: Vec<_> = (0..2).map(|_| s.kelp("exec c1 true").spawn(false)).collect();
    std::thread::sleep(Duration::from_millis(500));
    s.kelp("rm -f c1").limit(Duration::from_secs(60)).exits(0);
    for job in held {
        // One that was faster than the stopper has done its work; what counts is that none hangs.
        job.finish(Duration::from_secs(30));
    }
}

/// A first process that sees to it that its shim's death does not reach it is ended by the next command, even one
/// that only looks.
#[test]
fn no_first_process_outlives_its_shim() {
    let s = Sandbox::new();
    // An exec with set-user-id takes the parent-death signal away.
    let program = fs::read(BUSYBOX).unwrap();
    s.load(&Image::busybox().layer(Layer::default().file("s/busybox", 0o4755, &program)), "i");
    s.ok("run -d --name c1 -u 1000 i /s/busybox sleep 1000");
    let (init, shim) = (s.pid_of("c1"), s.shim_of("c1"));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let alive = || status_field(init, "State").is_some_and(|state| !state.starts_with('Z'));
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(), "it did not outlive its shim, so this tests nothing");
    assert!(within(Duration::from_secs(10), || {
        s.ok("ps -a --format '{{.Status}}'").stdout.starts_with("Exited (137)")
    }));
    assert!(!alive(), "the first process lives");
    s.ok("rm c1");
}

/// T-attachleak: clients that come and go leave no descriptor and no thread.
#[test]
fn clients_that_vanish_leave_nothing_in_the_shim() {
    let s = Sandbox::new().busybox();
    s.ok("run -d -i --name c1 busybox cat");
    let shim = s.shim_of("c1");
    let count = || {
        let threads = status_field(shim, "Threads").unwrap().parse::<usize>().unwrap();
        (fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count(), threads)
    };
    let round = || {
        let jobs: Vec<_> = (0..10).map(|_| s.kelp("attach c1").spawn(true)).collect();
        std::thread::sleep(Duration::from_millis(150));
        for job in &jobs {
            job.signal(rustix::process::Signal::KILL);
        }
        for job in jobs {
            job.finish(Duration::from_secs(20));
        }
        let jobs: Vec<_> = (0..10).map(|_| s.kelp("exec c1 true").spawn(false)).collect();
        for job in jobs {
            job.finish(Duration::from_secs(20)).expect_code(0);
        }
    };
    round();
    let mut before = (0, 0);
    within(Duration::from_secs(2), || {
        let now = count();
        std::mem::replace(&mut before, now) == now
    });
    for _ in 0..12 {
        round();
    }
    assert!(within(Duration::from_secs(5), || count() <= before), "{before:?} became {:?}", count());
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

/// T-shm: shared memory is the container's own and goes with it.
#[test]
fn shared_memory_is_not_shared() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name a1 busybox sh -c 'echo x > /dev/shm/mine; sleep 1000'");
    s.busybox_sh("", "ls -A /dev/shm").is("");
    let before = fs::read_dir("/dev/shm").unwrap().count();
    s.ok("rm -f a1");
    assert_eq!(fs::read_dir("/dev/shm").unwrap().count(), before);
}

/// users.md row 8: what is removed is the container, whatever it links to or has mounted.
#[test]
fn removing_a_container_deletes_nothing_outside_it() {
    let s = Sandbox::new().busybox();
    let data = s.dir("data");
    s.write("data/precious", "x");
    let v = format!("{}:/d", data.display());
    let script = format!(
        "ln -s {} /link; ln -s / /root-link; mkdir /d/sub; mkdir -m 0 /locked; sleep 1000",
        data.display()
    );
    s.ok(["run", "-d", "--name", "c1", "-v", &v, "busybox", "sh", "-c", &script]);
    assert!(within(Duration::from_secs(10), || data.join("sub").exists()));
    s.ok("rm -f c1");
    assert!(data.join("precious").exists() && data.join("sub").exists());
    assert!(s.busybox_tar().exists());
}

/// A container that forks as fast as it can is gone as a whole.
#[test]
fn a_crowd_of_processes_ends_with_the_first() {
    let s = Sandbox::new().busybox();
    let script = "for i in $(seq 100); do (setsid sh -c 'trap \"\" TERM HUP; sleep 1000' &) ; done; echo ready; sleep 1000";
    s.ok(["run", "-d", "--name", "c1", "busybox", "sh", "-c", script]);
    assert!(within(Duration::from_secs(20), || s.ok("logs c1").stdout.contains("ready")));
    s.ok("rm -f c1");
    assert!(within(Duration::from_secs(3), || s.processes().is_empty()), "{:?}", s.processes());
}
