//! The cases of unionmount-testsuite in our words: what can be done to each kind of object of a lower layer, or of the
//! upper one, in each way, with a slash behind its name and without, again after it was done, by root and by somebody
//! else; and chains of renames. The kernel's overlay and ours have to say the same to each step, and to show the same
//! tree after it.
//!
//! Its suite tells what has to happen; here the kernel tells it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::Case;
use super::hand::{chmod, chown, write};
use super::mounts::Dirs;
use super::tree::{assert_same, describe};

pub const CASES: &[Case] = &[("unionmount", unionmount)];

/// In the lower layer of every case.
const OBJECTS: [&str; 9] =
    ["file", "rootfile", "direct", "indirect", "pointless", "dir", "empty", "direct_dir", "indirect_dir"];
/// Those, what is not there, and what a case makes before it begins.
const NAMES: [&str; 14] = [
    "file",
    "rootfile",
    "direct",
    "indirect",
    "pointless",
    "dir",
    "empty",
    "direct_dir",
    "indirect_dir",
    "none",
    "dir/a",
    "new",
    "newdir",
    "newdir/in",
];
const SOMEBODY: u32 = 1;

#[derive(Debug, Clone)]
enum Step {
    Open(String, OFlags),
    OpenAs(u32, String, OFlags),
    TruncateAs(u32, String, u64),
    TouchAs(u32, String),
    Read(String),
    Link(String, String),
    Rename(String, String),
    Unlink(String),
    Rmdir(String),
    Mkdir(String),
    ReadLink(String),
    RemoveTree(String),
}

