//! Random sequences of operations on the kernel's overlay and on ours: every result and the trees are compared, and
//! in the end each reads what the other wrote.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};

use super::Case;
use super::mounts::Dirs;
use super::random::Random;
use super::tree::{assert_same, describe, hash};

pub const CASES: &[Case] = &[("differential", differential)];

const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];
const STEPS: usize = 250;

fn differential(base: &Path) {
    let set = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let mut results: HashMap<String, (u32, u32)> = HashMap::new();
    let (first, count) = (set("OVERLAY_SEED", 1), set("OVERLAY_SEEDS", 60));
    for seed in first..first + count {
        let dir = base.join(seed.to_string());
        fs::create_dir(&dir).unwrap();
        run(&dir, seed, &mut results);
        fs::remove_dir_all(&dir).or_else(|_| remove(&dir)).unwrap();
    }
    // A run in which an operation never succeeds compares nothing.
    let idle: Vec<_> = results.iter().filter(|(op, (done, _))| *done == 0 && *op != "Device").collect();
    assert!(idle.is_empty() || count < 20, "never done: {idle:?}");
    println!("{results:?}");
}

fn remove(dir: &Path) -> io::Result<()> {
    std::process::Command::new("rm").arg("-rf").arg(dir).status().map(|_| ())
}

fn run(base: &Path, seed: u64, results: &mut HashMap<String, (u32, u32)>) {
    let mut random = Random::new(seed);
    let lowers = ["lower1", "lower2", "lower3"];
    let ours = Dirs::new(base, "ours", &lowers);
    let theirs = Dirs::new(base, "theirs", &lowers);
    populate(&mut random, &ours.lowers[2], None, 0);
    populate(&mut random, &ours.lowers[1], Some(&ours.lowers[2]), 0);
    populate(&mut random, &ours.lowers[0], Some(&ours.lowers[1]), 0);
    {
        let (a, b) = (theirs.kernel(), ours.fuse());
        assert_same(&format!("seed {seed}: before"), &describe(&a.at), &describe(&b.at));
        let mut held = Held::default();
        let mut story = Vec::new();
        let mut paths = Paths { random, there: Vec::new(), dirs: Vec::new() };
        for step in 0..STEPS {
            paths.look(&a.at);
            let op = Op::random(&mut paths);
            if matches!(&op, Op::Link(from, _) if !is_new(&theirs.upper.join(from))) {
                continue;
            }
            let expected = op.apply(&a.at, &mut held.theirs);
            let got = op.apply(&b.at, &mut held.ours);
            if expected == Err(libc::ESTALE) {
                // The kernel's overlay lost its way in its own upper layer; nothing is to be learnt from it then.
                println!("seed {seed}: the kernel gave up at step {step}, {op:?}");
                return;
            }
            let name = format!("{op:?}").split('(').next().unwrap().to_owned();
            let (done, refused) = results.entry(name).or_default();
            *if expected.is_ok() { done } else { refused } += 1;
            story.push(format!("{step}: {op:?} = {expected:?}"));
            assert_eq!(expected, got, "seed {seed}, kernel left, ours right:\n{}", story.join("\n"));
            if step % 10 == 9 {
                let what = || format!("seed {seed}, kernel above, ours below, after\n{}", story.join("\n"));
                let (a, b) = (describe(&a.at), describe(&b.at));
                if a != b {
                    assert_same(&what(), &a, &b);
                }
            }
        }
    }
    let (a, b) = (describe_after(&theirs, &ours, true), describe_after(&theirs, &ours, false));
    assert_same(&format!("seed {seed}: what ours wrote, read by the kernel above, ours below"), &a.1, &b.1);
    assert_same(&format!("seed {seed}: what the kernel wrote, read by itself above, ours below"), &a.0, &b.0);
    assert_same(&format!("seed {seed}: what the kernel wrote above, ours below"), &a.0, &a.1);
}

/// Both writable layers as the kernel, or as ours, reads them.
fn describe_after(
    theirs: &Dirs,
    ours: &Dirs,
    by_kernel: bool,
) -> (std::collections::BTreeMap<String, String>, std::collections::BTreeMap<String, String>) {
    let read = |dirs: &Dirs| {
        if by_kernel {
            let mount = dirs.kernel();
            describe(&mount.at)
        } else {
            let mount = dirs.fuse();
            describe(&mount.at)
        }
    };
    (read(theirs), read(ours))
}

