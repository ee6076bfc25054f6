//! What keeps a container in: capabilities, seccomp, namespaces, masked paths, devices.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Image, Sandbox, status_field, within};

/// docker's default set: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
/// net_raw, sys_chroot, mknod, audit_write, setfcap.
const DEFAULT: u64 = 0xa804_25fb;
const ALL_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn caps(text: &str) -> [u64; 5] {
    ALL_SETS.map(|set| {
        let line = text.lines().find(|l| l.starts_with(set)).unwrap_or_else(|| panic!("no {set} in {text}"));
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    })
}

/// T-inh: inheritable and ambient are empty, the rest is docker's default, for the first process and for exec.
#[test]
fn capabilities_are_dockers_default() {
    let s = Sandbox::new().busybox();
    let expected = [0, DEFAULT, DEFAULT, DEFAULT, 0];
    assert_eq!(caps(&s.busybox_sh("", "cat /proc/self/status").stdout), expected);
    s.ok("run -d --name c1 busybox sleep 100");
    assert_eq!(caps(&s.ok("exec c1 cat /proc/self/status").stdout), expected);
    assert_eq!(caps(&s.ok("exec -u app c1 cat /proc/self/status").stdout), [0, 0, 0, DEFAULT, 0]);
    s.ok("run -d --name i1 --init busybox sleep 100");
    assert_eq!(caps(&s.ok("exec i1 cat /proc/1/status").stdout)[0], 0);
}

#[test]
fn capabilities_are_added_and_dropped() {
    let s = Sandbox::new().busybox();
    let eff = |options: &str| caps(&s.busybox_sh(options, "cat /proc/self/status").stdout)[2];
    assert_eq!(eff("--cap-drop ALL"), 0);
    assert_eq!(eff("--cap-drop all --cap-add NET_RAW"), 1 << 13);
    assert_eq!(eff("--cap-add CAP_SYS_PTRACE --cap-drop chown"), (DEFAULT | 1 << 19) & !1);
    assert_eq!(eff("--cap-add ALL").count_ones(), eff("--privileged").count_ones());
    s.exits(125, "run --rm --cap-add NONSENSE busybox true").says("NONSENSE");
    s.exits(1, "run --rm --cap-drop CHOWN busybox chown 1 /etc/passwd");
}

#[test]
fn seccomp_is_on_and_can_be_chosen() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("", "grep ^Seccomp: /proc/self/status").has("2");
    s.busybox_sh("--security-opt seccomp=unconfined", "grep ^Seccomp: /proc/self/status").has("0");
    s.busybox_sh("--privileged", "grep ^Seccomp: /proc/self/status").has("0");
    s.write("deny.json", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#);
    s.exits(1, "run --rm --security-opt seccomp=deny.json busybox mkdir /x");
    s.ok("run --rm --security-opt seccomp=deny.json busybox touch /x");
    s.write("broken.json", "{");
    s.exits(125, "run --rm --security-opt seccomp=broken.json busybox true").says("broken.json");
    s.exits(125, "run --rm --security-opt seccomp=missing.json busybox true").says("missing.json");
}

/// Calls that reach far into the kernel are refused even to root inside.
#[test]
fn the_default_profile_refuses_what_dockers_refuses() {
    let s = Sandbox::new().busybox();
    s.exits(1, "run --rm busybox unshare -U true");
    s.exits(1, "run --rm busybox unshare -n true");
    s.exits(1, "run --rm busybox mount -t tmpfs none /tmp");
    s.exits(1, "run --rm busybox umount /proc");
    s.exits(1, "run --rm busybox hostname other");
    s.exits(1, "run --rm busybox swapoff /x");
    // busybox says so and ends with 0 all the same.
    s.ok("run --rm busybox date -s 2001-01-01").says("operation not permitted");
}

#[test]
fn no_new_privileges_is_applied_when_asked_for() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("", "grep NoNewPrivs /proc/self/status").has("0");
    s.busybox_sh("--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status").has("1");
    s.exits(125, "run --rm --security-opt nonsense busybox true").says("nonsense");
    s.ok("run -d --name c1 --security-opt no-new-privileges busybox sleep 100");
    s.ok("exec c1 grep NoNewPrivs /proc/self/status").has("1");
}

