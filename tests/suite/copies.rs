//! The copy driver: a container whose root is a copy of its image, and what is found in it without a layer above.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Image, Layer, Sandbox, needs_root};

fn sandbox() -> Sandbox {
    let layer = Layer::default()
        .dir("srv", 0o755)
        .file("srv/same", 0o644, b"before")
        .file("srv/first", 0o644, b"one file")
        .file("srv/kept", 0o644, b"kept")
        .dir("srv/dir", 0o755)
        .file("srv/dir/gone", 0o644, b"gone")
        .dir("srv/swapped", 0o755)
        .file("srv/swapped/in", 0o644, b"in");
    let s = Sandbox::new();
    s.load(&Image::busybox().layer(layer), "image:1");
    s
}

fn root_of(s: &Sandbox, container: &str) -> PathBuf {
    s.store().join("containers").join(s.field(container, ".Id")).join("root")
}

/// Of the same length, and with its old time: docker's measure sees nothing, the content is another all the same.
const FORGED: &str = "cd /srv; touch -r same /tmp/time; printf after! > /tmp/new; \
    cat /tmp/new > same; truncate -s 6 same; touch -r /tmp/time same; rm /tmp/new /tmp/time; \
    ln first second; rm dir/gone; rm -r swapped; echo file > swapped; mkfifo pipe; chmod 700 /srv/dir";

#[test]
fn what_was_touched_is_committed_to_the_last_byte() {
    let s = sandbox();
    let look =
        "cd /srv; find . | sort; cat same swapped second; stat -c '%a %h %F' dir first second pipe; ls /tmp";
    let mut seen = Vec::new();
    for driver in ["overlay", "fuse", "copy"] {
        s.ok(["run", "--name", driver, "--snapshotter", driver, "image:1", "sh", "-c", FORGED]);
        s.ok(format!("commit {driver} {driver}:1").as_str());
        let changes = s.ok(format!("diff {driver}").as_str()).stdout;
        seen.push((changes, s.ok(["run", "--rm", &format!("{driver}:1"), "sh", "-c", look]).stdout));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert!(seen[2].1.contains("after!"), "{}", seen[2].1);
    // What was not touched is not in the layer.
    let size = |image: &str| -> u64 {
        let out = s.ok(["image", "inspect", "--format", "{{.Size}}", image]);
        out.text().parse().unwrap()
    };
    assert!(size("copy:1") - size("image:1") < 200, "{} {}", size("copy:1"), size("image:1"));
}

#[test]
fn a_copy_stays_and_goes_with_its_container() {
    let s = sandbox();
    s.ok("create --name box --snapshotter copy image:1 sh -c 'cat /srv/own; echo more >> /srv/own'");
    s.ok("diff box").is("");
    let own = s.write("own", "mine\n");
    s.ok(["cp", own.to_str().unwrap(), "box:/srv/own"]);
    s.ok("diff box").is("C /srv\nA /srv/own");
    s.ok("start -a box").is("mine");
    s.ok("start -a box").is("mine\nmore");
    s.ok("cp box:/srv/own -").has("mine");
    let size = s.ok("ps -as --no-trunc --filter name=box --format '{{.Size}}'");
    assert!(size.text().starts_with("15B (virtual"), "{}", size.text());
    let root = root_of(&s, "box");
    assert!(root.join("srv/own").exists());
    s.ok("rm box");
    assert!(!root.exists());
    s.ok("system check");
}

#[test]
fn a_directory_of_the_hosts_is_copied_if_it_can_be() {
    let s = Sandbox::new();
    let dir = s.busybox_dir("root");
    let root = dir.to_str().unwrap();
    let run = ["run", "--name", "box", "--snapshotter", "copy", "--rootfs", root];
    s.ok([&run[..], &["sh", "-c", "echo x > /etc/new; rm /etc/passwd"]].concat().as_slice());
    assert!(!dir.join("etc/new").exists() && dir.join("etc/passwd").exists());
    s.ok("diff box").is("C /etc\nA /etc/new\nD /etc/passwd");
    let whole = s.exits(125, "run --rm --snapshotter copy --rootfs / true");
    whole.says("cannot copy /").says("store").says("hint: --snapshotter overlay");
    s.ok(["run", "--rm", "--snapshotter", "copy", "--rootfs", &format!("{root}:rw"), "touch", "/through"]);
    assert!(dir.join("through").exists());
    assert_eq!(s.ok("ps -aq").lines().len(), 1);
}

#[test]
fn a_taken_name_is_told_before_anything_is_copied() {
    let s = sandbox();
    s.ok("create --name box --snapshotter copy image:1 true");
    s.exits(1, "create --name box --snapshotter copy image:1 true").says("already in use");
    s.ok("rm box");
    s.ok("create --name box --snapshotter copy image:1 true");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(s) = Sandbox::with_small_disk("size=64m") else {
        return needs_root("a_full_disk_leaves_nothing");
    };
    s.load(&Image::busybox().layer(Layer::default().file("big", 0o644, &vec![7; 10_000_000])), "image:1");
    let create = || s.kelp("create --snapshotter copy image:1 true").run();
    let made: Vec<_> = std::iter::repeat_with(create).take(8).collect();
    let full = made.last().unwrap();
    full.says("cannot copy the image for the container").says("/big").says("no space left");
    let kept = made.iter().filter(|out| out.code == 0).count();
    assert!((1..8).contains(&kept), "{kept} copies on a disk of 64 MB");
    assert_eq!(s.ok("ps -aq").lines().len(), kept);
    s.ok("system check");
}

/// The store lies on what can be no upper layer, and there is no device.
#[test]
fn the_probe_finds_it_where_nothing_else_works() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("the_probe_finds_it_where_nothing_else_works");
    }
    let s = Sandbox::new();
    let layers = s.dir("layers");
    let archive = s.write("image.tar", Image::busybox().docker_archive("image:1"));
    let script = "set -e; mount -t tmpfs layers $LAYERS; mkdir $LAYERS/up $LAYERS/work; \
        chown --reference=$HOME $LAYERS/up; \
        mount -t overlay home -o lowerdir=$HOME,upperdir=$LAYERS/up,workdir=$LAYERS/work $HOME; \
        as() { setpriv --reuid $ID --regid $ID --clear-groups \"$@\"; }; \
        as $KELP load -q -i $ARCHIVE; \
        touch $LAYERS/none; chmod 0 $LAYERS/none; mount --bind $LAYERS/none /dev/fuse; \
        as $KELP info -f '{{.Driver}}'; \
        as $KELP run --rm image:1 sh -c 'echo made > /made; cat /made'; \
        as $KELP run --rm --snapshotter copy image:1 true; \
        as $KELP run --snapshotter fuse --rm image:1 true || echo status $?; \
        umount /dev/fuse; as $KELP info -f '{{.Driver}}'; as $KELP run --rm image:1 echo served";
    fs::remove_dir_all(s.home().join(".config")).unwrap_or_default();
    let (stdout, stderr) = with_mounts_of_its_own(&s, script, &archive, ("LAYERS", &layers));
    let lines: Vec<_> = stdout.lines().filter(|l| !l.starts_with("Loaded image")).collect();
    assert_eq!(lines, ["copy", "made", "status 125", "fuse", "served"], "{stderr}");
    let notices: Vec<_> = stderr.lines().filter(|l| l.contains("neither the kernel's overlay")).collect();
    assert_eq!(notices.len(), 1, "{stderr}");
    assert!(notices[0].contains("MB here"), "{stderr}");
    assert!(stderr.contains("the snapshotter fuse does not work here"), "{stderr}");
}