/// Makes a layer: files, directories, links, fifos; whiteouts and opaque directories where the layer under it, `below`,
/// has the directory. (Elsewhere the kernel lists whiteouts as if they were names.)
fn populate(random: &mut Random, dir: &Path, below: Option<&Path>, depth: u32) {
    for name in NAMES {
        let path = dir.join(name);
        match random.below(10) {
            0..=2 => {
                fs::write(&path, vec![b'x'; usize::try_from(random.below(9000)).unwrap()]).unwrap();
                let mode = *random.pick(&[0o644u32, 0o600, 0o755, 0o4755, 0o2755]);
                rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).unwrap();
                if random.chance(30) {
                    rustix::fs::setxattr(&path, "user.x", b"below", XattrFlags::empty()).unwrap();
                }
            }
            3..=5 if depth < 2 => {
                fs::create_dir(&path).unwrap();
                let under = below.map(|b| b.join(name)).filter(|b| b.is_dir() && !b.is_symlink());
                let opaque = under.is_some() && random.chance(20);
                populate(random, &path, under.filter(|_| !opaque).as_deref(), depth + 1);
                if opaque {
                    rustix::fs::setxattr(&path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
                }
            }
            6 => symlink(random.pick(NAMES), &path).unwrap(),
            7 if below.is_some() => mknod(&path, FileType::CharacterDevice).unwrap(),
            8 if random.chance(30) => mknod(&path, FileType::Fifo).unwrap(),
            _ => continue,
        }
        if random.chance(40) {
            let owner = u32::try_from(random.below(3)).unwrap() * 500;
            let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
            rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        if random.chance(50) {
            old_times(&path, random.below(900_000_000)).unwrap();
        }
    }
}

/// Whether the file was made above. To links of others the kernel's overlay has an inode for each name, and goes by a
/// mode and a size that the other name has changed since.
fn is_new(above: &Path) -> bool {
    let origin = rustix::fs::lgetxattr(above, "user.overlay.origin", [0u8; 256].as_mut_slice());
    // Only files carry the mark of where they came from.
    above.symlink_metadata().is_ok_and(|m| m.is_file()) && origin == Err(rustix::io::Errno::NODATA)
}

fn mknod(path: &Path, kind: FileType) -> rustix::io::Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), 0)
}