#[test]
fn privileged_may_mount_but_not_touch_the_host() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("--privileged", "mount -t tmpfs none /tmp && touch /tmp/x && hostname other && hostname")
        .is("other");
    s.busybox_sh("--privileged", "test -w /proc/sys/kernel/domainname");
    assert_ne!(
        s.kelp(["run", "--rm", "--privileged", "busybox", "sh", "-c", "echo 1 > /proc/sys/vm/drop_caches"])
            .run()
            .code,
        0
    );
}

#[test]
fn every_namespace_is_new() {
    let s = Sandbox::new().busybox();
    let out =
        s.busybox_sh("", "for n in user mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done");
    for line in out.lines() {
        let kind = line.split(':').next().unwrap();
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(line, host.to_str().unwrap());
    }
    assert_eq!(out.lines().len(), 7);
}

#[test]
fn containers_share_the_user_namespace_and_nothing_else() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name a1 busybox sleep 100");
    s.ok("run -d --name b1 busybox sleep 100");
    let ns = |c: &str, kind: &str| s.ok(&format!("exec {c} readlink /proc/1/ns/{kind}")).stdout;
    assert_eq!(ns("a1", "user"), ns("b1", "user"));
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(ns("a1", kind), ns("b1", kind), "{kind}");
    }
}

#[test]
fn namespaces_of_the_host_and_of_others_can_be_joined() {
    let s = Sandbox::new().busybox();
    let host =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned();
    for kind in ["net", "ipc", "uts", "pid"] {
        let option = if kind == "net" { "network".to_owned() } else { kind.to_owned() };
        s.busybox_sh(&format!("--{option} host"), &format!("readlink /proc/self/ns/{kind}")).is(&host(kind));
    }
    s.ok("run -d --name a1 --ipc shareable busybox sleep 100");
    for kind in ["pid", "ipc"] {
        let theirs = s.ok(&format!("exec a1 readlink /proc/1/ns/{kind}")).stdout;
        s.busybox_sh(&format!("--{kind} container:a1"), &format!("readlink /proc/self/ns/{kind}"))
            .is(&theirs);
    }
    s.busybox_sh("--pid container:a1", "cat /proc/1/cmdline").has("sleep");
    s.ok("exec a1 touch /dev/shm/shared");
    s.busybox_sh("--ipc container:a1", "ls /dev/shm").is("shared");
    s.busybox_sh("--ipc none", "ls /dev").has("mqueue").lacks("shm");
    s.exits(125, "run --rm --pid container:nobody busybox true").says("nobody");
    s.exits(125, "run --rm --pid nonsense busybox true").says("nonsense");
    s.ok("stop a1");
    s.exits(125, "run --rm --pid container:a1 busybox true").says("not running");
    s.ok("ps -aq").is(&s.ok("ps -aq -f name=a1").stdout);
}

#[test]
fn network_none_has_loopback_alone() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh(
        "--network none",
        "ls /sys/class/net; ip -o addr; ping -c1 -W1 127.0.0.1 >/dev/null && echo up",
    );
    out.has("lo\n").has("127.0.0.1").has("up").lacks("eth0");
    s.exits(125, "run --rm --network no-such-network busybox true").says("no-such-network");
}

#[test]
fn network_host_sees_the_hosts_interfaces() {
    let s = Sandbox::new().busybox();
    let mut host: Vec<String> = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    host.sort();
    let out = s.busybox_sh("--network host", "ls -1 /sys/class/net");
    assert_eq!(out.lines(), host);
}

/// T-mask: what docker hides is hidden, what it makes read-only is read-only.
#[test]
fn sensitive_paths_are_masked() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("", "cat /proc/kcore /proc/keys /proc/timer_list /proc/sysrq-trigger 2>/dev/null | wc -c")
        .is("0");
    s.busybox_sh("", "ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | grep -c .; true")
        .is("0");
    for path in ["/proc/sys/kernel/hostname", "/proc/irq/default_smp_affinity", "/proc/sysrq-trigger"] {
        let out = s.kelp(["run", "--rm", "busybox", "sh", "-c", &format!("echo 1 > {path}")]).run();
        assert_ne!(out.code, 0, "{path} was written");
    }
    s.exits(1, "run --rm busybox sh -c 'mkdir /sys/x'");
    s.ok("run -d --name c1 busybox sleep 100");
    s.ok("exec c1 sh -c 'cat /proc/kcore /proc/keys 2>/dev/null | wc -c'").is("0");
}

