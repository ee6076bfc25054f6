//! Whatever kelp is started from: the caller's umask, directory, time zone, limits and patience, another container.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Out, Sandbox, within};

/// Run by a shell that has `kelp` in its PATH.
fn shell(s: &Sandbox, script: &str) -> Out {
    let dir = s.program().parent().unwrap().display().to_string();
    let path = format!("{dir}:/usr/local/bin:/usr/bin:/bin");
    s.program_call("sh").env("PATH", path).args(["-c", script]).run()
}

/// What kelp makes in a container is for all of its users.
#[test]
fn the_callers_umask_stays_outside() {
    let s = Sandbox::new().busybox();
    s.dir("given");
    let script = "umask 077; kelp run --rm -u 33 -w /n/m -v $PWD/given:/a/b/c --tmpfs /t/m busybox \
        stat -c '%a %n' /n /n/m /a /a/b /t /t/m";
    let out = shell(&s, script).expect_code(0);
    out.is("755 /n\n755 /n/m\n755 /a\n755 /a/b\n755 /t\n1777 /t/m");
    let script = "umask 077; kelp create --name c1 -u 33 -w /deep/er -v $PWD/given:/a/b/c busybox stat -c '%a %n' \
        /deep /deep/er /a /a/b >/dev/null; echo x >f; kelp cp f c1:/deep/er/; kelp start -a c1";
    shell(&s, script).expect_code(0).is("755 /deep\n755 /deep/er\n755 /a\n755 /a/b");
}

/// What it makes outside is for the caller alone.
#[test]
fn no_umask_opens_the_store_or_the_cache() {
    let s = Sandbox::new();
    let tar = s.busybox_tar();
    shell(&s, &format!("umask 000; kelp import {} busybox; kelp run --rm busybox true", tar.display()))
        .expect_code(0);
    let find = "find ~/.cache ~/.local/share -mindepth 1 \
        '(' -path '*/layers/*' -o -path '*/containers/*/*' ')' -prune -o -perm /022 ! -type l -print";
    shell(&s, find).expect_code(0).is("");
}

/// A working directory is there as soon as the container is, as with docker: a CI job copies its sources into it.
#[test]
fn files_are_copied_into_a_working_directory_before_the_first_start() {
    let s = Sandbox::new().busybox();
    s.write("source", "text");
    s.ok("create --name c1 -w /src/app busybox cat source");
    s.ok("cp c1:/src/app -").has("app/");
    s.ok("cp source c1:/src/app/").silent();
    s.ok("start -a c1").is("text");
    // One that was removed by the container stays so.
    s.ok("create --name c2 -w /gone busybox sh -c 'cd /; rmdir /gone'");
    s.ok("start -a c2");
    s.exits(1, "cp source c2:/gone/").says("/gone");
}

#[test]
fn a_directory_that_was_removed_is_missed_only_by_relative_paths() {
    let s = Sandbox::new().busybox();
    let here = "mkdir d; cd d; rmdir ../d; ";
    shell(&s, &format!("{here} kelp run --rm busybox pwd")).expect_code(0).is("/");
    shell(&s, &format!("{here} kelp run -d --name c1 busybox sleep 1000; kelp exec c1 pwd"))
        .expect_code(0)
        .has("/\n");
    shell(&s, &format!("{here} kelp cp c1:/etc/passwd $HOME/../work/copied")).expect_code(0);
    assert!(fs::exists(s.work().join("copied")).unwrap());
    for relative in [
        "run --rm -v .:/x busybox true",
        "run --rm --mount type=bind,src=./x,dst=/x busybox true",
        "run --rm --rootfs . true",
    ] {
        shell(&s, &format!("{here} kelp {relative}"))
            .expect_code(125)
            .says("current directory does not exist any more");
    }
    shell(&s, &format!("{here} kelp cp c1:/etc/passwd .")).expect_code(1).says("current directory");
}

/// Times without a zone are the caller's, who need not be where the machine is.
#[test]
fn the_time_zone_is_the_callers() {
    let s = Sandbox::new().busybox();
    s.ok("run --name c1 busybox echo said");
    for (zone, hours) in [("XXX-5:30", "5 hours 30 minutes"), (":YYY8", "-8 hours"), ("", "0 hours")] {
        for (minutes, seen) in [("-1", "said"), ("+1", "")] {
            let script = format!("date -u -d '{hours} {minutes} minutes' +%Y-%m-%dT%H:%M:%S");
            let since = shell(&s, &script).expect_code(0).stdout.trim().to_owned();
            s.kelp(["logs", "--since", &since, "c1"]).env("TZ", zone).exits(0).is(seen);
        }
    }
    let created =
        |zone: &str| s.kelp(["ps", "-a", "--format", "{{.CreatedAt}}"]).env("TZ", zone).exits(0).stdout;
    assert!(created("XXX-5:30").trim().ends_with(" +0530 XXX"), "{}", created("XXX-5:30"));
    assert!(created("").trim().ends_with(" +0000 UTC"), "{}", created(""));
}

