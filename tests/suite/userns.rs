//! `--userns`: who one is in a container with a user namespace of its own, and whose the files are, inside and on the
//! host.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::talk::answers;
use crate::harness::{Image, Layer, Release, Sandbox, needs_root, status_field};

/// The sandbox's user, as he numbers himself.
fn ids(s: &Sandbox) -> String {
    format!("{}:{}", s.account.uid, s.account.gid)
}

/// The account's name on the host.
fn name(s: &Sandbox) -> String {
    s.program_call("id").args(["-un"]).exits(0).text().to_owned()
}

fn owner(path: &std::path::Path) -> String {
    let metadata = fs::symlink_metadata(path).unwrap();
    format!("{}:{}", metadata.uid(), metadata.gid())
}

#[test]
fn one_is_oneself_and_so_are_ones_files() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    s.write("data/mine", "x");
    let v = format!("--userns keep-id -v {}:/d", dir.display());
    let out = s.busybox_sh(
        &v,
        "echo $(id -u):$(id -g):$(id -G) $(whoami) $HOME; stat -c %u:%g /d /d/mine /etc/passwd /bin /; touch /d/new",
    );
    let (me, gid) = (ids(&s), s.account.gid);
    out.is(&format!("{me}:{gid} {} /\n{me}\n{me}\n0:0\n0:0\n0:0", name(&s)));
    assert_eq!(owner(&dir.join("new")), me);
    // The container's root is somebody else, and its files are on the host, too.
    s.busybox_sh(&format!("{v} -u 0"), "touch /d/roots && stat -c %u:%g /d/roots && chown 33:44 /d/mine")
        .is("0:0");
    let (first, _) = s.account.range.unwrap();
    assert_eq!(owner(&dir.join("roots")), format!("{first}:{first}"));
    assert_eq!(owner(&dir.join("mine")), format!("{}:{}", first + 33, first + 44));
}

#[test]
fn another_number_may_be_chosen() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    let v = format!("-v {}:/d", dir.display());
    s.busybox_sh(
        &format!("--userns keep-id:uid=50,gid=60,size=99 {v}"),
        "echo $(id -u):$(id -g) $(whoami); stat -c %u:%g /d; touch /d/new; cat /proc/self/uid_map | tr -s ' '",
    )
    .is("50:60 50\n50:60\n 0 1 50\n 50 0 1\n 51 51 49");
    assert_eq!(owner(&dir.join("new")), ids(&s));
    s.exits(125, "run --rm --userns keep-id:uid=100,gid=0,size=99 busybox true")
        .says("uid 100")
        .says("0 to 99");
    s.exits(125, "run --rm --userns keep-id:uid=2000000,gid=0 busybox true").says("/etc/subuid");
}

#[test]
fn root_inside_is_root_over_what_is_the_containers() {
    let s = Sandbox::new().busybox();
    for mode in ["keep-id", "nomap"] {
        let options = format!("--userns {mode} -u 0 --privileged");
        s.busybox_sh(
            &options,
            "hostname x && mkdir -p /mnt && mount -t tmpfs t /mnt && \
             ip addr add 127.0.0.2/8 dev lo && chown 33:44 /etc/passwd && stat -c %u:%g /etc/passwd /mnt",
        )
        .is("33:44\n0:0");
        s.busybox_sh(&format!("--userns {mode} -u 0"), "ping -c1 -W5 10.0.2.2 >/dev/null && echo echoed")
            .is("echoed");
    }
    s.busybox_sh("--userns keep-id", "touch /x || cat /proc/1/status | grep CapEff").has("0000000000000000");
    // Its capabilities end at the container: files of nobody inside are out of reach.
    s.busybox_sh(
        "--userns keep-id -u 0 --privileged",
        "! echo 1 > /proc/sys/kernel/panic 2>/dev/null && echo no",
    )
    .is("no");
}

#[test]
fn packages_find_the_owners_that_they_set() {
    let s = Sandbox::new().debian(Release::Bookworm);
    let script = "useradd -r -d /var/lib/svc -m svc && chown -R svc:svc /var/lib/svc && \
        install -o www-data -g adm -m 2750 -d /srv/log && stat -c %U:%G:%a /srv/log /var/lib/svc && \
        setpriv --reuid svc --regid svc --clear-groups sh -c 'touch /var/lib/svc/x; stat -c %U /var/lib/svc/x' && \
        find / -xdev -nouser -o -xdev -nogroup | head -3";
    let words = ["run", "--name", "c1", "--userns", "keep-id", "-u", "root", "debian", "sh", "-c", script];
    s.ok(words).is("www-data:adm:2750\nsvc:svc:755\nsvc");
    s.ok("commit c1 made");
    s.ok("run --rm made stat -c %U:%G:%a /srv/log /var/lib/svc/x").is("www-data:adm:2750\nsvc:svc:644");
    s.ok("run --rm --userns keep-id made stat -c %U /var/lib/svc/x /etc").is("svc\nroot");
}

