//! `run` and `create`: exit codes, streams, environment, names, files of the container, limits.

use std::fs;
use std::time::Duration;

use crate::harness::{Image, Release, Sandbox};

#[test]
fn exit_code_is_the_commands() {
    let s = Sandbox::new().busybox();
    s.exits(0, "run --rm busybox true").is("").silent();
    s.exits(1, "run --rm busybox false");
    s.exits(42, "run --rm busybox sh -c 'exit 42'");
    s.exits(255, "run --rm busybox sh -c 'exit 255'");
}

#[test]
fn death_by_signal_is_128_and_its_number() {
    let s = Sandbox::new().busybox();
    s.exits(137, "run --rm --init busybox sh -c 'kill -9 $$'");
    s.exits(143, "run --rm --init busybox sh -c 'kill -TERM $$'");
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let s = Sandbox::new().busybox();
    s.exits(127, "run --rm busybox no-such-command").says("no-such-command").says("not found");
    s.exits(127, "run --rm busybox /no/such/command").says("/no/such/command");
    s.exits(127, "run --name kept busybox no-such-command");
    assert_eq!(s.field("kept", ".State.ExitCode"), "127");
    assert_eq!(s.field("kept", ".State.Status"), "created");
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    let s = Sandbox::new().busybox();
    s.exits(126, "run --rm busybox /etc/passwd").says("/etc/passwd").says("permission denied");
    s.exits(126, "run --rm busybox /etc").says("/etc");
}

#[test]
fn kelps_own_failure_is_125() {
    let s = Sandbox::new().busybox();
    s.exits(125, "run --rm no-such-image true").says("no-such-image");
    s.exits(125, "run --no-such-option busybox true").says("--no-such-option");
    s.exits(125, "run --rm -v relative/path:/x:nonsense busybox true");
    s.exits(1, "run");
    assert_eq!(s.ok("ps -aq").text(), "");
}

#[test]
fn an_option_that_is_not_built_is_refused() {
    let s = Sandbox::new().busybox();
    for option in
        ["--memory 64m", "--cpus 1", "--ip 10.0.2.9", "--gpus all", "--restart always", "--device /dev/fuse"]
    {
        s.exits(125, &format!("run --rm {option} busybox true"));
    }
    assert_eq!(s.ok("ps -aq").text(), "");
}

#[test]
fn stdin_reaches_the_command_and_ends() {
    let s = Sandbox::new().busybox();
    s.kelp("run --rm -i busybox cat").stdin("one\ntwo").exits(0).is("one\ntwo");
    s.kelp("run --rm busybox cat").stdin("never read").exits(0).is("");
    let big = "0123456789abcdef".repeat(256 * 1024);
    let out = s.kelp("run --rm -i busybox md5sum").stdin(big.clone()).exits(0);
    let host = s.program_call("md5sum").stdin(big).exits(0);
    assert_eq!(out.text(), host.text());
}

#[test]
fn input_is_answered_while_it_stays_open() {
    let s = Sandbox::new().busybox();
    let mut job = s
        .kelp(["run", "--rm", "-i", "busybox", "sh", "-c", "while read x; do echo got-$x; done; echo end"])
        .spawn(true);
    job.write(b"one\n");
    job.expect("got-one");
    job.write(b"two\n");
    job.expect("got-two");
    job.close_stdin();
    job.finish(std::time::Duration::from_secs(20)).expect_code(0).has("end");
}

#[test]
fn stdout_and_stderr_stay_apart_and_whole() {
    let s = Sandbox::new().busybox();
    let out = s.ok("run --rm busybox sh -c 'echo out; echo err >&2'");
    out.is("out").says("err");
    let out = s.ok("run --rm busybox sh -c 'head -c 3000000 /dev/zero | tr \"\\0\" x'");
    assert_eq!(out.stdout.len(), 3_000_000);
    let bytes = s.ok(["run", "--rm", "busybox", "printf", "a\\n\\n\\tb"]);
    assert_eq!(bytes.stdout, "a\n\n\tb");
}

#[test]
fn detached_prints_the_id_and_nothing_else() {
    let s = Sandbox::new().busybox();
    let out = s.ok("run -d busybox sleep 100");
    out.silent();
    let id = out.text().to_owned();
    assert_eq!(out.stdout, format!("{id}\n"));
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(s.field(&id, ".Id"), id);
    assert_eq!(s.field(&id[..12], ".State.Running"), "true");
    s.ok(&format!("rm -f {}", &id[..12])).is(&id[..12]);
}

