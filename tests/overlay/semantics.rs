//! What has to hold, case by case.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use kelp::overlay::{IdMap, IdRange, Layers, Options, Owners};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::Case;
use super::mounts::{Dirs, Fuse};

pub const CASES: &[Case] = &[
    ("shows_layers", shows_layers),
    ("names_are_bytes", names_are_bytes),
    ("removed_files_stay_open", removed_files_stay_open),
    ("lower_links_stay_links", lower_links_stay_links),
    ("copy_up_keeps_everything", copy_up_keeps_everything),
    ("full_disk_leaves_the_original", full_disk_leaves_the_original),
    ("large_directories", large_directories),
    ("listing_while_removing", listing_while_removing),
    ("memory_maps", memory_maps),
    ("locks", locks),
    ("own_attributes_are_hidden", own_attributes_are_hidden),
    ("attribute_sizes", attribute_sizes),
    ("other_users", other_users),
    ("inherited_modes", inherited_modes),
    ("inherited_access_lists", inherited_access_lists),
    ("times", times),
    ("what_is_not_there", what_is_not_there),
    ("numbers", numbers),
    ("read_only", read_only),
    ("many_layers", many_layers),
    ("many_mounts", many_mounts),
    ("shifted_ids", shifted_ids),
    ("kept_owners", kept_owners),
    ("dotted_whiteouts", dotted_whiteouts),
    ("hostile_layers", hostile_layers),
    ("eight_at_once", eight_at_once),
    ("random_access", random_access),
];

fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()));
}

#[track_caller]
fn shell(dir: &Path, script: &str) -> String {
    let out =
        Command::new("sh").arg("-ec").arg(script).current_dir(dir).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "{script}: {}", out.status);
    String::from_utf8(out.stdout).unwrap()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

fn chown(path: &Path, id: u32) {
    let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn shows_layers(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    write(dirs.lowers[1].join("low"), "low");
    write(dirs.lowers[0].join("mid"), "mid");
    write(dirs.lowers[1].join("gone"), "");
    whiteout(&dirs.lowers[0].join("gone"));
    let mount = dirs.fuse();
    assert_eq!(fs::read(mount.at.join("low")).unwrap(), b"low");
    assert!(!mount.at.join("gone").exists());
    write(mount.at.join("low"), "high");
    assert_eq!(fs::read(mount.at.join("low")).unwrap(), b"high");
    assert_eq!(fs::read(dirs.lowers[1].join("low")).unwrap(), b"low");
}

fn names_are_bytes(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let names: &[&[u8]] = &[b"\xff\xfe", b"new\nline", b".wh.x", b"...", &[b'n'; 255]];
    for name in names {
        write(dirs.lowers[0].join(OsStr::from_bytes(name)), name);
    }
    let mount = dirs.fuse();
    for name in names {
        let path = mount.at.join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), *name);
        fs::rename(&path, mount.at.join("x")).unwrap();
        fs::rename(mount.at.join("x"), &path).unwrap();
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(fs::read_dir(&mount.at).unwrap().count(), 0);
    let long = mount.at.join(OsStr::from_bytes(&[b'n'; 256]));
    assert_eq!(File::create(long).unwrap_err().raw_os_error(), Some(libc::ENAMETOOLONG));
}

fn removed_files_stay_open(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    write(dirs.lowers[0].join("low"), "below");
    fs::create_dir(dirs.lowers[0].join("dir")).unwrap();
    let mount = dirs.fuse();
    for name in ["low", "new"] {
        let path = mount.at.join(name);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Another file may have the name by now.
        write(&path, "another");
        file.seek(SeekFrom::Start(2)).unwrap();
        file.write_all(b"XX").unwrap();
        file.sync_all().unwrap();
        let mut all = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all, if name == "low" { &b"beXXw"[..] } else { b"\0\0XX" });
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
    }
    // Content that is not in the page cache any more.
    let big = mount.at.join("big");
    write(&big, vec![7; 1 << 20]);
    let file = File::open(&big).unwrap();
    fs::remove_file(&big).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut part = [0; 100];
    file.read_exact_at(&mut part, 900_000).unwrap();
    assert_eq!(part, [7; 100]);
    // Directories that somebody is in.
    for name in ["dir", "newdir"] {
        let path = mount.at.join(name);
        let _ = fs::create_dir(&path);
        let open = File::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        assert_eq!(open.metadata().unwrap().nlink(), 0);
        let made = rustix::fs::openat(&open, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU);
        assert_eq!(made.unwrap_err(), Errno::NOENT);
        assert_eq!(
            rustix::fs::Dir::read_from(&open)
                .unwrap()
                .filter(|e| e.as_ref().unwrap().file_name().to_bytes().len() > 2)
                .count(),
            0
        );
    }
}