fn old_times(path: &Path, seconds: u64) -> rustix::io::Result<()> {
    let at = Timespec { tv_sec: i64::try_from(seconds).unwrap(), tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: at, last_modification: at };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Files that stay open over other operations, by number.
#[derive(Default)]
struct Held {
    ours: HashMap<u64, File>,
    theirs: HashMap<u64, File>,
}

#[derive(Debug, Clone)]
enum Op {
    Mkdir(String, u32),
    Create(String, u32),
    Write(String, u64, Bytes),
    Append(String, Bytes),
    Truncate(String, u64),
    Punch(String, u64, u64),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, u32),
    Link(String, String),
    Symlink(String, String),
    Fifo(String),
    Device(String),
    Chmod(String, u32),
    Chown(String, u32, u32),
    Times(String, u64),
    SetXattr(String, &'static str, Bytes, bool),
    RemoveXattr(String, &'static str),
    GetXattr(String, &'static str),
    Stat(String),
    List(String),
    Read(String),
    Hold(String, u64),
    WriteHeld(u64, u64, Bytes),
    ReadHeld(u64),
    Release(u64),
    RemoveAll(String),
    Copy(String, String),
    Acl(String),
}

/// Content that prints short.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    length: usize,
    seed: u64,
}

impl Bytes {
    fn get(self) -> Vec<u8> {
        Random::new(self.seed).bytes(self.length)
    }
}

/// Where operations go: mostly to what is there, or into it.
struct Paths {
    random: Random,
    there: Vec<String>,
    dirs: Vec<String>,
}

impl Paths {
    fn look(&mut self, root: &Path) {
        self.there.clear();
        self.dirs.clear();
        let mut rest = vec![String::new()];
        while let Some(dir) = rest.pop() {
            let Ok(entries) = fs::read_dir(root.join(&dir)) else { continue };
            let mut names: Vec<_> = entries.map(|e| e.unwrap()).collect();
            names.sort_by_key(fs::DirEntry::file_name);
            for entry in names {
                let path = format!("{dir}{}", entry.file_name().to_string_lossy());
                if entry.file_type().unwrap().is_dir() && dir.matches('/').count() < 4 {
                    self.dirs.push(path.clone());
                    rest.push(format!("{path}/"));
                }
                self.there.push(path);
            }
        }
    }

    /// A name that is perhaps not taken.
    fn fresh(&mut self) -> String {
        let name = *self.random.pick::<&str>(NAMES);
        match self.random.below(10) {
            0..=6 if !self.dirs.is_empty() => format!("{}/{name}", self.random.pick(&self.dirs)),
            7 => self.path(),
            _ => name.to_owned(),
        }
    }

    fn path(&mut self) -> String {
        let name = *self.random.pick::<&str>(NAMES);
        match self.random.below(10) {
            0..=5 if !self.there.is_empty() => self.random.pick(&self.there).clone(),
            6..=8 if !self.there.is_empty() => format!("{}/{name}", self.random.pick(&self.there)),
            _ => name.to_owned(),
        }
    }
}

impl Op {
    fn random(paths: &mut Paths) -> Self {
        const XATTRS: &[&str] = &["user.x", "user.y", "user.overlay.opaque", "user.overlay.x"];
        let mode = *paths.random.pick(&[0o644u32, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o2775]);
        let bytes =
            |r: &mut Random| Bytes { length: usize::try_from(r.below(6000)).unwrap(), seed: r.next() };
        match paths.random.below(46) {
            0..=2 => Self::Mkdir(paths.fresh(), mode),
            3..=6 => Self::Create(paths.fresh(), mode),
            7..=9 => Self::Write(paths.path(), paths.random.below(5000), bytes(&mut paths.random)),
            10 => Self::Append(paths.fresh(), bytes(&mut paths.random)),
            11 => Self::Truncate(paths.path(), paths.random.below(9000)),
            12 => Self::Punch(paths.path(), paths.random.below(5000), 1 + paths.random.below(5000)),
            13..=16 => Self::Unlink(paths.path()),
            17..=19 => Self::Rmdir(paths.path()),
            20..=24 => Self::Rename(paths.path(), paths.fresh(), *paths.random.pick(&[0, 0, 0, 1, 2])),
            25..=26 => Self::Link(paths.path(), paths.fresh()),
            27 => Self::Symlink((*paths.random.pick(NAMES)).to_owned(), paths.fresh()),
            28 => Self::Fifo(paths.fresh()),
            29 => Self::Device(paths.fresh()),
            30..=31 => Self::Chmod(paths.path(), mode),
            32 => Self::Chown(
                paths.path(),
                u32::try_from(paths.random.below(2000)).unwrap(),
                u32::try_from(paths.random.below(2000)).unwrap(),
            ),
            33 => Self::Times(paths.path(), paths.random.below(900_000_000)),
            34 => Self::SetXattr(
                paths.path(),
                paths.random.pick::<&str>(XATTRS),
                Bytes { length: 20, seed: paths.random.next() },
                paths.random.chance(20),
            ),
            35 => Self::RemoveXattr(paths.path(), paths.random.pick::<&str>(XATTRS)),
            36 => Self::GetXattr(paths.path(), paths.random.pick::<&str>(XATTRS)),
            37 => Self::Stat(paths.path()),
            38 => Self::List(paths.path()),
            39 => Self::Read(paths.path()),
            40 => Self::Hold(paths.path(), paths.random.below(4)),
            41 => Self::WriteHeld(paths.random.below(4), paths.random.below(3000), bytes(&mut paths.random)),
            42 => Self::ReadHeld(paths.random.below(4)),
            43 => {
                if paths.random.chance(50) {
                    Self::Release(paths.random.below(4))
                } else {
                    Self::Acl(paths.path())
                }
            }
            44 => Self::Copy(paths.path(), paths.path()),
            _ if paths.random.chance(50) => Self::RemoveAll(paths.path()),
            _ => Self::Mkdir(paths.fresh(), mode),
        }
    }

    fn apply(&self, root: &Path, held: &mut HashMap<u64, File>) -> Result<String, i32> {
        let at = |path: &String| root.join(path);
        let done = |()| String::new();
        let raw = |e: rustix::io::Errno| e.raw_os_error();
        match self {
            Self::Mkdir(p, mode) => {
                rustix::fs::mkdir(at(p), Mode::from_raw_mode(*mode)).map(done).map_err(raw)
            }
            Self::Create(p, mode) => {
                plain(OpenOptions::new().write(true).create_new(true).mode(*mode).open(at(p)).map(|_| ()))
            }
            Self::Write(p, offset, bytes) => {
                plain(write(&at(p)).and_then(|f| f.write_all_at(&bytes.get(), *offset)))
            }
            Self::Append(p, bytes) => {
                let file =
                    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(at(p));
                plain(file.and_then(|mut f| io::Write::write_all(&mut f, &bytes.get())))
            }
            Self::Truncate(p, size) => plain(write(&at(p)).and_then(|f| f.set_len(*size))),
            Self::Punch(p, offset, length) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let file = write(&at(p)).map_err(errno)?;
                rustix::fs::fallocate(&file, flags, *offset, *length).map(done).map_err(raw)
            }
            Self::Unlink(p) => rustix::fs::unlink(at(p)).map(done).map_err(raw),
            Self::Rmdir(p) => rustix::fs::rmdir(at(p)).map(done).map_err(raw),
            Self::Rename(from, to, flags) => {
                let flags = RenameFlags::from_bits_retain(*flags);
                rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags).map(done).map_err(raw)
            }
            Self::Link(from, to) => {
                rustix::fs::linkat(CWD, at(from), CWD, at(to), AtFlags::empty()).map(done).map_err(raw)
            }
            Self::Symlink(target, p) => plain(symlink(target, at(p))),
            Self::Fifo(p) => mknod(&at(p), FileType::Fifo).map(done).map_err(raw),
            Self::Device(p) => mknod(&at(p), FileType::CharacterDevice).map(done).map_err(raw),
            Self::Chmod(p, mode) => {
                rustix::fs::chmod(at(p), Mode::from_raw_mode(*mode)).map(done).map_err(raw)
            }
            Self::Chown(p, uid, gid) => {
                let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                rustix::fs::chownat(CWD, at(p), uid, gid, AtFlags::SYMLINK_NOFOLLOW).map(done).map_err(raw)
            }
            Self::Times(p, seconds) => old_times(&at(p), *seconds).map(done).map_err(raw),
            Self::SetXattr(p, name, value, only_new) => {
                let flags = if *only_new { XattrFlags::CREATE } else { XattrFlags::empty() };
                rustix::fs::lsetxattr(at(p), *name, &value.get(), flags).map(done).map_err(raw)
            }
            Self::RemoveXattr(p, name) => rustix::fs::lremovexattr(at(p), *name).map(done).map_err(raw),
            Self::GetXattr(p, name) => {
                let mut value = [0u8; 100];
                rustix::fs::lgetxattr(at(p), *name, &mut value).map(|n| hash(&value[..n])).map_err(raw)
            }
            Self::Stat(p) => {
                let stat = rustix::fs::statat(CWD, at(p), AtFlags::SYMLINK_NOFOLLOW).map_err(raw)?;
                let links = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    0
                } else {
                    stat.st_nlink
                };
                Ok(format!("{:o} {links} {}", stat.st_mode, stat.st_uid))
            }
            Self::List(p) => {
                let mut names: Vec<_> =
                    fs::read_dir(at(p)).map_err(errno)?.map(|e| e.unwrap().file_name()).collect();
                names.sort();
                Ok(format!("{names:?}"))
            }
            Self::Read(p) => {
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK)
                    .open(at(p))
                    .map_err(errno)?;
                contents(&file)
            }
            Self::Hold(p, slot) => {
                let file = write(&at(p)).map_err(errno)?;
                held.insert(*slot, file);
                Ok(String::new())
            }
            Self::WriteHeld(slot, offset, bytes) => {
                let Some(file) = held.get(slot) else { return Ok(String::new()) };
                plain(file.write_all_at(&bytes.get(), *offset))?;
                let meta = file.metadata().map_err(errno)?;
                Ok(format!("{} {}", meta.len(), meta.nlink()))
            }
            Self::ReadHeld(slot) => held.get(slot).map_or(Ok(String::new()), contents),
            Self::Release(slot) => {
                held.remove(slot);
                Ok(String::new())
            }
            Self::RemoveAll(p) => plain(fs::remove_dir_all(at(p))),
            Self::Copy(from, to) => copy_range(&at(from), &at(to)),
            Self::Acl(p) => acl(&at(p)),
        }
    }
}