#[test]
fn removed_when_it_ends() {
    let s = Sandbox::new().busybox();
    s.ok("run --rm --name gone busybox true");
    assert!(crate::harness::within(std::time::Duration::from_secs(10), || s.ok("ps -aq").text().is_empty()));
    s.exits(1, "inspect gone");
    s.ok("run --name kept busybox true");
    assert_eq!(s.field("kept", ".State.Status"), "exited");
}

#[test]
fn names_are_given_or_made() {
    let s = Sandbox::new().busybox();
    s.ok("create --name my.name_1-x busybox true");
    s.ok("create busybox true");
    let names = s.ok("ps -a --format '{{.Names}}'");
    names.has("my.name_1-x");
    let made = names.lines().into_iter().find(|n| *n != "my.name_1-x").unwrap();
    assert!(made.contains('_') && made.len() > 4, "a generated name: {made}");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let s = Sandbox::new().busybox();
    s.write("vars", "# a comment\nFILE_ONE=1\n\nFILE_TWO=a b\nFROM_HOST\nNOT_SET\n");
    let call =
        s.kelp("run --rm --env-file vars -e X=y -e EMPTY= -e FROM_CALLER -e ABSENT -h box busybox env");
    let out = call.env("FROM_HOST", "h").env("FROM_CALLER", "c").env("SECRET", "s").exits(0);
    let mut lines = out.lines();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = [
        "EMPTY=",
        "FILE_ONE=1",
        "FILE_TWO=a b",
        "FROM_CALLER=c",
        "FROM_HOST=h",
        "HOME=/root",
        "HOSTNAME=box",
        path,
        "X=y",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_image_fills_what_the_user_left_open() {
    let s = Sandbox::new();
    let image = Image::busybox()
        .set("Env", serde_json::json!(["A=image", "B=image"]))
        .set("Entrypoint", serde_json::json!(["echo", "entry"]))
        .set("Cmd", serde_json::json!(["cmd"]))
        .set("WorkingDir", "/made/here".into())
        .set("Labels", serde_json::json!({"a": "image", "b": "image"}));
    s.load(&image, "full:1");
    s.ok("run --rm full:1").is("entry cmd");
    s.ok("run --rm full:1 mine").is("entry mine");
    s.ok("run --rm --entrypoint pwd full:1").is("/made/here");
    s.ok("run --rm -w /other --entrypoint pwd full:1").is("/other");
    s.ok("run --rm --entrypoint '' full:1 echo bare").is("bare");
    s.ok("run --rm -e A=user --entrypoint sh full:1 -c 'echo $A $B'").is("user image");
    s.ok("create --name c1 -l b=user -l c1 full:1");
    let labels = s.json("inspect c1 --format '{{json .Config.Labels}}'");
    assert_eq!(labels, serde_json::json!({"a": "image", "b": "user", "c1": ""}));
}

#[test]
fn labels_come_from_a_file_too() {
    let s = Sandbox::new().busybox();
    s.write("labels", "from.file=1\n# no\nplain\n");
    s.ok("create --name c1 --label-file labels --label x=y busybox true");
    let labels = s.json("inspect c1 --format '{{json .Config.Labels}}'");
    assert_eq!(labels, serde_json::json!({"from.file": "1", "plain": "", "x": "y"}));
    s.ok("create --name d1 busybox true");
    s.ok("ps -a --filter label=x=y --format '{{.Names}}'").is("c1");
}

#[test]
fn cidfile_holds_the_id_and_is_never_overwritten() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d --cidfile cid busybox true").text().to_owned();
    assert_eq!(fs::read_to_string(s.work().join("cid")).unwrap(), id);
    s.exits(125, "run --cidfile cid busybox true").says("the cidfile cid exists");
    assert_eq!(fs::read_to_string(s.work().join("cid")).unwrap(), id);
    assert_eq!(s.ok("ps -aq").lines().len(), 1);
}

#[test]
fn hostname_and_hosts_are_the_containers() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d busybox sleep 100").text().to_owned();
    s.ok(&format!("exec {id} hostname")).is(&id[..12]);
    let out = s.busybox_sh(
        "-h box --add-host db:10.0.0.5 --add-host six:::1",
        "hostname; cat /etc/hostname /etc/hosts",
    );
    assert_eq!(out.lines()[..2], ["box", "box"]);
    out.has("10.0.0.5\tdb").has("::1\tsix").has("127.0.0.1\tlocalhost");
    s.exits(125, "run --rm --add-host nonsense busybox true").says("nonsense");
    let out = s.busybox_sh("--network none --add-host host:host-gateway", "cat /etc/hosts");
    out.lacks("\thost\n").says("host:host-gateway is left out");
}

