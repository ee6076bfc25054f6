//! A whole tree as text: what two file systems must agree on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType};

/// A line for each path below `root`: type, mode, owner, links, size, old times, content, attributes.
pub fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    walk(root, root, &mut lines);
    lines
}

fn walk(root: &Path, path: &Path, lines: &mut BTreeMap<String, String>) {
    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    let stat = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(e) => {
            lines.insert(name, format!("stat: {e}"));
            return;
        }
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut line = format!("{:o} {}:{}", stat.st_mode, stat.st_uid, stat.st_gid);
    // Of directories the kernel's overlay shows 1 as soon as they are merged, ours when somebody asks after that.
    if kind != FileType::Directory {
        line += &format!(" n{}", stat.st_nlink);
    }
    // Times that nobody set are those of the run.
    if kind != FileType::Directory && stat.st_mtime < 1_000_000_000 {
        line += &format!(" m{}.{}", stat.st_mtime, stat.st_mtime_nsec);
    }
    match kind {
        FileType::RegularFile => {
            let content = fs::read(path);
            line += &format!(" s{} {}", stat.st_size, content.map_or_else(|e| e.to_string(), |c| hash(&c)));
        }
        FileType::Symlink => line += &format!(" -> {}", fs::read_link(path).unwrap().display()),
        FileType::Directory => match fs::read_dir(path) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.unwrap();
                    let told = entry.file_type().unwrap();
                    let real = fs::symlink_metadata(entry.path()).map(|m| m.file_type());
                    assert!(real.is_ok_and(|r| r == told), "{}: listed as {told:?}", entry.path().display());
                    walk(root, &entry.path(), lines);
                }
            }
            Err(e) => line += &format!(" unreadable: {e}"),
        },
        _ => line += &format!(" dev{}", stat.st_rdev),
    }
    for (key, value) in xattrs(path) {
        line += &format!(" {key}={value}");
    }
    lines.insert(name, line);
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 65536];
        let got = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value);
        let text = got.map_or_else(|e| e.to_string(), |n| hash(&value[..n]));
        found.insert(String::from_utf8_lossy(name).into_owned(), text);
    }
    found
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> String {
    let step = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Panics with what differs.
#[track_caller]
pub fn assert_same(what: &str, a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) {
    if a == b {
        return;
    }
    let mut text = String::new();
    for name in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
        if a.get(name) != b.get(name) {
            let show = |line: Option<&String>| line.cloned().unwrap_or_else(|| "-".into());
            text += &format!("  {name:?}\n    {}\n    {}\n", show(a.get(name)), show(b.get(name)));
        }
    }
    panic!("{what}:\n{text}");
}