fn lower_links_stay_links(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    fs::create_dir(dirs.lowers[0].join("d")).unwrap();
    write(dirs.lowers[0].join("a"), "one");
    for name in ["b", "d/c", "unseen"] {
        fs::hard_link(dirs.lowers[0].join("a"), dirs.lowers[0].join(name)).unwrap();
    }
    {
        let mount = dirs.fuse();
        let ino = |name: &str| fs::metadata(mount.at.join(name)).unwrap().ino();
        assert_eq!(ino("a"), ino("b"));
        let before = ino("d/c");
        write(mount.at.join("b"), "two");
        for name in ["a", "b", "d/c", "unseen"] {
            assert_eq!(fs::read(mount.at.join(name)).unwrap(), b"two", "{name}");
            assert_eq!(ino(name), before);
        }
        fs::rename(mount.at.join("a"), mount.at.join("e")).unwrap();
        fs::remove_file(mount.at.join("b")).unwrap();
        write(mount.at.join("d/c"), "three");
        assert_eq!(fs::read(mount.at.join("e")).unwrap(), b"three");
    }
    let kernel = dirs.kernel();
    for name in ["e", "d/c", "unseen"] {
        assert_eq!(fs::read(kernel.at.join(name)).unwrap(), b"three", "{name}");
    }
}

fn copy_up_keeps_everything(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let low = dirs.lowers[0].join("sparse");
    let file = File::create(&low).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", 64 << 20).unwrap();
    chown(&low, 33);
    chmod(&low, 0o4751);
    set_xattr(&low, "user.mine", b"value").unwrap();
    shell(&dirs.lowers[0], "setfacl -m u:44:r sparse 2>/dev/null || true");
    let long_ago = Timespec { tv_sec: 86_400, tv_nsec: 987_654_321 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    rustix::fs::utimensat(CWD, &low, &times, AtFlags::empty()).unwrap();
    let mount = dirs.fuse();
    let path = mount.at.join("sparse");
    let before = fs::metadata(&path).unwrap();
    set_xattr(&path, "user.another", b"x").unwrap();
    let after = fs::metadata(&path).unwrap();
    let up = fs::metadata(dirs.upper.join("sparse")).unwrap();
    for (what, a, b) in [
        ("mode", u64::from(before.mode()), u64::from(after.mode())),
        ("owner", u64::from(before.uid()), u64::from(after.uid())),
        ("group", u64::from(before.gid()), u64::from(after.gid())),
        ("size", before.size(), after.size()),
        ("number", before.ino(), after.ino()),
        ("mtime", before.mtime().cast_unsigned(), up.mtime().cast_unsigned()),
        ("mtime ns", before.mtime_nsec().cast_unsigned(), up.mtime_nsec().cast_unsigned()),
    ] {
        assert_eq!(a, b, "{what}");
    }
    assert!(up.blocks() < 100, "holes stay holes: {} blocks", up.blocks());
    let mut value = [0; 10];
    assert_eq!(rustix::fs::getxattr(&path, "user.mine", &mut value), Ok(5));
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(1 << 20)), Ok(64 << 20));
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)), Ok(4096));
    let mut end = [0; 3];
    file.read_exact_at(&mut end, 64 << 20).unwrap();
    assert_eq!(&end, b"end");
}