fn errno(e: io::Error) -> i32 {
    e.raw_os_error().unwrap_or(-1)
}

fn plain(result: io::Result<()>) -> Result<String, i32> {
    result.map(|()| String::new()).map_err(errno)
}

fn write(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn contents(file: &File) -> Result<String, i32> {
    let mut bytes = vec![0; 20000];
    let n = file.read_at(&mut bytes, 0).map_err(errno)?;
    Ok(format!("{n} {}", hash(&bytes[..n])))
}

fn copy_range(from: &Path, to: &PathBuf) -> Result<String, i32> {
    let source = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(from).map_err(errno)?;
    let target = write(to).map_err(errno)?;
    let (mut input, mut output) = (10, 20);
    let n = rustix::fs::copy_file_range(&source, Some(&mut input), &target, Some(&mut output), 3000);
    n.map(|n| n.to_string()).map_err(|e| e.raw_os_error())
}

/// Gives user 1000 the right to read, in the kernel's binary form.
fn acl(path: &Path) -> Result<String, i32> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1u16, 6u16, !0u32), (2, 4, 1000), (4, 4, !0), (16, 6, !0), (32, 0, !0)] {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    let name = CString::new("system.posix_acl_access").unwrap();
    let set = rustix::fs::lsetxattr(path, &name, &value, XattrFlags::empty());
    set.map(|()| String::new()).map_err(|e| e.raw_os_error())
}