#[test]
fn dev_has_dockers_nodes_and_no_more() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh(
        "",
        "ls -1 /dev; stat -c '%n %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty",
    );
    for name in [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ] {
        assert!(out.lines().contains(&name), "no /dev/{name}:\n{}", out.story());
    }
    out.has("/dev/null 1:3")
        .has("/dev/zero 1:5")
        .has("/dev/full 1:7")
        .has("/dev/random 1:8")
        .has("/dev/urandom 1:9");
    out.lacks("fuse").lacks("kmsg").lacks("vda").lacks("loop");
    s.busybox_sh("", "echo x > /dev/null; head -c4 /dev/zero | wc -c; echo y > /dev/full 2>&1 || echo full")
        .has("4")
        .has("full");
}

#[test]
fn root_inside_is_nobody_outside() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 100");
    let uid = status_field(s.pid_of("c1"), "Uid").unwrap();
    assert!(uid.split_whitespace().all(|u| u == s.account.uid.to_string()), "uid {uid}");
    s.ok("run -d --name d1 -u 33 busybox sleep 100");
    let uid = status_field(s.pid_of("d1"), "Uid").unwrap();
    let outside = s.account.range.map_or(0, |(first, _)| first + 32);
    assert!(uid.split_whitespace().all(|u| u == outside.to_string()), "uid {uid}, not {outside}");
}

/// T-labeltrust: labels and annotations of an image choose nothing.
#[test]
fn labels_of_an_image_change_nothing() {
    let s = Sandbox::new();
    let plain = Image::busybox();
    let labels = serde_json::json!({
        "io.podman.annotations.privileged": "TRUE", "io.podman.annotations.seccomp": "unconfined",
        "io.containers.capabilities": "SYS_ADMIN", "io.kubernetes.cri-o.userns-mode": "host",
        "run.oci.keep_original_groups": "1", "run.oci.seccomp.receiver": "/tmp/x", "RUN": "run --privileged",
        "io.balena.features.dbus": "1", "org.systemd.property.User": "root", "module.wasm.image/variant": "compat",
    });
    s.load(&plain, "plain");
    s.load(&plain.clone().set("Labels", labels), "labelled");
    let look = "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; cat /proc/self/mounts | cut -d' ' -f2-4 | grep -v overlay; ls /dev";
    let of = |image: &str| s.ok(["run", "--rm", image, "sh", "-c", look]).stdout;
    assert_eq!(of("plain"), of("labelled"));
}

