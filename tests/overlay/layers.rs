//! How layers show as one tree, however many and whatever is in them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kelp::overlay::{Layers, Options};
use rustix::fs::{CWD, FileType, Mode};

use super::Case;
use super::hand::{set_xattr, shell, whiteout, write};
use super::mounts::{Dirs, Fuse};

pub const CASES: &[Case] = &[
    ("shows_layers", shows_layers),
    ("names_are_bytes", names_are_bytes),
    ("read_only", read_only),
    ("many_layers", many_layers),
    ("many_mounts", many_mounts),
    ("numbers", numbers),
    ("dotted_whiteouts", dotted_whiteouts),
    ("hostile_layers", hostile_layers),
];

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