#[test]
fn exec_is_as_the_first_process() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 --userns keep-id busybox sleep 1000");
    let me = ids(&s);
    s.ok("exec c1 sh -c 'echo $(id -u):$(id -g); whoami'").is(&format!("{me}\n{}", name(&s)));
    s.ok("exec -u 0 c1 sh -c 'id -u; touch /roots; chown 7:8 /roots; stat -c %u:%g /roots'").is("0\n7:8");
    s.ok("exec c1 sh -c 'echo reopened > /dev/stdout'").is("reopened");
    let mut terminal = s.terminal("exec -it c1 sh");
    terminal.send("stat -c 'is %u:%g' $(tty)\n");
    terminal.expect(&format!("is {}:5", s.account.uid));
    terminal.send("exit\n");
    terminal.exits(0);
    s.ok("stop -t 1 c1");
    s.ok("start c1");
    s.ok("exec c1 sh -c 'echo $(id -u):$(id -g); stat -c %u:%g /roots; grep -c :x: /etc/passwd'")
        .has(&format!("{me}\n7:8"));
    // Added once, not at each start.
    s.ok(["exec", "c1", "grep", "-c", &name(&s), "/etc/passwd"]).is("1");
    assert_eq!(s.field("c1", ".HostConfig.UsernsMode"), "keep-id");
    assert_eq!(s.field("c1", ".Driver"), "fuse");
}

#[test]
fn files_go_in_and_out_under_the_images_ids() {
    let s = Sandbox::new();
    let layer = Layer::default().owner(33, 44).file("owned", 0o640, b"content");
    s.load(&Image::busybox().layer(layer), "i");
    let dir = s.dir("data");
    s.write("file", "outside");
    s.ok(&format!("run -d --name c1 --userns keep-id -v {}:/d -u 0 i sleep 1000", dir.display()));
    s.ok("exec c1 sh -c 'stat -c %u:%g /owned; mkdir /srv; echo a > /srv/a; chown 5:6 /srv/a; rm /owned'")
        .is("33:44");
    let (uid, gid) = (s.account.uid, s.account.gid);
    let read = |archive: &str| {
        s.program_call("sh")
            .args(["-c", &format!("{} {archive} | tar -tvn -f -", s.program().display())])
            .exits(0)
    };
    for state in ["running", "stopped"] {
        s.ok(&format!("cp file c1:/srv/{state}"));
        s.ok(&format!("cp -a file c1:/srv/{state}-mine"));
        read("cp c1:/srv -").has(" 5/6 ").has("srv/a");
        s.ok("diff c1").has("D /owned").has("A /srv/a").has("A /srv");
        read("export c1").has(" 5/6 ").has(" 0/0 ").lacks(&format!(" {}/", s.account.range.unwrap().0));
        if state == "running" {
            s.ok("exec c1 stat -c %u:%g /srv/running /srv/running-mine").is(&format!("0:0\n{uid}:{gid}"));
            s.ok("cp c1:/srv/running out");
            assert_eq!(owner(&s.work().join("out")), ids(&s));
            s.ok("stop -t 1 c1");
        }
    }
    s.ok("commit c1 made");
    s.ok("run --rm made stat -c %u:%g /srv/a /srv /bin /srv/running").is("5:6\n0:0\n0:0\n0:0");
    s.ok("start c1");
    s.ok("exec c1 stat -c %u:%g /srv/a /srv/stopped").is("5:6\n0:0");
}

#[test]
fn the_images_user_and_the_users_word_come_first() {
    let s = Sandbox::new();
    s.load(&Image::busybox().set("User", "www-data".into()), "i");
    s.ok("run --rm --userns keep-id i id -u").is("33");
    s.ok("run --rm --userns keep-id -u 7:8 i sh -c 'echo $(id -u):$(id -g)'").is("7:8");
    s.exits(125, "run --rm --userns keep-id -u nosuch i true").says("nosuch");
}

#[test]
fn ones_home_is_where_it_is_mounted() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("--userns keep-id -w /tmp", "echo $HOME").is("/tmp");
    let home =
        s.program_call("sh").args(["-c", "getent passwd $(id -u) | cut -d: -f6"]).exits(0).text().to_owned();
    let dir = s.dir("data");
    s.busybox_sh(&format!("--userns keep-id -v {}:{home}", dir.display()), "echo $HOME").is(&home);
}

