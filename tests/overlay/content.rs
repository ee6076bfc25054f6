//! Content: open files, copies, maps, locks, random access.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::Case;
use super::hand::{chmod, chown, mode, set_xattr, shell, write};
use super::mounts::Dirs;

pub const CASES: &[Case] = &[
    ("removed_files_stay_open", removed_files_stay_open),
    ("lower_links_stay_links", lower_links_stay_links),
    ("links_of_a_file_that_loses_a_name_while_open", links_of_a_file_that_loses_a_name_while_open),
    ("links_in_many_directories", links_in_many_directories),
    ("copy_up_keeps_everything", copy_up_keeps_everything),
    ("memory_maps", memory_maps),
    ("locks", locks),
    ("what_is_not_there", what_is_not_there),
    ("eight_at_once", eight_at_once),
    ("random_access", random_access),
    ("no_time_stops_the_server", no_time_stops_the_server),
];

/// Whatever a program asks for, the server goes on. What the disk makes of such a time is the disk's business.
fn no_time_stops_the_server(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let far = |seconds, nanoseconds| {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        Timestamps { last_access: time, last_modification: time }
    };
    let ends = [i64::MIN, i64::MIN + 1, -(1 << 62), -(1 << 31) - 1, -1, 1 << 34, 1 << 62, i64::MAX];
    write(dirs.lowers[0].join("low"), "below");
    let _ = rustix::fs::utimensat(CWD, dirs.lowers[0].join("low"), &far(i64::MIN, 1), AtFlags::empty());
    let mount = dirs.fuse();
    for seconds in ends {
        for nanoseconds in [0, 1, 999_999_999] {
            let path = mount.at.join(format!("{seconds} {nanoseconds}"));
            for name in [&path, &mount.at, &mount.at.join("low")] {
                write(&path, "content");
                let set = rustix::fs::utimensat(CWD, name, &far(seconds, nanoseconds), AtFlags::empty());
                assert!(matches!(set, Ok(()) | Err(Errno::INVAL)), "{}: {set:?}", path.display());
            }
            fs::remove_file(&path).unwrap();
            assert!(fs::read_dir(&mount.at).unwrap().count() >= 1);
        }
    }
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

/// One name goes, by removal and by another file in its place, before anybody has asked for the others.
fn links_of_a_file_that_loses_a_name_while_open(base: &Path) {
    for (number, replaced, written) in
        [(0, false, false), (1, true, false), (2, false, true), (3, true, true)]
    {
        let base = base.join(number.to_string());
        fs::create_dir(&base).unwrap();
        let dirs = Dirs::new(&base, "m", &["l"]);
        write(dirs.lowers[0].join("a"), "one");
        for name in ["b", "c"] {
            fs::hard_link(dirs.lowers[0].join("a"), dirs.lowers[0].join(name)).unwrap();
        }
        let mount = dirs.fuse();
        let at = |name: &str| mount.at.join(name);
        let mut open = OpenOptions::new().read(true).write(written).open(at("a")).unwrap();
        if replaced {
            write(at("new"), "new");
            fs::rename(at("new"), at("a")).unwrap();
        } else {
            fs::remove_file(at("a")).unwrap();
        }
        if written {
            open.write_all(b"two").unwrap();
        }
        open.sync_all().unwrap();
        for name in ["b", "c"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"one", "{name}, {number}");
        }
        write(at("b"), "three");
        assert_eq!(fs::read(at("c")).unwrap(), b"three");
        let mut text = String::new();
        open.rewind().unwrap();
        open.read_to_string(&mut text).unwrap();
        // It is the file that the other names lead to, until it has a copy of its own.
        assert_eq!(text, if written { "two" } else { "three" }, "{number}");
        assert_eq!(fs::read(at("a")).is_ok(), replaced);
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
    let file = File::open(&path).unwrap();
    let mut end = [0; 3];
    file.read_exact_at(&mut end, 64 << 20).unwrap();
    assert_eq!(&end, b"end");
}

/// The names of a file are brought up with it, and with them the directories that they are in.
fn links_in_many_directories(base: &Path) {
    const PAIRS: u32 = 200;
    let dirs = Dirs::new(base, "m", &["l"]);
    for pair in 0..PAIRS {
        let at = |dir: &str| dirs.lowers[0].join(format!("{dir}{pair}"));
        fs::create_dir(at("a")).unwrap();
        fs::create_dir(at("b")).unwrap();
        write(at("a").join("f"), pair.to_string());
        fs::hard_link(at("a").join("f"), at("b").join("g")).unwrap();
    }
    let mount = dirs.fuse();
    shell(&mount.at, "find . -type f -printf %n >/dev/null");
    let (done, ended) = std::sync::mpsc::channel();
    let at = mount.at.clone();
    std::thread::spawn(move || {
        for pair in 0..PAIRS {
            chmod(&at.join(format!("a{pair}/f")), 0o751);
        }
        done.send(()).unwrap();
    });
    if ended.recv_timeout(Duration::from_secs(120)).is_err() {
        // Who waits for a worker that waits for itself cannot be stopped, and no more can the mount.
        println!("the server hangs");
        std::process::abort();
    }
    for pair in 0..PAIRS {
        assert_eq!(mode(&dirs.upper.join(format!("b{pair}/g"))), 0o751);
        let names = ["a{}/f", "b{}/g"].map(|n| mount.at.join(n.replace("{}", &pair.to_string())));
        let [one, other] = names.map(|name| fs::metadata(name).unwrap());
        assert_eq!((one.ino(), one.nlink(), one.mode()), (other.ino(), 2, other.mode()));
    }
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
