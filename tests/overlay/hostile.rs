//! Layers as nobody makes them: fixed ones that contradict each other, and such that a few bytes choose.
//!
//! What is made stays below the directory given, and links point out of it. Whoever may not make a thing goes without.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kelp::overlay::{Layers, Upper};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::sequence::{Choices, NAMES};

/// What no server may touch, beside the layers.
const OUTSIDE: &str = "outside";

/// Two lower layers that contradict each other and point out of themselves, and an upper one.
pub fn fixed(base: &Path) -> Layers {
    let at = |name: &str| base.join(name);
    for dir in ["l0/dir/deep", "l0/up", "l1/file", "l1/dir", "l1/gone", "upper", "work"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    fs::write(at(OUTSIDE), "never").unwrap();
    fs::write(at("l0/file"), "content").unwrap();
    fs::hard_link(at("l0/file"), at("l0/dir/link")).unwrap();
    symlink("../outside", at("l1/up")).unwrap();
    symlink("loop", at("l0/loop")).unwrap();
    symlink("/", at("l1/dir/deep")).unwrap();
    let special = [
        ("l0/fifo", FileType::Fifo),
        ("l0/sock", FileType::Socket),
        ("l0/gone", FileType::CharacterDevice),
        ("l1/dir/gone", FileType::CharacterDevice),
        ("upper/loop", FileType::CharacterDevice),
    ];
    for (name, kind) in special {
        // Whoever may not make devices has no whiteouts in his layers.
        let _ = rustix::fs::mknodat(CWD, at(name), kind, Mode::RUSR | Mode::WUSR, 0);
    }
    fs::write(at("l0/.wh.file"), "").unwrap();
    for name in ["n".repeat(255), "\u{1}\n".into(), "...".into()] {
        fs::write(at("l1").join(name), "x").unwrap();
    }
    let attributes: [(&str, &str, &[u8]); 5] = [
        ("l0/dir", "user.overlay.opaque", &[b'z'; 1000]),
        ("l1/dir", "user.overlay.redirect", b"/../../../etc"),
        ("l0/file", "user.overlay.metacopy", b""),
        ("l0/file", "user.containers.override_stat", b"4294967296:-1:99999999999"),
        ("l0/file", "user.x", &[0; 2000]),
    ];
    for (path, name, value) in attributes {
        let _ = rustix::fs::lsetxattr(at(path), name, value, XattrFlags::empty());
    }
    opened(base, 2)
}

const TARGETS: &[&str] = &["loop", "up", ".", "..", "../outside", "/", "/etc", "dir/../loop", "", "\u{1}"];
const ATTRIBUTES: &[&str] = &[
    "user.overlay.opaque",
    "user.overlay.redirect",
    "user.overlay.metacopy",
    "user.overlay.origin",
    "user.overlay.whiteout",
    "user.overlay.overlay.opaque",
    "user.containers.override_stat",
    "user.x",
    "system.posix_acl_access",
    "system.posix_acl_default",
    "security.capability",
];
const VALUES: &[&[u8]] = &[
    b"y",
    b"n",
    b"x",
    b"yy",
    b"",
    b"/../../../etc",
    b"0:0:0755",
    b"1000:1000:0104755:0:0",
    b"4294967295:4294967296:-1",
    b"a:b:c",
    b"\xff\0\xff",
    b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff",
    b"\x01\0\0\x02\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\0\0\0\0",
];
const SIZES: &[usize] = &[1, 3, 255, 256, 1000, 3000, 65_536];

/// Up to four lower layers and an upper one of up to some sixty entries, each chosen by a few bytes.
pub fn grown(base: &Path, choices: &mut Choices<'_>) -> Layers {
    fs::write(base.join(OUTSIDE), "never").unwrap();
    let lowers = 1 + usize::from(choices.byte() % 4);
    let mut dirs: Vec<PathBuf> = (0..lowers).map(|n| base.join(format!("l{n}"))).collect();
    dirs.push(base.join("upper"));
    dirs.iter().chain([&base.join("work")]).for_each(|dir| fs::create_dir(dir).unwrap());
    let mut made = Vec::new();
    for _ in 0..choices.byte() % 64 {
        let dir = choices.pick(&dirs).clone();
        let name = *choices.pick(NAMES);
        if name.contains(&b'/') || name.iter().all(|b| *b == b'.') && name.len() < 3 {
            continue;
        }
        let path = dir.join(OsStr::from_bytes(name));
        entry(&path, choices, &made);
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) && path.starts_with(&dir) && dirs.len() < 30 {
            dirs.push(path.clone());
        }
        if choices.byte().is_multiple_of(2) {
            attribute(&path, choices);
        }
        made.push(path);
    }
    opened(base, lowers)
}

