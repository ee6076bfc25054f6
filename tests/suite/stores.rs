//! Where the store lies, and what the kernel lets be: which snapshotter is chosen there, and what is said of the
//! others.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Image, Layer, Out, Sandbox, needs_root, within};

/// What makes the marks that drivers differ in: a file brought up, one hidden, a directory that hides another.
const CHANGES: &str = "echo more >> /etc/passwd; rm /etc/group; rm -r /home; mkdir /home; touch /home/new";

/// What `info` says of a driver, by the beginning of its line.
fn status(s: &Sandbox, driver: &str) -> String {
    let out = s.ok("info");
    let line = out.stdout.lines().find_map(|line| line.strip_prefix(&format!(" {driver}: ")));
    line.unwrap_or_else(|| panic!("nothing about {driver}: {}", out.story())).to_owned()
}

/// A driver that is asked for and does not work is an error with its cause and the way out, and makes nothing.
#[track_caller]
fn refuses(s: &Sandbox, driver: &str, cause: &str, way_out: &str) {
    for (verb, code) in [("run --rm", 125), ("create", 1)] {
        let out = s.exits(code, &format!("{verb} --snapshotter {driver} busybox true"));
        out.says(&format!("the snapshotter {driver} does not work here")).says(cause).says(way_out);
        out.says("--snapshotter auto chooses one that works");
    }
    assert_eq!(s.ok("ps -aq").text(), "");
}

/// The one that is chosen does a container's work.
#[track_caller]
fn works(s: &Sandbox, driver: &str) -> Out {
    let out = s.ok(["run", "--name", "box", "--snapshotter", "auto", "busybox", "sh", "-c", CHANGES]);
    assert_eq!(s.field("box", ".Driver"), driver);
    s.ok("diff box").is("C /etc\nD /etc/group\nC /etc/passwd\nC /home\nA /home/new");
    s.ok("commit box made");
    s.ok("run --rm made sh -c 'tail -n 1 /etc/passwd; ls /home; ls /etc/group 2>/dev/null || echo gone'")
        .is("more\nnew\ngone");
    s.ok("rm box");
    out
}

#[test]
fn on_tmpfs() {
    let Some(s) = Sandbox::with_home_on("-t tmpfs -o size=64m small") else { return needs_root("on_tmpfs") };
    let s = s.busybox();
    s.ok("info").has("Storage Driver: overlay");
    assert_eq!([status(&s, "overlay"), status(&s, "fuse"), status(&s, "copy")], ["works"; 3]);
    works(&s, "overlay").silent();
}

#[test]
fn on_an_overlay() {
    let options = "-t overlay -o lowerdir=BASE/lower,upperdir=BASE/upper,workdir=BASE/workdir below";
    let Some(s) = Sandbox::with_home_on(options) else { return needs_root("on_an_overlay") };
    let s = s.busybox();
    s.ok("info").has("Storage Driver: fuse");
    assert!(status(&s, "overlay").starts_with("no: ") && status(&s, "fuse") == "works");
    refuses(
        &s,
        "overlay",
        "not supported as upperdir",
        "ext4, xfs, btrfs, tmpfs; not NFS or another overlay",
    );
    works(&s, "fuse").silent();
    // Nobody makes the device there that hides a name elsewhere.
    let above = Layer::default()
        .file(".wh.home", 0o644, b"")
        .file("var/.wh..wh..opq", 0o644, b"")
        .file("var/kept", 0o644, b"")
        .file("usr/.wh.bin", 0o644, b"")
        .dir("usr/bin", 0o755)
        .file("usr/bin/kept", 0o644, b"")
        .file("srv/.wh.d", 0o644, b"")
        .file("srv/d/kept", 0o644, b"")
        .file("srv/late", 0o644, b"")
        .file("srv/.wh.late", 0o644, b"");
    let below = Layer::default().file("usr/bin/old", 0o755, b"").file("var/old", 0o644, b"");
    let below = below.file("srv/d/old", 0o644, b"").file("srv/late", 0o644, b"");
    s.load(&Image::busybox().layer(below).layer(above), "hiding");
    for driver in ["fuse", "copy"] {
        let script = "ls -d /home 2>/dev/null; ls /var /usr/bin /srv /srv/d; rm /usr/bin/kept";
        let run = ["run", "--name", driver, "--snapshotter", driver, "hiding", "sh", "-c", script];
        let out = s.ok(run);
        out.has("/var:\nkept\n").has("/usr/bin:\nkept\n").lacks("old").lacks(".wh.");
        out.has("/srv:\nd\n").has("/srv/d:\nkept").lacks("late");
        out.lacks("/home");
        s.ok(&format!("diff {driver}")).is("C /usr\nC /usr/bin\nD /usr/bin/kept");
        s.ok(&format!("rm {driver}"));
    }
}