fn full_disk_leaves_the_original(base: &Path) {
    let small = base.join("small");
    fs::create_dir(&small).unwrap();
    shell(base, "mount -t tmpfs -o size=1m small small");
    fs::create_dir(base.join("l")).unwrap();
    let content: Vec<u8> = (0..2 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    write(base.join("l/big"), &content);
    let mut dirs = Dirs::new(&small, "m", &[]);
    dirs.lowers = vec![base.join("l")];
    {
        let mount = dirs.fuse();
        let file = OpenOptions::new().append(true).open(mount.at.join("big")).unwrap();
        let refused = (&file).write_all(b"x").and_then(|()| file.sync_all()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(
            fs::set_permissions(mount.at.join("big"), fs::Permissions::from_mode(0o600))
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ENOSPC)
        );
        assert_eq!(fs::read_dir(&dirs.upper).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dirs.work.join("work")).unwrap().count(), 0, "nothing half done is left");
        drop(file);
    }
    {
        let mount = dirs.fuse();
        assert!(fs::read(mount.at.join("big")).unwrap() == content);
        write(mount.at.join("fits"), "still");
        fs::remove_file(mount.at.join("big")).unwrap();
        assert!(!mount.at.join("big").exists());
    }
    shell(base, "umount small");
}

fn large_directories(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    for (dir, range) in [(&dirs.lowers[0], 0..50_000), (&dirs.lowers[1], 40_000..100_000)] {
        fs::create_dir(dir.join("d")).unwrap();
        for n in range {
            rustix::fs::symlink("x", dir.join(format!("d/entry-{n}"))).unwrap();
        }
    }
    let mount = dirs.fuse();
    let begin = std::time::Instant::now();
    let names: std::collections::HashSet<_> =
        fs::read_dir(mount.at.join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 100_000);
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

fn listing_while_removing(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    let total = 5000;
    for n in 0..total {
        write(dirs.lowers[n % 2].join(format!("file{n}")), "");
    }
    let mount = dirs.fuse();
    let mut seen = std::collections::HashSet::new();
    for entry in fs::read_dir(&mount.at).unwrap() {
        let entry = entry.unwrap();
        assert!(seen.insert(entry.file_name()), "{:?} twice", entry.file_name());
        fs::remove_file(entry.path()).unwrap();
        if seen.len() % 500 == 0 {
            write(mount.at.join(format!("new{}", seen.len())), "");
            let _ = fs::read_dir(&mount.at).unwrap().count();
        }
    }
    assert!((0..total).all(|n| seen.contains(OsStr::new(&format!("file{n}")))), "{} seen", seen.len());
    shell(&mount.at, "rm -rf ./*; test -z \"$(ls -A)\"");
}

fn memory_maps(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    write(dirs.lowers[0].join("f"), vec![b'.'; 10_000]);
    let mount = dirs.fuse();
    // sqlite maps and locks; python is as near to a program with mmap as a test machine has.
    let script = "import mmap\n\
        f=open('f','r+b'); m=mmap.mmap(f.fileno(),0)\n\
        p=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_COPY); p[0:3]=b'own'\n\
        assert m[0:3]==b'...'; m[5000:5003]=b'map'; m.flush(); m.close()\n\
        assert open('f','rb').read()[5000:5003]==b'map'\n";
    let status = Command::new("python3").arg("-c").arg(script).current_dir(&mount.at).status().unwrap();
    assert!(status.success());
    drop(mount);
    assert_eq!(&fs::read(dirs.upper.join("f")).unwrap()[5000..5003], b"map");
    assert_eq!(fs::read(dirs.lowers[0].join("f")).unwrap(), [b'.'; 10_000]);
}

fn locks(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    write(dirs.lowers[0].join("f"), "x");
    let mount = dirs.fuse();
    let open = || OpenOptions::new().read(true).write(true).open(mount.at.join("f")).unwrap();
    let (a, b) = (open(), open());
    rustix::fs::flock(&a, FlockOperation::LockExclusive).unwrap();
    assert_eq!(rustix::fs::flock(&b, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
    // Bringing it up does not take the lock away.
    a.write_all_at(b"y", 0).unwrap();
    assert_eq!(rustix::fs::flock(&b, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK));
}

fn own_attributes_are_hidden(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    fs::create_dir(dirs.lowers[0].join("d")).unwrap();
    write(dirs.lowers[0].join("d/f"), "");
    set_xattr(&dirs.lowers[0].join("d"), "user.overlay.opaque", b"y").unwrap();
    set_xattr(&dirs.lowers[0].join("d"), "user.containers.override_stat", b"0:0:0755").unwrap();
    let mount = dirs.fuse();
    let path = mount.at.join("d");
    let mut names = [0u8; 1000];
    assert_eq!(rustix::fs::listxattr(&path, &mut names), Ok(0));
    let mut value = [0u8; 100];
    for name in ["user.overlay.opaque", "user.containers.override_stat"] {
        assert_eq!(rustix::fs::getxattr(&path, name, &mut value), Err(Errno::NODATA));
    }
    assert_eq!(set_xattr(&path.join("f"), "user.containers.override_stat", b"0:0:04755"), Err(Errno::PERM));
    // What an overlay inside writes is kept out of the way of ours.
    set_xattr(&path, "user.overlay.opaque", b"y").unwrap();
    assert!(path.join("f").exists());
    assert_eq!(
        rustix::fs::getxattr(dirs.upper.join("d"), "user.overlay.opaque", &mut value),
        Err(Errno::NODATA)
    );
    assert_eq!(rustix::fs::getxattr(dirs.upper.join("d"), "user.overlay.overlay.opaque", &mut value), Ok(1));
    drop(mount);
    let kernel = dirs.kernel();
    assert_eq!(rustix::fs::getxattr(kernel.at.join("d"), "user.overlay.opaque", &mut value), Ok(1));
}

fn attribute_sizes(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let mount = dirs.fuse();
    let path = mount.at.join("f");
    write(&path, "");
    let value = vec![7; 3000];
    set_xattr(&path, "user.long", &value).unwrap();
    let mut short = [0u8; 100];
    assert_eq!(rustix::fs::getxattr(&path, "user.long", &mut short), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr_query(&path, "user.long"), Ok(3000));
    let mut room = vec![0u8; 4000];
    assert_eq!(rustix::fs::getxattr(&path, "user.long", &mut room), Ok(3000));
    assert!(matches!(
        set_xattr(&path, "user.huge", &vec![7; 65536]),
        Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE)
    ));
    assert_eq!(set_xattr(&path, "system.unheard", b"x"), Err(Errno::NOTSUP));
    symlink("f", mount.at.join("link")).unwrap();
    assert_eq!(set_xattr(&mount.at.join("link"), "user.x", b"x"), Err(Errno::PERM));
}

/// Runs a script as another user of the namespace.
fn as_user(id: u32, groups: &str, dir: &Path, script: &str) -> bool {
    let id = id.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id]);
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.args(["--groups", groups]),
    };
    command.args(["sh", "-ec", script]).current_dir(dir).stderr(Stdio::null()).stdout(Stdio::null());
    command.status().unwrap().success()
}