/// Runs a script as root in a mount namespace of its own; gives what it printed and what it complained of. It knows
/// the sandbox as `$HOME`, `$ID` and `$KELP`, the image as `$ARCHIVE`, and one more path by its own name.
fn with_mounts_of_its_own(
    s: &Sandbox,
    script: &str,
    archive: &Path,
    more: (&str, &Path),
) -> (String, String) {
    let out = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .env(more.0, more.1)
        .env("HOME", s.home())
        .env("ID", s.account.uid.to_string())
        .env("KELP", s.program())
        .env("ARCHIVE", archive)
        .current_dir(s.work())
        .output()
        .unwrap();
    (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Where the file system can share blocks, nothing is written twice.
#[test]
fn blocks_are_shared_on_xfs() {
    let made = |s: &Sandbox| -> Option<PathBuf> {
        let image = s.work().join("disk");
        fs::File::create(&image).ok()?.set_len(400 << 20).ok()?;
        let made = Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&image).status();
        made.is_ok_and(|status| status.success()).then_some(image)
    };
    let s = Sandbox::new();
    let root = rustix::process::geteuid().is_root();
    let Some(disk) = made(&s).filter(|_| root) else {
        return needs_root("blocks_are_shared_on_xfs, and mkfs.xfs (Debian: xfsprogs)");
    };
    let layer = Layer::default().file("big", 0o644, &vec![7; 40_000_000]);
    let archive = s.write("image.tar", Image::busybox().layer(layer).docker_archive("image:1"));
    let script = "set -e; mount -o loop $DISK $HOME; chown $ID:$ID $HOME; \
        as() { setpriv --reuid $ID --regid $ID --clear-groups \"$@\"; }; used() { df --output=used -B1 $HOME | tail -1; }; \
        as $KELP load -q -i $ARCHIVE >/dev/null; sync -f $HOME; before=$(used); \
        as $KELP create --name box --snapshotter copy image:1 sh -c 'echo x >> /big' >/dev/null; sync -f $HOME; \
        echo $(($(used) - before)); as $KELP start -a box; as $KELP diff box; \
        as $KELP rm box >/dev/null; umount $HOME";
    let (stdout, stderr) = with_mounts_of_its_own(&s, script, &archive, ("DISK", &disk));
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.get(1..), Some(&["C /big"][..]), "{stdout}{stderr}");
    assert!(lines[0].parse::<i64>().unwrap() < 10 << 20, "{} bytes for a copy of 40 MB", lines[0]);
}
