//! Owners, modes, lists, attributes and times: who may do what, and what is kept of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use kelp::overlay::{Options, Owners};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps};
use rustix::io::Errno;

use super::Case;
use super::hand::{as_user, chmod, chown, mode, set_xattr, shell, write};
use super::mounts::Dirs;

pub const CASES: &[Case] = &[
    ("own_attributes_are_hidden", own_attributes_are_hidden),
    ("attribute_sizes", attribute_sizes),
    ("other_users", other_users),
    ("inherited_modes", inherited_modes),
    ("inherited_access_lists", inherited_access_lists),
    ("times", times),
    ("kept_owners", kept_owners),
];

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
    for change in ["echo x >> suid", "fallocate -l 100k suid", "dd if=/etc/passwd of=suid conv=notrunc"] {
        chmod(&at.join("suid"), 0o6777);
        // Asks for the mode alone, as exec(2) does; whoever asks for times as well always gets a fresh one.
        let script = format!("{change}; test $(stat -c %a suid) = 777");
        assert!(as_user(1000, "", at, &script), "{change}");
    }
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