fn other_users(base: &Path) {
    chmod(base, 0o755);
    let dirs = Dirs::new(base, "m", &["l"]);
    let low = &dirs.lowers[0];
    write(low.join("secret"), "s");
    chmod(&low.join("secret"), 0o600);
    fs::create_dir(low.join("shut")).unwrap();
    write(low.join("shut/in"), "s");
    chmod(&low.join("shut"), 0o700);
    write(low.join("group"), "g");
    rustix::fs::chownat(CWD, low.join("group"), None, Some(Gid::from_raw(50)), AtFlags::empty()).unwrap();
    chmod(&low.join("group"), 0o640);
    fs::create_dir(low.join("tmp")).unwrap();
    chmod(&low.join("tmp"), 0o1777);
    write(low.join("tmp/root"), "");
    write(low.join("suid"), "#!");
    chmod(&low.join("suid"), 0o6777);
    let mount = dirs.fuse();
    let at = &mount.at;
    // Seen by root first, so that the kernel has it all in its caches.
    shell(at, "cat secret shut/in group suid; ls -R . >/dev/null");
    assert!(!as_user(1000, "", at, "cat secret"));
    assert!(!as_user(1000, "", at, "cat shut/in"));
    assert!(!as_user(1000, "", at, "cat group"));
    assert!(as_user(1000, "50", at, "cat group"));
    assert!(!as_user(1000, "", at, "echo > new"));
    assert!(as_user(1000, "", at, "echo mine > tmp/mine"));
    assert!(!as_user(1000, "", at, "rm -f tmp/root"));
    assert!(!as_user(1001, "", at, "rm -f tmp/mine"));
    let made = fs::metadata(at.join("tmp/mine")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (1000, 1000, 0o644));
    assert_eq!(fs::metadata(dirs.upper.join("tmp/mine")).unwrap().uid(), 1000);
    // A writer without power over the file takes its privileges away.
    assert!(as_user(1000, "", at, "echo x >> suid; sync suid"));
    assert_eq!(mode(&at.join("suid")), 0o777);
    assert!(as_user(1000, "", at, "mkdir tmp/d; touch tmp/d/f; mv tmp/d tmp/e; rm -r tmp/e"));
    assert!(!as_user(1000, "", at, "chmod 777 secret"));
    assert!(as_user(1000, "", at, "ln -s x tmp/link"));
    assert_eq!(fs::symlink_metadata(at.join("tmp/link")).unwrap().uid(), 1000);
}