#[test]
fn the_files_of_the_network_are_readable_by_every_user() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("-u 1234", "cat /etc/hosts /etc/hostname /etc/resolv.conf >/dev/null && echo read")
        .is("read");
}

#[test]
fn resolv_conf_says_what_was_asked_for() {
    let s = Sandbox::new().busybox();
    let options = "--dns 9.9.9.9 --dns 1.1.1.1 --dns-search example.org --dns-option ndots:3";
    // Kelp's own resolver asks the servers, where there is a network.
    let out = s.busybox_sh(options, "cat /etc/resolv.conf");
    out.has("nameserver 10.").lacks("9.9.9.9").has("search example.org").has("options ndots:3");
    let out = s.busybox_sh(&format!("--network none {options}"), "cat /etc/resolv.conf");
    out.has("nameserver 9.9.9.9").has("nameserver 1.1.1.1").has("search example.org").has("options ndots:3");
    s.exits(125, "run --rm --dns not-an-address busybox true").says("not-an-address");
}

#[test]
fn changes_of_a_container_stay_in_it() {
    let s = Sandbox::new().busybox();
    s.ok("run --name a1 busybox sh -c 'echo x > /etc/new; rm -f /etc/passwd'");
    s.busybox_sh("", "test ! -e /etc/new && test -e /etc/passwd");
    s.ok("start -a a1");
    s.ok("create --name b1 busybox sh -c 'test ! -e /etc/new'");
    s.ok("start -a b1");
}

#[test]
fn working_directory_is_made_when_missing() {
    let s = Sandbox::new().busybox();
    s.ok("run --rm -w /a/b/c busybox pwd").is("/a/b/c");
    s.exits(125, "run --rm -w relative busybox pwd").says("relative");
    let out = s.kelp("run --rm -w /etc/passwd busybox pwd").run();
    assert!((125..=127).contains(&out.code), "{}", out.story());
    out.says("/etc/passwd");
}

#[test]
fn ulimits_are_applied_and_clamped_with_a_warning() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh("--ulimit nofile=128:256 --ulimit core=0", "ulimit -n; ulimit -Hn; ulimit -c");
    assert_eq!(out.lines(), ["128", "256", "0"]);
    let out = s.busybox_sh("--ulimit nofile=1073741000:1073741000", "ulimit -n");
    assert!(out.text().parse::<u64>().unwrap() < 1_073_741_000);
    out.says("nofile");
    s.exits(125, "run --rm --ulimit nonsense=1 busybox true").says("nonsense");
    s.exits(125, "run --rm --ulimit nofile=9:3 busybox true").says("nofile");
}

#[test]
fn sysctls_are_the_containers_own() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward").is("1");
    s.busybox_sh("--sysctl kernel.msgmax=4321", "cat /proc/sys/kernel/msgmax").is("4321");
    s.busybox_sh("--sysctl kernel.domainname=x.y", "cat /proc/sys/kernel/domainname").is("x.y");
    s.exits(125, "run --rm --sysctl vm.swappiness=1 busybox true").says("vm.swappiness");
    s.exits(125, "run --rm --network host --sysctl net.ipv4.ip_forward=1 busybox true")
        .says("net.ipv4.ip_forward");
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    s.busybox_sh("", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").is("0");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}

#[test]
fn shm_has_the_size_asked_for() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("", "df -k /dev/shm | tail -1").has(" 65536 ");
    s.busybox_sh("--shm-size 8m", "df -k /dev/shm | tail -1").has(" 8192 ");
    s.exits(125, "run --rm --shm-size lots busybox true").says("lots");
}

#[test]
fn init_reaps_what_others_leave_behind() {
    let s = Sandbox::new().busybox();
    let script = "(sh -c 'sleep 0.2' &) ; (sh -c 'true' &) ; sleep 0.6; ps -o stat,comm | grep -c ^Z; true";
    s.busybox_sh("--init", script).is("0");
    s.exits(7, "run --rm --init busybox sh -c 'exit 7'");
    let comm = s.busybox_sh("--init", "cat /proc/1/comm; echo $$");
    assert_ne!(comm.lines()[1], "1", "the command is not PID 1");
}