fn unionmount(base: &Path) {
    let cases: Vec<Vec<Step>> =
        [opens(), strangers(), truncations(), single(), pairs(), chains(), rings()].concat();
    chmod(base, 0o755);
    let (mut done, mut refused) = (0, 0);
    for (batch, cases) in cases.chunks(250).enumerate() {
        let dir = base.join(batch.to_string());
        fs::create_dir(&dir).unwrap();
        let ours = Dirs::new(&dir, "ours", &["lower"]);
        let theirs = Dirs::new(&dir, "theirs", &["lower"]);
        (0..cases.len()).for_each(|n| populate(&ours.lowers[0].join(n.to_string())));
        let (a, b) = (theirs.kernel(), ours.fuse());
        for (n, case) in cases.iter().enumerate() {
            let at = |root: &Path| root.join(n.to_string());
            [&a.at, &b.at].into_iter().for_each(|root| prepare(&at(root)));
            for (index, step) in case.iter().enumerate() {
                let (expected, got) = (step.apply(&at(&a.at)), step.apply(&at(&b.at)));
                *if expected.is_ok() { &mut done } else { &mut refused } += 1;
                let story = &case[..=index];
                assert_eq!(expected, got, "kernel left, ours right, after {story:?}");
            }
            let what = format!("kernel above, ours below, after {case:?}");
            assert_same(&what, &describe(&at(&a.at)), &describe(&at(&b.at)));
        }
        drop((a, b));
        // And each reads what ours has written.
        let by_kernel = {
            let mount = ours.kernel();
            describe(&mount.at)
        };
        let by_us = {
            let mount = ours.fuse();
            describe(&mount.at)
        };
        assert_same("written by ours, read by the kernel above, by ours below", &by_kernel, &by_us);
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("unionmount: {} cases, {done} steps done and {refused} refused", cases.len());
    assert!(done > 5000 && refused > 5000, "it compares nothing");
}

fn populate(at: &Path) {
    fs::create_dir_all(at.join("dir/pop/c")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    for name in ["file", "rootfile"] {
        write(at.join(name), ":xxx:yyy:zzz");
    }
    write(at.join("dir/a"), "");
    write(at.join("dir/pop/b"), ":aaa:bbb:ccc");
    for (name, to) in [
        ("direct", "file"),
        ("indirect", "direct"),
        ("pointless", "none"),
        ("direct_dir", "dir"),
        ("indirect_dir", "direct_dir"),
    ] {
        symlink(to, at.join(name)).unwrap();
    }
    for name in OBJECTS {
        if !name.contains("dir") && !["rootfile", "empty"].contains(&name) {
            chown(&at.join(name), SOMEBODY);
        }
    }
}

/// What the upper layer has of its own.
fn prepare(at: &Path) {
    write(at.join("new"), "aaaa");
    fs::create_dir(at.join("newdir")).unwrap();
    write(at.join("newdir/in"), "bbbb");
}

/// Each name, bare and with a slash behind it.
fn written() -> Vec<String> {
    NAMES.iter().flat_map(|name| [(*name).to_owned(), format!("{name}/")]).collect()
}

const ACCESSES: [OFlags; 5] = [
    OFlags::RDONLY,
    OFlags::WRONLY,
    OFlags::WRONLY.union(OFlags::APPEND),
    OFlags::RDWR,
    OFlags::RDWR.union(OFlags::APPEND),
];

/// The suite's `*-plain`, `*-creat`, `*-excl`, `*-trunc`, `*-weird`, `dir-open-dir` and `noent-*`.
fn opens() -> Vec<Vec<Step>> {
    let mut cases = Vec::new();
    for name in written() {
        for bits in 0..16u32 {
            let mut flags = OFlags::empty();
            for (bit, flag) in
                [OFlags::CREATE, OFlags::EXCL, OFlags::TRUNC, OFlags::DIRECTORY].into_iter().enumerate()
            {
                flags.set(flag, bits & (1 << bit) != 0);
            }
            // Without O_CREAT it says nothing that is defined; O_CREAT and O_DIRECTORY are refused together.
            if bits & 3 == 2 || bits & 9 == 9 {
                continue;
            }
            let steps = ACCESSES.iter().flat_map(|access| {
                let open = Step::Open(name.clone(), flags | *access);
                [open.clone(), Step::Read(name.clone()), open, Step::Read(name.clone())]
            });
            // One after the other, each with what the ones before have left.
            cases.push(steps.collect());
        }
    }
    cases
}

/// `impermissible`.
fn strangers() -> Vec<Vec<Step>> {
    let mut cases = Vec::new();
    for name in written() {
        for access in ACCESSES {
            for more in [OFlags::empty(), OFlags::TRUNC, OFlags::CREATE] {
                let open = |who| Step::OpenAs(who, name.clone(), access | more);
                let read = |who| Step::OpenAs(who, name.clone(), OFlags::RDONLY);
                cases.push(vec![open(1), open(1), read(1), read(0), open(0), read(0), read(1), open(2)]);
            }
        }
        let cut = |who, size| Step::TruncateAs(who, name.clone(), size);
        let touch = |who| Step::TouchAs(who, name.clone());
        cases.push(vec![cut(2, 4), cut(1, 5), cut(0, 3), Step::Read(name.clone())]);
        cases.push(vec![touch(2), touch(1), touch(0), Step::Read(name.clone())]);
    }
    cases
}

fn truncations() -> Vec<Vec<Step>> {
    let all = written().into_iter().flat_map(|name| {
        [0, 1, 11, 12, 13, 29].map(|n| vec![Step::TruncateAs(0, name.clone(), n), Step::Read(name.clone())])
    });
    all.collect()
}

/// `unlink`, `rmdir`, `mkdir`, `readlink`, `rmtree`, each twice, and each after each.
fn single() -> Vec<Vec<Step>> {
    let mut cases = Vec::new();
    for name in written() {
        let steps = [Step::Unlink, Step::Rmdir, Step::Mkdir, Step::ReadLink, Step::RemoveTree];
        for first in steps {
            for second in steps {
                let again = Step::Open(name.clone(), OFlags::CREATE | OFlags::WRONLY);
                cases.push(vec![first(name.clone()), second(name.clone()), again, Step::Read(name.clone())]);
            }
        }
    }
    cases
}

/// `hard-link*` and `rename-*`: from each to each, done again, back, and what is left of it used.
fn pairs() -> Vec<Vec<Step>> {
    let mut cases = Vec::new();
    let names = written();
    let targets =
        names.iter().cloned().chain(["newdir/x", "empty/x", "dir/x", "dir/pop", "."].map(str::to_owned));
    for (n, to) in targets.enumerate() {
        for (m, from) in names.iter().enumerate() {
            // A slash on both sides says no more than on one.
            if n % 2 == 1 && m % 2 == 1 && n < names.len() {
                continue;
            }
            let (from, to) = (|| from.clone(), || to.clone());
            cases.push(vec![
                Step::Rename(from(), to()),
                Step::Rename(from(), to()),
                Step::Read(to()),
                Step::Rename(to(), from()),
                Step::Read(from()),
                Step::Unlink(to()),
                Step::Rmdir(from()),
            ]);
            cases.push(vec![
                Step::Link(from(), to()),
                Step::Open(to(), OFlags::WRONLY | OFlags::APPEND),
                Step::Read(from()),
                Step::Rename(to(), "moved".into()),
                Step::Unlink(from()),
                Step::Read("moved".into()),
                Step::Link("moved".into(), from()),
            ]);
        }
    }
    cases
}

/// `rename-new-*`, `rename-pop-dir`, `rename-move-dir`, `rename-exdev`: what was moved is moved on, also into another
/// directory, and something else takes its name.
fn chains() -> Vec<Vec<Step>> {
    let mut cases = Vec::new();
    for name in NAMES {
        let step = |from: &str, to: &str| Step::Rename(from.into(), to.into());
        cases.push(vec![
            step(name, "x"),
            step(name, "y"),
            step("x", "y"),
            step("y", "newdir/z"),
            Step::Read(name.into()),
        ]);
        cases.push(vec![
            step(name, "empty/x"),
            step("empty/x", "empty/y"),
            step("empty/y", "newdir/y"),
            Step::Rmdir("empty".into()),
        ]);
        cases.push(vec![
            step(name, "x"),
            Step::Mkdir(name.into()),
            step(name, "x"),
            step("x", name),
            Step::RemoveTree("x".into()),
        ]);
        cases.push(vec![
            Step::RemoveTree(name.into()),
            Step::Mkdir(name.into()),
            step("file", &format!("{name}/file")),
            step(name, "newdir/moved"),
            Step::Mkdir(name.into()),
            step("newdir/moved", name),
            Step::RemoveTree(name.into()),
        ]);
    }
    cases
}

/// How one of the names of a ring comes to be.
type Make = fn(usize) -> Vec<Step>;

/// `rename-mass*`: seven names, one of them free, and everything goes round four times and a half.
fn rings() -> Vec<Vec<Step>> {
    const SIZE: usize = 7;
    let kinds: [(&str, Make); 5] = [
        ("files", |n| vec![Step::Open(format!("ring{n}"), OFlags::CREATE | OFlags::WRONLY)]),
        ("directories", |n| vec![Step::Mkdir(format!("ring{n}"))]),
        ("full", |n| {
            vec![
                Step::Mkdir(format!("ring{n}")),
                Step::Open(format!("ring{n}/a"), OFlags::CREATE | OFlags::WRONLY),
            ]
        }),
        ("links", |n| vec![Step::Link("file".into(), format!("ring{n}"))]),
        ("lower", |n| vec![Step::Rename(OBJECTS[n].into(), format!("ring{n}"))]),
    ];
    let round = |make: Make| {
        let mut steps: Vec<Step> = (0..SIZE - 1).flat_map(make).collect();
        let mut gap = SIZE - 1;
        for _ in 0..SIZE * 9 / 2 {
            let next = (gap + SIZE - 1) % SIZE;
            steps.push(Step::Rename(format!("ring{next}"), format!("ring{gap}")));
            gap = next;
        }
        steps.extend((0..SIZE).map(|n| Step::Read(format!("ring{n}"))));
        steps.extend((0..SIZE).map(|n| Step::RemoveTree(format!("ring{n}"))));
        steps
    };
    kinds.iter().map(|(_, make)| round(*make)).collect()
}

impl Step {
    /// What came of it, in words that do not depend on where it was done.
    fn apply(&self, root: &Path) -> Result<String, i32> {
        // Not joined by `Path`, which would take a slash at the end away.
        let at = |name: &String| PathBuf::from(format!("{}/{name}", root.display()));
        let raw = |done: rustix::io::Result<()>| done.map(|()| String::new()).map_err(|e| e.raw_os_error());
        match self {
            Self::Open(name, flags) => open(&at(name), *flags),
            Self::OpenAs(who, name, flags) => by(*who, || open(&at(name), *flags)),
            Self::TruncateAs(who, name, size) => by(*who, || {
                // By its path: opening it would need another right.
                let size = libc::off_t::try_from(*size).unwrap();
                nix::unistd::truncate(&at(name), size).map(|()| String::new()).map_err(|e| e as i32)
            }),
            Self::TouchAs(who, name) => by(*who, || {
                let then = Timespec { tv_sec: 1000, tv_nsec: 5 };
                let times = Timestamps { last_access: then, last_modification: then };
                raw(rustix::fs::utimensat(CWD, at(name), &times, AtFlags::empty()))
            }),
            Self::Read(name) => read(&at(name)),
            Self::Link(from, to) => raw(rustix::fs::linkat(CWD, at(from), CWD, at(to), AtFlags::empty())),
            Self::Rename(from, to) => raw(rustix::fs::rename(at(from), at(to))),
            Self::Unlink(name) => raw(rustix::fs::unlink(at(name))),
            Self::Rmdir(name) => raw(rustix::fs::rmdir(at(name))),
            Self::Mkdir(name) => raw(rustix::fs::mkdir(at(name), Mode::from_raw_mode(0o755))),
            Self::ReadLink(name) => {
                let target = rustix::fs::readlink(at(name), Vec::new()).map_err(|e| e.raw_os_error())?;
                Ok(format!("{target:?}"))
            }
            Self::RemoveTree(name) => {
                fs::remove_dir_all(at(name)).map(|()| String::new()).map_err(|e| errno(&e))
            }
        }
    }
}

fn errno(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(-1)
}

/// Opens it, reads what it may, and writes what it may.
fn open(path: &Path, flags: OFlags) -> Result<String, i32> {
    let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    let file = File::from(fd.map_err(|e| e.raw_os_error())?);
    let mut said = String::new();
    if !flags.contains(OFlags::WRONLY) {
        let mut bytes = [0; 100];
        let n = file.read_at(&mut bytes, 0).map_err(|e| errno(&e));
        said += &format!("{:?}", n.map(|n| bytes[..n].to_vec()));
    }
    if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        let n = io::Write::write(&mut &file, b"q").map_err(|e| errno(&e))?;
        said += &format!(" wrote {n}, {} long", file.metadata().map_err(|e| errno(&e))?.len());
    }
    Ok(said)
}

fn read(path: &Path) -> Result<String, i32> {
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            Ok(format!("{names:?}"))
        }
        Err(e) if errno(&e) == libc::ENOTDIR => {
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
            io::read_to_string(file.map_err(|e| errno(&e))?).map_err(|e| errno(&e))
        }
        Err(e) => Err(errno(&e)),
    }
}

/// Does it as a user of the namespace: ids are those of a thread, to the kernel.
fn by(who: u32, work: impl FnOnce() -> Result<String, i32> + Send) -> Result<String, i32> {
    if who == 0 {
        return work();
    }
    let other = || {
        let (uid, gid) = (Uid::from_raw(who), Gid::from_raw(who));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(other).join().unwrap())
}