fn inherited_modes(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let shared = dirs.lowers[0].join("shared");
    fs::create_dir(&shared).unwrap();
    chown(&shared, 500);
    chmod(&shared, 0o2775);
    write(shared.join("old"), "");
    let mount = dirs.fuse();
    let at = mount.at.join("shared");
    shell(&at, "umask 027; touch file; mkdir dir; mkfifo pipe; umask 0; touch open; rm old; mkdir old");
    let of = |name: &str| {
        fs::symlink_metadata(at.join(name)).map(|m| (m.mode() & 0o7777, m.uid(), m.gid())).unwrap()
    };
    assert_eq!(of("file"), (0o640, 0, 500));
    assert_eq!(of("dir"), (0o2750, 0, 500));
    assert_eq!(of("pipe"), (0o640, 0, 500));
    assert_eq!(of("open"), (0o666, 0, 500));
    assert_eq!(of("old"), (0o2777, 0, 500), "in place of a whiteout");
}

fn inherited_access_lists(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    fs::create_dir(dirs.lowers[0].join("d")).unwrap();
    write(dirs.lowers[0].join("d/gone"), "");
    let mount = dirs.fuse();
    let dir = mount.at.join("d");
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1u16, 7u16, !0u32), (2, 6, 1000), (4, 5, !0), (16, 7, !0), (32, 0, !0)] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    set_xattr(&dir, "system.posix_acl_default", &list).unwrap();
    shell(&dir, "umask 077; touch file; mkdir sub; rm gone; touch gone");
    let mut got = [0u8; 100];
    for name in ["file", "gone"] {
        let length = rustix::fs::getxattr(dir.join(name), "system.posix_acl_access", &mut got).unwrap();
        assert!(length > 4, "{name}");
        // The umask counts for nothing: the list says what others get.
        assert_eq!(mode(&dir.join(name)), 0o660, "{name}");
    }
    assert!(rustix::fs::getxattr(dir.join("sub"), "system.posix_acl_default", &mut got).is_ok());
    chmod(base, 0o755);
    assert!(as_user(1000, "", &mount.at, "cat d/file") || !as_user(1000, "", &mount.at, "ls d"));
}

fn times(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let mount = dirs.fuse();
    let path = mount.at.join("f");
    write(&path, "x");
    for (seconds, nanoseconds) in
        [(1, 1), (0, 999_999_999), (-1, 250_000_000), (-1000, 0), (4_000_000_000, 5)]
    {
        let at = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: at, last_modification: at };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let inside = fs::metadata(&path).unwrap();
        assert_eq!((inside.mtime(), inside.mtime_nsec()), (seconds, nanoseconds));
        let below = fs::metadata(dirs.upper.join("f")).unwrap();
        assert_eq!((below.mtime(), below.mtime_nsec()), (seconds, nanoseconds));
    }
    let before = fs::metadata(&path).unwrap().ctime();
    assert!(before > 1_000_000_000);
}

fn what_is_not_there(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let mount = dirs.fuse();
    let made = rustix::fs::open(&mount.at, OFlags::TMPFILE | OFlags::RDWR, Mode::RWXU);
    assert_eq!(made.unwrap_err(), Errno::OPNOTSUPP);
    write(mount.at.join("f"), "x");
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(mount.at.join("f")).unwrap();
    drop(file);
    let stat = rustix::fs::statvfs(&mount.at).unwrap();
    assert!(stat.f_blocks > 0 && stat.f_namemax == 255);
    shell(&mount.at, "chattr +d f; lsattr f | cut -d' ' -f1 | grep -q d");
    let file = OpenOptions::new().write(true).open(mount.at.join("f")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 100_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 100_000);
}