#[test]
fn on_a_file_system_without_attributes() {
    let Some(s) = Sandbox::with_home_on("-t ramfs ram") else {
        return needs_root("on_a_file_system_without_attributes");
    };
    let s = s.busybox();
    s.ok("info").has("Storage Driver: copy");
    refuses(&s, "overlay", "invalid argument", "ext4, xfs, btrfs, tmpfs");
    refuses(&s, "fuse", "set a user attribute", "a file system that keeps user attributes");
    works(&s, "copy").says("each container gets a copy").says("kelp info");
}

/// Runs kelp as the sandbox's user in a mount namespace that `prepare` has changed.
fn in_changed_mounts(s: &Sandbox, prepare: &str, line: &str) -> (Option<i32>, String) {
    let become_user = format!(
        "exec setpriv --reuid {} --regid {} --clear-groups env -i HOME={} PATH=/usr/bin:/bin {} {line}",
        s.account.uid,
        s.account.gid,
        s.home().display(),
        s.program().display(),
    );
    told(Command::new("unshare").args(["-m", "sh", "-ec", &format!("{prepare}; {become_user}")]))
}

fn told(command: &mut Command) -> (Option<i32>, String) {
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code(), text)
}

#[test]
fn without_the_fuse_device() {
    let options = "-t overlay -o lowerdir=BASE/lower,upperdir=BASE/upper,workdir=BASE/workdir below";
    let Some(s) = Sandbox::with_home_on(options) else { return needs_root("without_the_fuse_device") };
    let s = s.busybox();
    // A /dev of the same devices but one; then that one, of somebody else's.
    let absent = "mount -t tmpfs dev /mnt; cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /mnt; \
        mkdir /mnt/pts /mnt/shm; mount --rbind /dev/pts /mnt/pts; mount --move /mnt /dev";
    let closed = format!("{absent}; mknod -m 600 /dev/fuse c 10 229");
    for (prepare, why) in [(absent, "no such file or directory"), (&closed, "permission denied")] {
        let forced = "run --rm --network none --snapshotter fuse busybox true";
        let (code, text) = in_changed_mounts(&s, prepare, forced);
        assert_eq!(code, Some(125), "{text}");
        for part in ["the snapshotter fuse does not work here: open /dev/fuse: ", why, "modprobe fuse"] {
            assert!(text.contains(part), "{text}");
        }
        let (code, text) = in_changed_mounts(&s, prepare, "info");
        assert!(code == Some(0) && text.contains("Storage Driver: copy"), "{text}");
        let (code, text) = in_changed_mounts(&s, prepare, "run --rm --network none busybox echo works");
        assert!(code == Some(0) && text.contains("each container gets a copy"), "{text}");
        assert!(text.ends_with("works\n") || text.starts_with("works\n"), "{text}");
    }
    // What was missing is looked for again.
    s.ok("info").has("Storage Driver: fuse");
}

/// As a kernel that was built without it answers; strace(1) makes this one do so at the first file system that a
/// process opens, which is what the probe tries first.
#[test]
fn a_kernel_without_overlay() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("a_kernel_without_overlay");
    }
    let s = Sandbox::new().busybox();
    let user = format!("#{}", s.account.uid);
    let name = Command::new("id").args(["-nu", &user[1..]]).output().unwrap().stdout;
    let name = String::from_utf8(name).unwrap();
    let kelp = |words: &[&str]| {
        let home = format!("HOME={}", s.home().display());
        let mut command = Command::new("strace");
        command.args(["-u", name.trim(), "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsopen"]);
        command.args(["-e", "inject=fsopen:error=ENODEV:when=1", "env", "-i", &home, "PATH=/usr/bin:/bin"]);
        told(command.arg(s.program()).args(words).current_dir(s.work()))
    };
    let (code, text) = kelp(&["run", "--rm", "--snapshotter", "overlay", "busybox", "true"]);
    assert_eq!(code, Some(125), "{text}");
    for part in ["the snapshotter overlay does not work here: fsopen overlay: no such device", "Linux 5.11"] {
        assert!(text.contains(part), "{text}");
    }
    // Remembered until the machine starts again: no machine grows one.
    s.ok("run --rm --snapshotter auto busybox mount").has("fuse on / type fuse.kelp");
    s.ok("info");
    s.ok("run --rm --snapshotter auto busybox mount").lacks("fuse.kelp");
}

