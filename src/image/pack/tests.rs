//! What is packed is what was there, by the witness of this crate's reader and of GNU tar.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn archive_of(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Owners::Seen);
    writer.tree(open(dir), OsStr::new("."), b"top", &|_| false).unwrap();
    assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
    bytes
}

#[test]
fn gnu_tar_unpacks_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "ü".repeat(60));
    std::fs::create_dir(dir.path().join("d".repeat(120))).unwrap();
    std::fs::File::create(dir.path().join(&long)).and_then(|mut f| f.write_all(b"long name")).unwrap();
    symlink("t".repeat(150), dir.path().join("link")).unwrap();
    std::fs::hard_link(dir.path().join(&long), dir.path().join("second")).unwrap();
    let file = std::fs::File::create(dir.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    file.set_permissions(PermissionsExt::from_mode(0o640)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    file.set_modified(old).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let bytes = archive_of(dir.path());
    assert!(bytes.len() < 64 << 10, "holes are left out: {}", bytes.len());

    let to = tempfile::tempdir().unwrap();
    let archive = to.path().join("a.tar");
    std::fs::File::create(&archive).and_then(|mut f| f.write_all(&bytes)).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&archive).current_dir(to.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let top = to.path().join("top");
    assert_eq!(std::fs::read(top.join("second")).unwrap(), b"long name");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(top.join(&long)).unwrap()), 2);
    assert_eq!(std::fs::read_link(top.join("link")).unwrap().as_os_str().len(), 150);
    let sparse = std::fs::metadata(top.join("sparse")).unwrap();
    assert_eq!((sparse.len(), sparse.permissions().mode() & 0o777), (3 << 20, 0o640));
    assert_eq!(sparse.modified().unwrap(), old);
    assert!(std::fs::read(top.join("sparse")).unwrap()[1 << 20..].starts_with(b"middle"));
    assert!(!top.join("socket").exists());
}

#[test]
fn our_reader_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(dir.path().join("a")).and_then(|mut f| f.write_all(&[7; 1000])).unwrap();
    let file = std::fs::File::create(dir.path().join("hole")).unwrap();
    file.set_len(1 << 20).unwrap();
    let set = rustix::fs::fsetxattr(&file, "user.note", b"a\nb\0c", rustix::fs::XattrFlags::empty());
    let bytes = archive_of(dir.path());
    let mut reader = super::super::unpack::Reader::new(&bytes[..]);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.name == b"top/hole" {
            assert_eq!(entry.sparse.as_ref().unwrap().real_size, 1 << 20);
            assert_eq!(entry.xattrs.len(), usize::from(set.is_ok()));
        }
        names.push(String::from_utf8(entry.name).unwrap());
    }
    assert_eq!(names, ["top/", "top/a", "top/hole"]);
}

#[test]
fn a_path_that_no_reader_takes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut here = open(dir.path());
    for _ in 0..50 {
        rustix::fs::mkdirat(&here, "x".repeat(100), Mode::RWXU).unwrap();
        here = open_directory(&here, OsStr::new(&"x".repeat(100))).unwrap().unwrap();
    }
    let mut writer = Writer::new(std::io::sink(), Owners::Seen);
    let error = writer.tree(open(dir.path()), OsStr::new("."), b"", &|_| false).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}