fn numbers(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    fs::create_dir_all(dirs.lowers[0].join("d/e")).unwrap();
    fs::create_dir_all(dirs.lowers[1].join("d/e")).unwrap();
    for n in 0..50 {
        write(dirs.lowers[n % 2].join(format!("d/f{n}")), "x");
    }
    let mount = dirs.fuse();
    let read =
        || shell(&mount.at, "find . -printf '%i %p\\n' | sort; find . -printf '%D\\n' | sort -u | wc -l");
    let before = read();
    assert!(before.ends_with("\n1\n"), "one device");
    shell(&mount.at, "chmod 700 d/e d/f1 d; echo y > d/f2");
    // What the kernel forgets comes back with the number that it had.
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
    rustix::mount::mount_remount(&mount.at, rustix::mount::MountFlags::empty(), c"").ok();
    assert_eq!(read(), before);
    let listed = shell(&mount.at, "ls -ai d | sort -k2");
    let told = shell(&mount.at, "cd d; for f in $(ls -A); do stat -c '%i %n' $f; done | sort -k2");
    for line in told.lines() {
        assert!(listed.contains(line.trim()), "{line} is listed otherwise: {listed}");
    }
}

fn read_only(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    write(dirs.lowers[0].join("f"), "x");
    let open = |path: &std::path::PathBuf| -> OwnedFd { File::open(path).unwrap().into() };
    let layers = Layers { lowers: dirs.lowers.iter().map(open).collect(), upper: None };
    let mount = Fuse::mount(layers, Options::default(), &dirs.at);
    assert_eq!(fs::read(mount.at.join("f")).unwrap(), b"x");
    let refused = |r: std::io::Result<()>| assert_eq!(r.unwrap_err().raw_os_error(), Some(libc::EROFS));
    refused(fs::write(mount.at.join("new"), ""));
    refused(fs::remove_file(mount.at.join("f")));
    refused(fs::create_dir(mount.at.join("d")));
    refused(fs::rename(mount.at.join("f"), mount.at.join("g")));
    refused(fs::set_permissions(mount.at.join("f"), fs::Permissions::from_mode(0o600)));
}

fn many_layers(base: &Path) {
    let names: Vec<String> = (0..500).map(|n| format!("l{n}")).collect();
    let dirs = Dirs::new(base, "m", &names.iter().map(String::as_str).collect::<Vec<_>>());
    for (n, lower) in dirs.lowers.iter().enumerate() {
        fs::create_dir(lower.join("d")).unwrap();
        write(lower.join(format!("d/f{n}")), n.to_string());
        write(lower.join("d/same"), n.to_string());
    }
    let mount = dirs.fuse();
    assert_eq!(fs::read(mount.at.join("d/f499")).unwrap(), b"499");
    assert_eq!(fs::read(mount.at.join("d/same")).unwrap(), b"0");
    assert_eq!(fs::read_dir(mount.at.join("d")).unwrap().count(), 501);
    fs::remove_file(mount.at.join("d/same")).unwrap();
    assert!(!mount.at.join("d/same").exists());
}

fn many_mounts(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    write(dirs.lowers[0].join("f"), "x");
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    drop(dirs.fuse());
    let before = (count("fd"), count("task"));
    for n in 0..1000 {
        let mount = dirs.fuse();
        write(mount.at.join("f"), n.to_string());
    }
    assert_eq!((count("fd"), count("task")), before);
}

fn shifted_ids(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    write(dirs.lowers[0].join("f"), "x");
    chown(&dirs.lowers[0].join("f"), 5);
    write(dirs.lowers[0].join("outside"), "x");
    chown(&dirs.lowers[0].join("outside"), 2000);
    let ids =
        vec![IdRange { shown: 0, stored: 100, count: 1000 }, IdRange { shown: 1000, stored: 5, count: 1 }];
    let owners = Owners::Shifted(IdMap { uids: ids.clone(), gids: ids });
    let mount = dirs.fuse_with(Options { owners, ..Options::default() });
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    assert_eq!(owner(&mount.at.join("f")), (1000, 1000));
    assert_eq!(owner(&mount.at.join("outside")), (65534, 65534));
    write(mount.at.join("new"), "");
    assert_eq!(owner(&mount.at.join("new")), (0, 0));
    assert_eq!(owner(&dirs.upper.join("new")), (100, 100));
    chown(&mount.at.join("new"), 999);
    assert_eq!(owner(&dirs.upper.join("new")), (1099, 1099));
    chmod(&mount.at.join("f"), 0o600);
    assert_eq!(owner(&dirs.upper.join("f")), (5, 5), "brought up as it was");
    let (uid, gid) = (Some(Uid::from_raw(5000)), Some(Gid::from_raw(5000)));
    let refused = rustix::fs::chownat(CWD, mount.at.join("new"), uid, gid, AtFlags::empty());
    assert_eq!(refused, Err(Errno::OVERFLOW));
}