/// As ext4 makes itself after an error of the disk's: what runs goes on reading, can be ended, and starts again
/// afterwards.
#[test]
fn on_a_file_system_that_becomes_read_only() {
    let line = "-o loop,errors=remount-ro $(truncate -s 256m BASE/image && mkfs.ext4 -q BASE/image && echo BASE/image)";
    let Some(s) = Sandbox::with_home_on(line) else {
        return needs_root("on_a_file_system_that_becomes_read_only");
    };
    let s = s.busybox();
    let drivers = ["overlay", "fuse", "copy"];
    for driver in drivers {
        s.ok(&format!("run -d --name {driver} --snapshotter {driver} busybox sleep 1000"));
        s.ok(&format!("exec {driver} touch /before"));
    }
    let (home, image) = (s.home(), s.home().with_file_name("image"));
    let run = |program: &str, args: &[&std::ffi::OsStr]| told(Command::new(program).args(args));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let device = mounts.lines().find(|line| line.contains(home.to_str().unwrap())).unwrap();
    let device = device.split(' ').next().unwrap().trim_start_matches("/dev/");
    // A start syncs nothing: what the disk loses with it never was.
    assert_eq!(run("sync", &["-f".as_ref(), home.as_ref()]).0, Some(0));
    std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test's").unwrap();
    for driver in drivers {
        s.exits(1, &format!("exec {driver} touch /after")).says("read-only file system");
        s.ok(&format!("exec {driver} ls /before /bin/busybox"));
        // That it ended can be recorded nowhere, which may be told.
        s.kelp(&format!("stop -t 1 {driver}")).run();
        assert!(s.becomes(driver, "exited"));
        s.exits(1, &format!("start {driver}")).says("read-only file system");
    }
    assert!(within(Duration::from_secs(20), || s.processes().is_empty()), "{:#?}", s.processes());
    let mended = run("umount", &[home.as_ref()]);
    assert_eq!(mended.0, Some(0), "{}", mended.1);
    // Another test's mount namespace may hold the broken file system a while longer: a copy is nobody's.
    let whole = image.with_file_name("mended");
    let copied = run("cp", &["--sparse=always".as_ref(), image.as_ref(), whole.as_ref()]);
    assert_eq!(copied.0, Some(0), "{}", copied.1);
    let mended = run("e2fsck", &["-fy".as_ref(), whole.as_ref()]);
    assert!(matches!(mended.0, Some(0 | 1)), "{}", mended.1);
    let mended = run("mount", &["-o".as_ref(), "loop".as_ref(), whole.as_ref(), home.as_ref()]);
    assert_eq!(mended.0, Some(0), "{}", mended.1);
    for driver in drivers {
        assert_eq!(s.field(driver, ".State.Status"), "exited");
        s.ok(&format!("start {driver}"));
        s.ok(&format!("exec {driver} sh -c '! ls /after 2>/dev/null && touch /after'"));
    }
    s.ok("rm -f overlay fuse copy");
    std::fs::remove_dir_all(home.join("lost+found")).unwrap();
}

/// What a user's home directory hands on to new files is not in images and containers.
#[test]
fn default_access_lists_of_the_home_directory() {
    let s = Sandbox::new();
    // User, user 1234, group, mask, others; all but the last may all.
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in
        [(1u16, 7u16, u32::MAX), (2, 7, 1234), (4, 7, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
    {
        list.extend([&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(s.home(), "system.posix_acl_default", &list, flags).unwrap();
    let s = s.busybox();
    for driver in ["overlay", "fuse", "copy"] {
        let script =
            "chmod 640 /etc/passwd; rm /etc/group; echo > /etc/group; mkdir /etc/new; echo > /etc/file
            stat -c '%a %n' /etc/passwd /etc/group /etc/new /etc/file";
        let out = s.ok(["run", "--rm", "--snapshotter", driver, "busybox", "sh", "-c", script]);
        out.is("640 /etc/passwd\n644 /etc/group\n755 /etc/new\n644 /etc/file");
    }
}