/// docker's way out for who is attached to a process that hears no signal.
#[test]
fn the_third_interrupt_ends_kelp_itself() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c2 busybox sleep 1000");
    let deaf =
        ["run --name c1 busybox sleep 1000", "exec c2 sh -c 'trap \"\" INT TERM; touch /ready; sleep 30'"];
    for (line, signal) in deaf.into_iter().zip([Signal::INT, Signal::TERM]) {
        let job = s.kelp(line).spawn(false);
        let ready = || match signal {
            Signal::INT => s.kelp("exec c1 true").run().code == 0,
            _ => s.kelp("exec c2 test -e /ready").run().code == 0,
        };
        assert!(within(Duration::from_secs(10), ready));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            job.signal(signal);
        }
        job.finish(Duration::from_secs(10)).expect_code(1).says("forcefully exiting").says("runs on");
    }
    assert_eq!(s.field("c1", ".State.Running"), "true");
}

/// A home whose name the kernel's mount options would read otherwise.
#[test]
fn a_home_with_any_name() {
    let mut homes = vec!["a b", "c:d,e", "q\"t\\back%s", "new\nline", "ünï"];
    let s = Sandbox::new();
    let tar = s.busybox_tar();
    for name in homes.drain(..) {
        let home = s.dir(name);
        let kelp = |line: &str| s.kelp(line).env("HOME", &home).exits(0);
        s.kelp(["import", tar.to_str().unwrap(), "busybox"]).env("HOME", &home).exits(0);
        let option = Sandbox::snapshotter();
        kelp(&format!(
            "run --rm --snapshotter {option} busybox sh -c 'touch /new && rm /bin/ls && echo done'"
        ))
        .is("done");
        kelp("run -d --name c1 busybox sleep 1000");
        kelp("exec c1 echo inside").is("inside");
        kelp("rm -f c1");
        kelp("system check");
    }
}

/// A machine of which nothing but a few descriptors is to be had.
#[test]
fn few_descriptors_are_enough() {
    let s = Sandbox::new().busybox();
    let script = "ulimit -n 64; kelp run -d --name c1 busybox sleep 1000; kelp exec c1 nslookup localhost >/dev/null; \
        kelp exec c1 sh -c 'ulimit -n'; kelp run --rm --network bridge busybox echo joined";
    shell(&s, script).expect_code(0).has("64\n").has("joined");
}

/// Files that may not grow are an error where they are written, inside and outside.
#[test]
fn a_limit_on_the_size_of_files_kills_nobody() {
    let s = Sandbox::new().busybox();
    let write = "dd if=/dev/zero of=/big bs=1M count=6 2>&1; echo still here";
    shell(&s, &format!("ulimit -f 8000; kelp run --rm busybox sh -c '{write}'"))
        .expect_code(0)
        .has("limit exceeded")
        .has("still here");
    s.ok("ps -aq").is("");
    s.write("big", vec![0; 6 << 20]);
    s.ok("create --name c1 busybox true");
    shell(&s, "ulimit -f 8000; kelp cp big c1:/").expect_code(1).says("file too large");
    s.ok("system check");
}

/// Without certificate authorities TLS is not to be had, and that is said; what needs none works.
#[test]
fn a_machine_without_certificate_authorities() {
    let s = Sandbox::new();
    let none =
        |line: &str| s.kelp(line).env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent");
    none("pull 192.0.2.1/image:1").exits(76).says("no certificate authority").says("ca-certificates");
    let out = none("pull localhost:1/image:1").run();
    assert!(out.stderr.contains("cannot reach") && !out.stderr.contains("authority"), "{}", out.story());
}

/// What podman's default for containers leaves of a machine: a filter that lets nobody set a host name, and a
/// read-only `/proc/sys`. The default network works all the same, packets go out and come back.
#[test]
fn kelp_has_a_network_in_a_container_that_hides_things_from_it() {
    let s = Sandbox::new().busybox();
    let filter = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
        [{"names":["sethostname"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;
    let seccomp = format!("seccomp={}", s.write("filter.json", filter).display());
    s.dir("srv");
    s.write("srv/index.html", "from outside\n");
    let binds = [
        format!("{}:/bin/kelp:ro", s.program().display()),
        format!("{}:/bb.tar:ro", s.busybox_tar().display()),
        format!("{}:/srv", s.work().join("srv").display()),
        "/dev/net/tun:/dev/net/tun".to_owned(),
    ];
    let outer = |script: &str| {
        let mut words = crate::harness::split("run --rm --hostname outer --tmpfs /root:exec -e HOME=/root");
        words.extend(["--security-opt".to_owned(), seccomp.clone()]);
        words.extend(binds.iter().flat_map(|bind| ["-v".to_owned(), bind.clone()]));
        words.extend(["busybox", "sh", "-c"].map(String::from));
        words.push(format!("kelp import /bb.tar b >/dev/null && {script}"));
        s.kelp(words).run()
    };
    let script = "kelp run -d --name c1 -p 127.0.0.1:8080:80 b \
        sh -c 'echo hello >/index.html; httpd -f -p 80 -h /' >/dev/null && \
        for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1:8080/ && break; sleep 0.3; done; \
        kelp run --rm --network slirp:ipv6=false b ip -6 addr show dev eth0; \
        httpd -p 8081 -h /srv; kelp run --rm --network slirp:host-loopback=true b \
        sh -c 'wget -qO- http://host.docker.internal:8081/; hostname'; kelp rm -f c1 >/dev/null";
    outer(script).expect_code(0).says("host name").is("hello\nfrom outside\nouter");
    // What was asked for is done, or an error.
    outer("kelp run --rm --hostname asked b true").expect_code(125).says("set the host name").says("seccomp");
    outer("kelp run --rm --network bridge b true")
        .expect_code(125)
        .says("ip_forward")
        .says("default network");
}