#[test]
fn what_the_image_says_of_accounts_is_not_trusted() {
    let s = Sandbox::new();
    let hostile = [
        ("fifo", Layer::default().entry(tar::EntryType::Fifo, "etc/passwd", "", 0o644, &[])),
        ("zero", Layer::default().symlink("etc/passwd", "/dev/zero")),
        ("absent", Layer::default().symlink("etc/passwd", "/run/passwd")),
        ("link", Layer::default().symlink("etc/passwd", "/etc")),
        ("dir", Layer::default().file("etc/.wh.passwd", 0o644, b"").dir("etc/passwd", 0o755)),
        ("loop", Layer::default().symlink("etc/passwd", "passwd")),
        ("large", Layer::default().file("etc/passwd", 0o644, &vec![b'x'; (16 << 20) + 1])),
        ("foreign", Layer::default().owner(200, 200).file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/sh\n")),
        ("secret", Layer::default().owner(200, 200).file("etc/passwd", 0o600, b"root:x:0:0::/:/bin/sh\n")),
    ];
    for (tag, layer) in hostile {
        s.load(&Image::busybox().layer(layer), tag);
        // Nobody inside is 200.
        let mode = "keep-id:uid=50,gid=60,size=99";
        let call = s.kelp(["run", "--rm", "--userns", mode, tag, "/bin/echo", "ran"]);
        let out = call.limit(std::time::Duration::from_secs(20)).exits(0);
        out.is("ran");
        match tag {
            "zero" | "absent" => assert_eq!(out.stderr, "", "{tag}: there is no such file"),
            _ => drop(out.says("add your account to /etc/passwd")),
        }
    }
    // Another's name is not given twice, and a file of the user's is left as it is.
    let passwd = format!("root:x:0:0::/:/bin/sh\n{}:x:5:5::/:/bin/sh\n", name(&s));
    s.load(&Image::busybox().layer(Layer::default().file("etc/passwd", 0o644, passwd.as_bytes())), "taken");
    s.ok("run --rm --userns keep-id taken whoami").is(&s.account.uid.to_string());
    let file = s.write("passwd", "root:x:0:0::/:/bin/sh\n");
    s.ok(&format!("run --rm --userns keep-id -v {}:/etc/passwd taken true", file.display()));
    assert_eq!(fs::read_to_string(file).unwrap(), "root:x:0:0::/:/bin/sh\n");
    let none = Layer::default().file("etc/.wh.passwd", 0o644, b"").file("etc/.wh.group", 0o644, b"");
    s.load(&Image::busybox().layer(none), "none");
    s.ok("run --rm --userns keep-id none sh -c 'id -u; echo $HOME; ls /etc/passwd 2>/dev/null || true'")
        .is(&format!("{}\n/", s.account.uid));
}

#[test]
fn nomap_keeps_the_user_out() {
    let s = Sandbox::new().busybox();
    let dir = s.dir("data");
    s.write("data/mine", "x");
    let v = format!("--userns nomap -v {}:/d", dir.display());
    s.busybox_sh(
        &v,
        "id -u; stat -c %u:%g /d/mine /bin; cat /d/mine; echo; echo y > /d/mine || echo refused; echo reopened > /dev/stdout",
    )
    .is("0\n65534:65534\n0:0\nx\nrefused\nreopened");
    s.ok("run -d --name c1 --userns nomap busybox sleep 1000");
    s.ok("exec c1 sh -c 'touch /new; stat -c %u /new; echo reopened > /dev/stdout'").is("0\nreopened");
    s.write("file", "outside");
    s.ok("cp file c1:/in");
    s.ok("exec c1 cat /in").is("outside");
    assert_eq!(s.field("c1", ".HostConfig.UsernsMode"), "nomap");
    // Nothing of it runs with the user's own id.
    let uid = status_field(s.pid_of("c1"), "Uid").unwrap();
    assert!(uid.starts_with(&s.account.range.unwrap().0.to_string()), "{uid}");
}

#[test]
fn networks_work_as_ever() {
    let s = Sandbox::new().busybox();
    s.ok("network create n1");
    s.ok([
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "n1",
        "--userns",
        "keep-id",
        "busybox",
        "sh",
        "-c",
        "while :; do echo hello | nc -l -p 80; done",
    ]);
    let script = "for i in 1 2 3 4 5 6 7 8 9; do nc server 80 </dev/null && break; sleep 0.3; done";
    s.ok(["run", "--rm", "--network", "n1", "--userns", "keep-id", "busybox", "sh", "-c", script])
        .is("hello");
    s.ok("network create n2");
    s.ok("network connect n2 server");
    s.ok("exec server ip addr").has("eth1");
    let address = s.field("server", ".NetworkSettings.Networks.n2.IPAddress");
    s.ok("exec server cat /etc/hosts").has(&address);
    s.ok("run --rm --network container:server --userns keep-id busybox ip addr").has("eth1");
    s.ok("run --rm --network host --userns keep-id busybox true");
    s.ok("run --rm --network none --userns keep-id busybox true");
    s.ok("run --rm --pid container:server busybox ps").has("nc -l");
    s.exits(125, "run --rm --ipc container:server busybox true").says("/dev/shm").says("keep-id");
    for flag in ["--pid", "--ipc"] {
        s.exits(125, &format!("run --rm --userns keep-id {flag} container:server busybox true")).says(flag);
    }
    s.ok("rm -f server");
    s.ok("network rm n1 n2");
}

#[test]
fn a_directory_of_the_hosts_as_root() {
    let s = Sandbox::new();
    let root = s.busybox_dir("root");
    let line = format!("run --rm --userns keep-id --rootfs {}", root.display());
    s.ok(&format!("{line} sh -c 'stat -c %u:%g /bin; id -u'")).is(&format!("0:0\n{}", s.account.uid));
    let passwd = || fs::read_to_string(root.join("etc/passwd")).unwrap();
    let before = passwd();
    s.ok(&format!("{line}:rw sh -c 'stat -c %u:%g /bin; touch /new'")).is(&ids(&s));
    assert_eq!(passwd(), before, "nobody asked for another line");
    assert_eq!(owner(&root.join("new")), ids(&s));
}

#[test]
fn ports_are_published() {
    let s = Sandbox::new().busybox();
    for network in ["slirp", "bridge"] {
        let serve = "while true; do echo answered | nc -l -p 8080; done";
        let options = ["run", "-d", "--name", "web", "--userns", "keep-id", "--network", network];
        let rest = ["-p", "127.0.0.1::8080", "busybox", "sh", "-c", serve];
        s.ok([options.as_slice(), &rest].concat().as_slice());
        assert!(answers(s.ok("port web 8080").text()), "{network}");
        s.ok("rm -f web");
    }
}

#[test]
fn the_rest_is_refused_by_name() {
    let s = Sandbox::new().busybox();
    for (mode, says) in [
        ("auto", "nomap"),
        ("auto:size=9", "nomap"),
        ("container:x", "not built"),
        ("ns:/proc/1/ns/user", "not built"),
        ("private", "keep-id"),
        ("keepid", "keep-id"),
        ("keep-id:uid=x", "`uid`"),
        ("keep-id:foo=1", "uid=N"),
    ] {
        s.exits(125, &format!("run --rm --userns {mode} busybox true")).says(says);
    }
    for driver in ["overlay", "copy"] {
        s.exits(1, &format!("create --userns keep-id --snapshotter {driver} busybox true")).says("fuse");
    }
    s.ok("ps -aq").is("");
    s.ok("run --rm --userns host busybox id -u").is("0");
    s.ok(["run", "--rm", "--userns", "", "busybox", "id", "-u"]).is("0");
}

#[test]
fn with_one_id_one_is_alone() {
    let Some(s) = Sandbox::single() else { return needs_root("with_one_id_one_is_alone") };
    let s = s.busybox();
    let dir = s.dir("data");
    let me = ids(&s);
    let line = format!("run --rm -v {}:/d", dir.display());
    for driver in ["overlay", "fuse", "copy"] {
        let script = "echo $(id -u):$(id -g); whoami; stat -c %u:%g /d /bin /tmp; echo x > /d/new; echo y > /tmp/y; cat /tmp/y; rm -r /bin/ls";
        let out = s.kelp(format!("{line} --userns keep-id --snapshotter {driver} busybox sh -c").as_str());
        let out = out.args([script]).exits(0);
        out.is(&format!("{me}\n{}\n{me}\n{me}\n{me}\ny", name(&s)));
        out.says("/etc/subuid").says("not even root");
        assert_eq!(owner(&dir.join("new")), me);
        fs::remove_file(dir.join("new")).unwrap();
    }
    s.exits(125, "run --rm --userns keep-id -u 0 busybox true").says("subuid");
    s.exits(125, "run --rm --userns nomap busybox true").says("/etc/subuid");
    s.ok("run -d --name c1 --userns keep-id busybox sleep 1000");
    s.ok("exec c1 sh -c 'id -u; echo z > /z'").is(&s.account.uid.to_string());
    s.ok("cp c1:/z z");
    s.ok("diff c1").has("A /z");
}

#[test]
fn root_may_be_another_too() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("root_may_be_another_too");
    }
    let s = Sandbox::root().busybox();
    let dir = s.dir("data");
    let v = format!("-v {}:/d", dir.display());
    s.busybox_sh(&format!("--userns keep-id {v}"), "id -u; whoami; stat -c %u /d /bin").is("0\nroot\n0\n0");
    s.busybox_sh(
        &format!("--userns keep-id:uid=50,gid=60 {v}"),
        "id -u; stat -c %u:%g /d /bin; touch /d/new",
    )
    .is("50\n50:60\n0:0");
    assert_eq!(owner(&dir.join("new")), "0:0");
}