/// Something under a name that may be taken.
fn entry(path: &Path, choices: &mut Choices<'_>, made: &[PathBuf]) {
    let special = |kind| rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, 0).is_ok();
    let _ = match choices.byte() % 16 {
        0..=4 => fs::create_dir(path).is_ok(),
        // Not through a link, and not into a pipe.
        5..=7 => {
            let content = vec![b'x'; usize::from(choices.byte()) * 32];
            File::create_new(path).and_then(|mut file| file.write_all(&content)).is_ok()
        }
        8 => symlink(choices.pick(TARGETS), path).is_ok(),
        9 | 10 => special(FileType::CharacterDevice),
        11 => special(FileType::Fifo),
        12 => special(FileType::Socket),
        13 => made.get(usize::from(choices.byte())).is_some_and(|old| link_within(old, path)),
        _ => {
            let mode = u32::from(choices.byte()) << 4 & 0o7777;
            let link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
            // The owner keeps his way in: these are the layers of somebody who can read them.
            !link && fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o700)).is_ok()
        }
    };
}

/// A link into another layer would be no layer's own file.
fn link_within(old: &Path, new: &Path) -> bool {
    let shared = old.ancestors().find(|a| new.starts_with(a)).map_or(0, |a| a.components().count());
    let base = new.ancestors().find(|a| a.join(OUTSIDE).exists()).map_or(0, |a| a.components().count());
    shared > base && fs::hard_link(old, new).is_ok()
}

fn attribute(path: &Path, choices: &mut Choices<'_>) {
    let name = *choices.pick(ATTRIBUTES);
    let value = match choices.byte() % 4 {
        0 => vec![choices.byte(); *choices.pick(SIZES)],
        _ => choices.pick(VALUES).to_vec(),
    };
    let _ = rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty());
}

fn opened(base: &Path, lowers: usize) -> Layers {
    let open = |name: &str| -> OwnedFd { File::open(base.join(name)).unwrap().into() };
    Layers {
        lowers: (0..lowers).map(|n| open(&format!("l{n}"))).collect(),
        upper: Some(Upper { dir: open("upper"), work: open("work") }),
    }
}

/// All that has to be afterwards as it was before: the lower layers and what lies beside them.
pub fn untouchable(base: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(base).unwrap().flatten() {
        let name = entry.file_name();
        if name != "upper" && name != "work" {
            describe(&entry.path(), &mut lines);
        }
    }
    lines.sort();
    lines
}

fn describe(path: &Path, lines: &mut Vec<String>) {
    let stat = path.symlink_metadata().unwrap();
    let content = stat.is_file().then(|| {
        let mut hash = DefaultHasher::new();
        hash.write(&fs::read(path).unwrap());
        hash.finish()
    });
    let link = fs::read_link(path).ok();
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    lines.push(format!(
        "{path:?} {:o} {}:{} {} {} {}.{} {:?} {link:?} {:?}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.nlink(),
        stat.rdev(),
        stat.mtime(),
        stat.mtime_nsec(),
        content,
        &names[..length]
    ));
    if stat.is_dir() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| describe(&entry.path(), lines));
    }
}