#[test]
fn priority_umask_and_stop_settings_are_kept() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("--oom-score-adj 500", "cat /proc/self/oom_score_adj").is("500");
    s.busybox_sh("", "umask").is("0022");
    s.ok("create --name c1 --stop-signal USR1 --stop-timeout 3 busybox true");
    assert_eq!(s.field("c1", ".Config.StopTimeout"), "3");
    assert!(s.field("c1", ".Config.StopSignal").contains("USR1"));
    s.exits(125, "run --stop-signal NOSUCH busybox true").says("NOSUCH");
}

#[test]
fn annotations_and_platform() {
    let s = Sandbox::new().busybox();
    s.ok("create --name c1 --annotation a=b busybox true");
    s.json("inspect c1").to_string().contains("\"a\":\"b\"").then_some(()).expect("the annotation is shown");
    s.exits(125, "run --rm --platform linux/s390x busybox true").says("s390x");
}

#[test]
fn the_cgroup_of_ours_shows_no_other() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh("", "cat /proc/self/cgroup");
    for line in out.lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
}

#[test]
fn debian_feels_like_debian() {
    let s = Sandbox::new().debian(Release::Bookworm);
    s.ok("run --rm debian apt-get --version").has("apt 2.");
    s.ok("run --rm debian id").is("uid=0(root) gid=0(root) groups=0(root)");
    s.ok("run --rm debian ps aux").has("ps aux").has("root");
    s.ok("run --rm debian su nobody -s /bin/sh -c id").has("uid=65534(nobody)");
    let mounts = s.ok("run --rm debian mount");
    mounts
        .has(match Sandbox::snapshotter().as_str() {
            "fuse" => " on / type fuse.kelp",
            "copy" => " on / type ",
            _ => " on / type overlay",
        })
        .has(" on /proc type proc ")
        .has(" on /dev/pts type devpts ")
        .has("/dev/shm");
    mounts.lacks(s.work().to_str().unwrap());
    s.ok("run --rm debian sh -c 'dpkg --verify | grep -v /var/lib/apt/lists; stat -c %a:%U /bin/su /etc/shadow'")
        .is("4755:root\n640:root");
    s.ok("run --rm debian sh -c 'cp /etc/os-release /tmp/x && chown 33:33 /tmp/x && stat -c %u:%g /tmp/x'")
        .is("33:33");
}

#[test]
fn debian_13_runs_its_own_package_manager() {
    let s = Sandbox::new().debian(Release::Trixie);
    s.ok("run --rm debian bash -c 'cat /etc/debian_version; dpkg -l apt | tail -1'").has("13").has("apt");
    let script = "mkdir -p /p/DEBIAN && printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@m>\\n\
                  Description: d\\n' > /p/DEBIAN/control && echo hi > /p/file && dpkg-deb -b /p /p.deb >/dev/null && \
                  dpkg -i /p.deb >/dev/null 2>&1 && cat /file && useradd -m someone && id -u someone";
    s.ok(vec!["run".into(), "--rm".into(), "debian".into(), "sh".into(), "-c".into(), script.to_owned()])
        .is("hi\n1000");
}

/// As with docker: scripts write `--name "$NAME"` whether NAME is set or not.
#[test]
fn an_empty_value_is_none() {
    let s = Sandbox::new().busybox();
    let empty = "--name '' -h '' -u '' -w '' --stop-signal '' --platform '' --pid '' --network ''";
    s.ok(&format!("run --rm {empty} busybox pwd")).is("/");
    s.ok("run -d --name c1 busybox sleep 1000");
    s.ok("exec -u '' -w '' c1 pwd").is("/");
    s.ok("stop -s '' -t 0 c1");
    s.ok("start c1");
    s.ok("kill -s '' c1");
}

/// Nothing that a start hands over is taken for something else when many of them are under way.
#[test]
fn fifty_at_once_all_run() {
    let s = Sandbox::new().busybox();
    for round in 0..3 {
        let jobs: Vec<_> =
            (0..50).map(|n| s.kelp(&format!("run --rm busybox echo {round}-{n}")).spawn(false)).collect();
        for (n, job) in jobs.into_iter().enumerate() {
            job.finish(Duration::from_secs(60)).expect_code(0).is(&format!("{round}-{n}"));
        }
    }
}