fn kept_owners(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let low = dirs.lowers[0].join("f");
    write(&low, "x");
    set_xattr(&low, "user.containers.override_stat", b"33:33:04711").unwrap();
    let mount = dirs.fuse_with(Options { owners: Owners::Kept, ..Options::default() });
    let path = mount.at.join("f");
    let shown = fs::metadata(&path).unwrap();
    // The kernel can show no other owner than the one that there is.
    assert_eq!((shown.mode() & 0o7777, shown.uid()), (0o4711, 0));
    chmod(&path, 0o000);
    assert_eq!(mode(&path), 0);
    let kept = |name: &str| {
        let mut value = [0u8; 100];
        let n =
            rustix::fs::getxattr(dirs.upper.join(name), "user.containers.override_stat", &mut value).unwrap();
        String::from_utf8(value[..n].to_vec()).unwrap()
    };
    assert_eq!(kept("f"), "33:33:00");
    assert_eq!(mode(&dirs.upper.join("f")), 0o600);
    chown(&path, 7);
    assert_eq!(kept("f"), "7:7:00");
    fs::create_dir(mount.at.join("d")).unwrap();
    chmod(&mount.at.join("d"), 0o2050);
    assert_eq!(mode(&mount.at.join("d")), 0o2050);
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

fn dotted_whiteouts(base: &Path) {
    // A file system that makes no devices: our own.
    let outer = Dirs::new(base, "outer", &["none"]);
    let below = outer.fuse();
    let dirs = Dirs::new(&below.at, "m", &["l1", "l2"]);
    fs::create_dir_all(dirs.lowers[1].join("d")).unwrap();
    for name in ["a", "b", "c", "d/x"] {
        write(dirs.lowers[1].join(name), name);
    }
    write(dirs.lowers[0].join(".wh.a"), "");
    let check = |mount: &Fuse, names: &[&str]| {
        let mut found: Vec<_> =
            fs::read_dir(&mount.at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, names);
    };
    {
        let mount = dirs.fuse();
        check(&mount, &["b", "c", "d"]);
        assert!(!mount.at.join("a").exists());
        fs::remove_file(mount.at.join("b")).unwrap();
        shell(&mount.at, "rm -r d; mkdir d; mv c moved");
        check(&mount, &["d", "moved"]);
        assert!(fs::write(mount.at.join(".wh.moved"), "").is_err());
    }
    assert!(dirs.upper.join(".wh.b").exists());
    {
        let mount = dirs.fuse();
        check(&mount, &["d", "moved"]);
        assert_eq!(fs::read_dir(mount.at.join("d")).unwrap().count(), 0);
        write(mount.at.join("b"), "again");
        check(&mount, &["b", "d", "moved"]);
    }
    assert!(!dirs.upper.join(".wh.b").exists());
}

fn hostile_layers(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    let low = &dirs.lowers[0];
    write(base.join("outside"), "never");
    symlink("../outside", low.join("up")).unwrap();
    symlink("/etc", low.join("abs")).unwrap();
    symlink("loop", low.join("loop")).unwrap();
    rustix::fs::mknodat(CWD, low.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    rustix::fs::mknodat(CWD, low.join("sock"), FileType::Socket, Mode::RWXU, 0).unwrap();
    // What is a directory in one layer is a link out of it in the other.
    fs::create_dir(low.join("dir")).unwrap();
    symlink("/etc", dirs.lowers[1].join("dir")).unwrap();
    symlink("/etc", low.join("etc")).unwrap();
    fs::create_dir(dirs.lowers[1].join("etc")).unwrap();
    write(dirs.lowers[1].join("etc/passwd"), "hidden");
    set_xattr(&low.join("dir"), "user.overlay.opaque", &[b'z'; 3000]).unwrap();
    set_xattr(&low.join("dir"), "user.overlay.redirect", b"/../../../../etc").unwrap();
    set_xattr(&low.join("dir"), "user.overlay.metacopy", b"").unwrap();
    let mut deep = low.join("deep");
    for _ in 0..12 {
        fs::create_dir(&deep).unwrap();
        deep = deep.join("d".repeat(250));
    }
    let mount = dirs.fuse();
    let at = &mount.at;
    assert_eq!(fs::read_dir(at.join("dir")).unwrap().count(), 0);
    assert_eq!(fs::read_link(at.join("up")).unwrap(), Path::new("../outside"));
    assert_eq!(File::open(at.join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    shell(
        at,
        "test -p pipe; test -S sock; find . >/dev/null; chmod 600 pipe sock; chmod 700 dir deep; rm -rf ./*; test -z \"$(ls -A)\"",
    );
    assert_eq!(fs::read(base.join("outside")).unwrap(), b"never");
    assert!(low.join("pipe").symlink_metadata().is_ok());
}

fn eight_at_once(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    for n in 0..200 {
        fs::create_dir_all(dirs.lowers[0].join(format!("d{}", n % 10))).unwrap();
        write(dirs.lowers[0].join(format!("d{}/f{n}", n % 10)), vec![b'x'; 5000]);
    }
    let mount = dirs.fuse();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let at = &mount.at;
            scope.spawn(move || {
                for n in 0..200 {
                    let path = at.join(format!("d{}/f{n}", n % 10));
                    match worker % 4 {
                        0 => drop(fs::set_permissions(&path, fs::Permissions::from_mode(0o600))),
                        1 => drop(
                            OpenOptions::new().append(true).open(&path).and_then(|mut f| f.write_all(b"y")),
                        ),
                        2 => drop(fs::read(&path)),
                        _ => {
                            let own = at.join(format!("d{}/own{worker}-{n}", n % 10));
                            write(&own, "own");
                            fs::rename(&own, at.join(format!("moved{worker}-{n}"))).unwrap();
                        }
                    }
                }
            });
        }
    });
    for n in 0..200 {
        let content = fs::read(mount.at.join(format!("d{}/f{n}", n % 10))).unwrap();
        assert_eq!(content.len(), 5002, "f{n}");
        assert_eq!(mode(&mount.at.join(format!("d{}/f{n}", n % 10))), 0o600);
    }
    assert_eq!(fs::read_dir(&mount.at).unwrap().count(), 10 + 400);
}

/// As fsx does: random reads, writes, cuts and holes against a model in memory, with the file opened anew at times.
fn random_access(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let mut random = super::random::Random::new(77);
    let mut model = random.bytes(100_000);
    write(dirs.lowers[0].join("f"), &model);
    let mount = dirs.fuse();
    let path = mount.at.join("f");
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut file = open();
    for step in 0..3000 {
        let at = random.below(200_000);
        let (offset, length) = (usize::try_from(at).unwrap(), usize::try_from(random.below(30_000)).unwrap());
        match random.below(10) {
            0..=3 => {
                let bytes = random.bytes(length);
                file.write_all_at(&bytes, at).unwrap();
                if length > 0 {
                    model.resize(model.len().max(offset + length), 0);
                    model[offset..offset + length].copy_from_slice(&bytes);
                }
            }
            4..=6 => {
                let mut bytes = vec![0; length];
                let n = file.read_at(&mut bytes, at).unwrap();
                let expected = model.get(offset..(offset + n).min(model.len())).unwrap_or_default();
                assert!(bytes[..n] == *expected, "step {step}");
            }
            7 => {
                file.set_len(at).unwrap();
                model.resize(offset, 0);
            }
            8 if length > 0 => {
                let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&file, flags, at, length as u64).unwrap();
                let end = (offset + length).min(model.len());
                if offset < end {
                    model[offset..end].fill(0);
                }
            }
            _ => {
                if random.chance(20) {
                    file.sync_all().unwrap();
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
                }
                file = open();
            }
        }
        assert_eq!(file.metadata().unwrap().len(), model.len() as u64, "step {step}");
    }
    assert!(fs::read(&path).unwrap() == model);
    drop(file);
    drop(mount);
    assert!(fs::read(dirs.upper.join("f")).unwrap() == model);
}