/// No option of docker's or podman's asks for it, so the OCI spec does: the one that is stored for the container's
/// shim.
#[test]
fn a_spec_may_give_the_container_clocks_of_its_own() {
    let s = Sandbox::new().busybox();
    let clocks = "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime";
    let id = s.ok(["create", "--name", "c1", "busybox", "sh", "-c", &format!("{clocks}; sleep 1000")]);
    let start = |offsets: serde_json::Value| {
        let store = rusqlite::Connection::open(s.store().join("kelp.db")).unwrap();
        let row = "(SELECT seq FROM containers WHERE id = ?1)";
        let read = format!("SELECT request FROM requests WHERE seq = {row}");
        let stored: String = store.query_row(&read, [id.text()], |row| row.get(0)).unwrap();
        let mut stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let linux = &mut stored["spec"]["linux"];
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|n| n["type"] != "time");
        namespaces.push(serde_json::json!({"type": "time"}));
        linux["timeOffsets"] = offsets;
        let write = format!("UPDATE requests SET request = ?2 WHERE seq = {row}");
        store.execute(&write, (id.text(), stored.to_string())).unwrap();
        drop(store);
        s.kelp("start c1").run()
    };
    start(serde_json::json!({"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 50_000_000}}))
        .expect_code(0);
    assert!(within(Duration::from_secs(20), || s.ok("logs c1").lines().len() == 3));
    for out in [s.ok("logs c1"), s.ok(["exec", "c1", "sh", "-c", clocks])] {
        let words: Vec<&str> = out.stdout.split_whitespace().collect();
        assert_eq!(words[..6], ["monotonic", "1000", "5", "boottime", "50000000", "0"]);
        let uptime: u64 = words[6].parse().unwrap();
        assert!((50_000_000..100_000_000).contains(&uptime), "{uptime}");
    }
    s.ok("stop -t 0 c1");
    start(serde_json::json!({"boottime": {"secs": -50_000_000}})).expect_code(1).says("below zero");
}

/// What docker's seccomp filter and masked /proc do to a kelp inside: no clone3, /proc/sys read-only, no procfs of
/// one's own.
#[test]
fn kelp_runs_in_a_container_that_hides_things_from_it() {
    let s = Sandbox::new().busybox();
    let no_clone3 = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":
        [{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    s.write("no-clone3.json", no_clone3);
    s.write("bb.tar", fs::read(s.busybox_tar()).unwrap());
    let seccomp = format!("seccomp={}", s.work().join("no-clone3.json").display());
    let kelp = format!("{}:/bin/kelp:ro", s.program().display());
    let tar = format!("{}:/bb.tar:ro", s.work().join("bb.tar").display());
    let script = "kelp import /bb.tar b && kelp run -d --name c1 --network none b sleep 1000 && kelp exec c1 echo inside \
        && kelp rm -f c1 && kelp run --rm --network none b echo again";
    let outer = ["run", "--rm", "--security-opt", &seccomp, "--tmpfs", "/root:exec", "-e", "HOME=/root"];
    let rest = ["-v", &kelp, "-v", &tar, "busybox", "sh", "-c", script];
    let out = s.ok(outer.iter().chain(&rest).map(|w| (*w).to_owned()).collect::<Vec<_>>());
    out.has("inside").has("again").says("hides parts of /proc");
}

/// A run that has long to wait before it knows its container has joined the namespace of another one, which ends
/// meanwhile: whoever comes next still finds that namespace.
#[test]
fn one_namespace_however_long_a_start_takes() {
    let s = Sandbox::new().busybox();
    let env = s.work().join("env");
    assert!(Command::new("mkfifo").arg(&env).status().unwrap().success());
    s.give(&env);
    s.ok("run -d --name first busybox sleep 100");
    let slow = s.kelp("run -d --name slow --env-file env busybox sleep 100").spawn(false);
    assert!(within(Duration::from_secs(5), || shims(&s) == 2), "no shim is waiting");
    // Past the moment at which a start begins to look after the namespace.
    std::thread::sleep(Duration::from_millis(300));
    s.ok("rm -f first");
    s.ok("run -d --name next busybox sleep 100");
    fs::write(&env, "A=b\n").unwrap();
    slow.finish(Duration::from_secs(20)).expect_code(0);
    s.busybox_sh("--pid container:slow", "cat /proc/1/cmdline").has("sleep");
}

fn shims(s: &Sandbox) -> usize {
    s.processes().iter().filter(|p| p.line.contains(") kelp-shim ")).count()
}

/// As with docker, whose namespace is joined is settled when the container is made: its name may be another's later.
#[test]
fn a_joined_container_may_change_its_name() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d --name web busybox sleep 1000").text().to_owned();
    let modes = "--network container:web --pid container:web --ipc container:web";
    s.ok(&format!("run -d --name beside {modes} busybox sleep 1000"));
    let told = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}";
    s.ok(["inspect", "-f", told, "beside"]).is(&[format!("container:{id}").as_str(); 3].join(" "));
    s.ok("run -d --name further --network container:beside busybox sleep 1000");
    s.ok("rename web other");
    s.ok("restart -t 0 beside");
    // Three that would go round in a circle, if names counted.
    s.ok("rename further web");
    s.busybox_sh("--network container:beside", "readlink /proc/self/ns/net")
        .is(s.ok("exec other readlink /proc/self/ns/net").text());
}
