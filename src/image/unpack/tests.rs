//! Archives made block by block, unpacked into a real directory with a single-id map, which every user can do.

use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::EntryType;

use super::*;
use crate::sys::userns::{Extent, MapKind};

/// An archive under construction, with control over every field.
#[derive(Default)]
pub(super) struct Archive(pub(super) Vec<u8>);

impl Archive {
    pub(super) fn entry(mut self, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        self.push(kind, name, link, content, |_| {});
        self
    }

    fn push(
        &mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        content: &[u8],
        edit: fn(&mut tar::Header),
    ) {
        for (long, kind) in [(name, EntryType::GNULongName), (link, EntryType::GNULongLink)] {
            if long.len() > 100 {
                self.push(kind, b"././@LongLink", b"", &[long, b"\0"].concat(), |_| {});
            }
        }
        let mut header = tar::Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        let (n, l) = (name.len().min(100), link.len().min(100));
        gnu.name[..n].copy_from_slice(&name[..n]);
        gnu.linkname[..l].copy_from_slice(&link[..l]);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        edit(&mut header);
        header.set_cksum();
        self.raw(header.as_bytes());
        self.raw(content);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), b"", content)
    }

    pub(super) fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), b"", b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
    }

    pub(super) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length += 1;
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.push(EntryType::XHeader, b"PaxHeaders/x", b"", &content, |_| {});
        self
    }

    /// Unpacks into `layer` of a fresh directory that also holds `outside`, and checks `outside` afterwards.
    fn unpack(self) -> (tempfile::TempDir, Result<Unpacked, Error>) {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("layer")).unwrap();
        let result = self.unpack_into(&top.path().join("layer"), &single());
        let around: Vec<_> = std::fs::read_dir(top.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(around, ["layer"], "nothing was made outside");
        (top, result)
    }

    fn unpack_into(mut self, dir: &Path, ids: &IdMap) -> Result<Unpacked, Error> {
        self.0.resize(self.0.len() + 1024, 0);
        let limits = Limits { entries: Limits::ENTRIES, bytes: 1 << 30 };
        unpack(Cursor::new(self.0), std::fs::File::open(dir).unwrap().into(), ids, limits)
    }

    fn unpacked(self) -> tempfile::TempDir {
        let (top, result) = self.unpack();
        result.unwrap();
        top
    }

    fn refused(self) -> Error {
        self.unpack().1.unwrap_err()
    }
}

fn single() -> IdMap {
    let extent = vec![Extent { inside: 0, outside: rustix::process::getuid().as_raw(), count: 1 }];
    IdMap { uids: extent.clone(), gids: extent, kind: MapKind::Single }
}

fn get_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0u8; 256];
    let n = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(n);
    Some(buffer)
}

fn read(top: &tempfile::TempDir, name: &str) -> Vec<u8> {
    std::fs::read(top.path().join("layer").join(name)).unwrap()
}

fn meta(top: &tempfile::TempDir, name: &str) -> std::fs::Metadata {
    std::fs::symlink_metadata(top.path().join("layer").join(name)).unwrap()
}

#[test]
fn modes_times_links_and_fifos() {
    let mut archive = Archive::default().dir("d/").pax(&[("mtime", b"1234567890.123456789")]);
    archive.push(EntryType::Regular, b"d/su", b"", b"x", |h| h.set_mode(0o4755));
    let archive = archive
        .hard_link("d/again", "d/su")
        .symlink("d/l", "../d/su")
        .entry(EntryType::Fifo, b"d/fifo", b"", b"")
        .entry(EntryType::Char, b"d/null", b"", b"");
    let top = archive.unpacked();
    let su = meta(&top, "d/su");
    assert_eq!(su.permissions().mode() & 0o7777, 0o4755);
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!(su.ino(), meta(&top, "d/again").ino());
    assert_eq!(meta(&top, "d").mtime(), 1_000_000_000, "set after its content");
    assert_eq!(meta(&top, "d/l").mtime(), 1_000_000_000);
    assert!(meta(&top, "d/fifo").file_type().is_fifo());
    assert!(!top.path().join("layer/d/null").exists(), "device nodes are left out");
    assert_eq!(meta(&top, "").permissions().mode() & 0o7777, 0o755);
}

#[test]
fn missing_parents_are_made() {
    let top = Archive::default().file("a/b/c/d", b"x").unpacked();
    assert_eq!(read(&top, "a/b/c/d"), b"x");
    assert_eq!(meta(&top, "a/b").permissions().mode() & 0o7777, 0o755);
}

/// T-tar-trav.
#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "..", "/../x", "./../x", "a/.."] {
        assert!(matches!(Archive::default().file(name, b"x").refused(), Error::Refused { .. }), "{name}");
    }
    let nul = Archive::default().pax(&[("path", b"a\0b")]).file("x", b"x").refused();
    assert!(matches!(nul, Error::Refused { .. }));
    let top = Archive::default().file("/etc/absolute", b"x").unpacked();
    assert_eq!(read(&top, "etc/absolute"), b"x");
}

/// T-tar-root.
#[test]
fn the_root_stays_a_directory() {
    for name in ["./", ".", "/", "//"] {
        assert!(matches!(Archive::default().symlink(name, "tmp").refused(), Error::Refused { .. }), "{name}");
        assert!(matches!(Archive::default().file(name, b"").refused(), Error::Refused { .. }), "{name}");
    }
    assert!(Archive::default().hard_link("x", "/").unpack().1.is_err());
}

#[test]
fn a_file_through_a_link_stays_inside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    // The link dangles inside the root: an error, and nothing outside.
    let (_, result) = Archive::default().symlink("l", target).file("l/x", b"x").unpack();
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    // A directory that is a link in the same layer is followed inside the root.
    let top = Archive::default().dir("real").symlink("l", "/real").file("l/x", b"x").unpacked();
    assert_eq!(read(&top, "real/x"), b"x");
}

#[test]
fn links_out_of_the_root_are_refused() {
    assert!(matches!(Archive::default().symlink("a/l", "../../x").refused(), Error::Refused { .. }));
    assert!(matches!(Archive::default().hard_link("l", "../x").refused(), Error::Refused { .. }));
    let missing = Archive::default().hard_link("l", "/etc/passwd").refused();
    assert!(matches!(missing, Error::MissingTarget { .. }), "{missing}");
}

/// T-tar-chmod: attributes of an entry reach what the entry made, whatever stood there before.
#[test]
fn modes_do_not_travel_through_links() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::File::create(&victim).unwrap().set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    let top =
        Archive::default().symlink("l", victim.to_str().unwrap()).hard_link("h", "l").dir("l").unpacked();
    assert_eq!(std::fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(meta(&top, "l").is_dir());
    assert!(meta(&top, "h").is_symlink());
}

#[test]
fn the_later_entry_wins() {
    let top = Archive::default()
        .file("x", b"old")
        .dir("x")
        .file("x/inner", b"1")
        .symlink("x", "y")
        .dir("y")
        .file("x/through", b"2")
        .file("x", b"new")
        .unpacked();
    assert_eq!(read(&top, "x"), b"new");
    assert_eq!(read(&top, "y/through"), b"2");
    let top = Archive::default().dir("d").file("d/kept", b"k").dir("d").unpacked();
    assert_eq!(read(&top, "d/kept"), b"k", "a directory over a directory keeps what is in it");
}

#[test]
fn long_names() {
    let part = "n".repeat(250);
    let name = [part.as_str(); 15].join("/");
    let top = Archive::default().file(&name, b"x").symlink("l", &name).unpacked();
    assert_eq!(std::fs::read_link(top.path().join("layer/l")).unwrap().to_str().unwrap(), name);
    let layer = std::fs::File::open(top.path().join("layer")).unwrap();
    let found = crate::sys::path::read_in(&layer, &name, 10).unwrap();
    assert_eq!(found, b"x");
    assert!(Archive::default().file(&"x/".repeat(2048), b"").unpack().1.is_err(), "4 KB and no more");
}

#[test]
fn whiteouts_in_the_overlays_format() {
    let top = Archive::default()
        .dir("d")
        .file("d/.wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .file(".wh..wh.plnk/1.2", b"x")
        .file(".wh.back", b"")
        .dir("back")
        .file("twice", b"x")
        .file(".wh.twice", b"")
        .file(".wh.implied", b"")
        .file("implied/below/x", b"x")
        .file("e/.wh.f", b"")
        .file("e/f/.wh..wh..opq", b"")
        .unpacked();
    let gone = meta(&top, "d/gone");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let layer = top.path().join("layer");
    assert_eq!(get_xattr(&layer.join("d"), "user.overlay.opaque").unwrap(), b"y");
    assert_eq!(get_xattr(&layer.join("back"), "user.overlay.opaque").unwrap(), b"y");
    assert!(meta(&top, "twice").file_type().is_char_device());
    // A directory without an entry of its own is as much in a whiteout's place as one that has one.
    assert_eq!(read(&top, "implied/below/x"), b"x");
    let opaque = |name: &str| get_xattr(&layer.join(name), "user.overlay.opaque");
    assert_eq!(opaque("implied").unwrap(), b"y");
    assert_eq!(opaque("e/f").unwrap(), b"y");
    assert_eq!((opaque("implied/below"), opaque("e")), (None, None));
    assert_eq!(meta(&top, "implied").permissions().mode() & 0o7777, 0o755);
    assert!(!layer.join(".wh..wh.plnk").exists());
    for bad in [".wh.", ".wh..", "d/.wh..."] {
        assert!(matches!(Archive::default().file(bad, b"").refused(), Error::Refused { .. }), "{bad}");
    }
}

/// This thread's.
fn cpu_time() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.try_into().unwrap()
}

/// T-whiteout.
#[test]
fn many_opaque_marks_are_linear() {
    let of = |marks: usize| {
        let mut archive = Archive::default().dir("d");
        for i in 0..1000 {
            archive = archive.file(&format!("d/{i}"), b"");
        }
        for _ in 0..marks {
            archive = archive.file("d/.wh..wh..opq", b"");
        }
        let start = cpu_time();
        archive.unpacked();
        cpu_time() - start
    };
    // Against itself, and in processor time: a clock on the wall would measure what else the machine does. A cost
    // that grows with the square would be a hundred times as much.
    let (few, many) = (of(10_000), of(100_000));
    assert!(many < few * 30, "{few:?} for a tenth of {many:?}");
}

#[test]
fn attributes_that_mean_something_to_us_are_dropped() {
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.kept", b"1\n2"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.containers.override_stat", b"0:0:04755"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u"),
    ];
    let top = Archive::default().pax(records).dir("d").pax(records).file("f", b"").unpacked();
    for name in ["d", "f"] {
        let path = top.path().join("layer").join(name);
        assert_eq!(get_xattr(&path, "user.kept").unwrap(), b"1\n2");
        for (key, _) in &records[1..] {
            assert_eq!(get_xattr(&path, key.strip_prefix("SCHILY.xattr.").unwrap()), None, "{key}");
        }
    }
}

#[test]
fn owners_under_one_id_are_kept_beside() {
    let mut archive = Archive::default();
    archive.push(EntryType::Regular, b"f", b"", b"", |h| {
        h.set_uid(33);
        h.set_gid(44);
        h.set_mode(0o2640);
    });
    let top = archive.unpacked();
    let kept = get_xattr(&top.path().join("layer/f"), "user.containers.override_stat").unwrap();
    assert_eq!(kept, b"33:44:02640");
}

#[test]
fn an_id_outside_the_range_is_named() {
    let extent = |count| vec![Extent { inside: 0, outside: 100_000, count }];
    let ids = IdMap { uids: extent(65_536), gids: extent(1000), kind: MapKind::Range };
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::default();
    archive.push(EntryType::Regular, b"f", b"", b"", |h| h.set_gid(1000));
    let text = archive.unpack_into(dir.path(), &ids).unwrap_err().to_string();
    assert!(text.contains("gid 1000") && text.contains("0-999"), "{text}");
    let archive = Archive::default().pax(&[("uid", b"4294967296")]).file("f", b"");
    assert!(matches!(archive.unpack_into(dir.path(), &single()), Err(Error::UnmappedId { .. })));
    let archive = Archive::default().pax(&[("uid", b"4294967295")]).file("f", b"");
    assert!(matches!(archive.unpack_into(dir.path(), &single()), Err(Error::UnmappedId { .. })));
}

/// TARmageddon (CVE-2025-62518): the extended header's size is the size, also for what follows.
#[test]
fn the_extended_size_hides_no_entries() {
    let inner = {
        let mut a = Archive::default();
        a.push(EntryType::Regular, b"smuggled", b"", b"x", |_| {});
        a.0
    };
    let size = inner.len().to_string();
    let mut archive = Archive::default().pax(&[("size", size.as_bytes())]);
    let mut header = Archive::default();
    header.push(EntryType::Regular, b"outer", b"", b"", |_| {});
    archive.0.extend_from_slice(&header.0);
    archive.raw(&inner);
    let top = archive.file("after", b"y").unpacked();
    assert_eq!(read(&top, "outer").len(), inner.len());
    assert!(!top.path().join("layer/smuggled").exists());
    assert_eq!(read(&top, "after"), b"y");
}

#[test]
fn damage_is_refused() {
    let good = Archive::default().file("a", b"hello").0;
    for cut in [1, 511, 513, 600] {
        let archive = Archive(good[..cut].to_vec());
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { entries: 10, bytes: 1 << 20 };
        let result =
            unpack(Cursor::new(archive.0), std::fs::File::open(&dir).unwrap().into(), &single(), limits);
        assert!(matches!(result, Err(Error::Malformed(_))), "cut at {cut}");
    }
    let mut bad = Archive(good);
    bad.0[0] ^= 1;
    assert!(matches!(bad.refused(), Error::Malformed(_)));
    let mut directory = Archive::default();
    directory.push(EntryType::Directory, b"d", b"", &[0; 512], |_| {});
    assert!(matches!(directory.refused(), Error::Refused { .. }));
    assert!(
        Archive::default().pax(&[("path", b"x")]).unpack().1.is_err(),
        "nothing after an extended header"
    );
    let twice = Archive::default().pax(&[("path", b"x")]).pax(&[("path", b"y")]).file("z", b"");
    assert!(matches!(twice.refused(), Error::Malformed(_)));
}

/// Each of these, another reader understands differently.
#[test]
fn what_readers_disagree_on_is_refused() {
    let with = |kind, name: &[u8], content: &[u8], edit: fn(&mut tar::Header)| {
        let mut archive = Archive::default().file("t", b"");
        archive.push(kind, name, if kind == EntryType::Link { b"t" } else { b"" }, content, edit);
        archive.refused()
    };
    with(EntryType::Regular, b"name/", b"", |_| {});
    with(EntryType::Regular, b"", b"", |_| {});
    with(EntryType::Continuous, b"f", b"", |_| {});
    with(EntryType::Link, b"l", b"", |header| header.set_size(1));
    with(EntryType::Regular, b"f", b"", |header| header.as_mut_bytes()[483] = b'7');
    let mut global = Archive::default();
    global.push(EntryType::XGlobalHeader, b"g", b"", b"13 size=1030\n", |_| {});
    assert!(matches!(global.file("f", b"x").refused(), Error::Malformed(_)));
    let both = Archive::default().entry(EntryType::GNULongName, b"x", b"", b"one\0");
    assert!(matches!(both.pax(&[("path", b"two")]).file("f", b"").refused(), Error::Malformed(_)));
    // git's comment, and directories of the oldest format, are understood by all.
    let mut comment = Archive::default();
    comment.push(EntryType::XGlobalHeader, b"pax_global_header", b"", b"13 comment=x\n", |_| {});
    comment.push(EntryType::Regular, b"old/", b"", b"", |header| {
        header.as_mut_bytes()[257..265].fill(0);
    });
    assert!(comment.unpacked().path().join("layer/old").is_dir());
}

#[test]
fn limits_hold() {
    let mut archive = Archive::default().file("a", &[1; 2000]).file("b", b"");
    archive.0.resize(archive.0.len() + 1024, 0);
    let run = |entries, bytes| {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(&dir).unwrap().into();
        unpack(Cursor::new(&archive.0), root, &single(), Limits { entries, bytes })
    };
    assert!(matches!(run(1, 10_000), Err(Error::TooManyEntries(1))));
    assert!(matches!(run(2, 1999), Err(Error::TooLarge { limit: 1999 })));
    assert_eq!(run(2, 2000).unwrap(), Unpacked { entries: 2, size: 2000 });
}

/// GNU tar writes each of its formats; holes stay holes.
#[test]
fn sparse_files_of_every_format() {
    let source = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(source.path().join("s")).unwrap();
    file.set_len(3 << 20).unwrap();
    for i in 0..20u64 {
        rustix::io::pwrite(&file, b"data", i * (128 << 10) + 8192).unwrap();
    }
    drop(file);
    let expected = std::fs::read(source.path().join("s")).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let output = std::process::Command::new("tar")
            .args(["-c", "--sparse"])
            .args(format)
            .arg("-C")
            .arg(source.path())
            .arg("s")
            .output()
            .unwrap();
        assert!(output.status.success(), "{format:?}");
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { entries: 10, bytes: 1 << 20 };
        let root = std::fs::File::open(&dir).unwrap().into();
        let mut tar = output.stdout;
        // The owner of the source is the user's own, which a single-id map keeps beside.
        tar.shrink_to_fit();
        unpack(Cursor::new(tar), root, &single(), limits).unwrap();
        assert_eq!(std::fs::read(dir.path().join("s")).unwrap(), expected, "{format:?}");
        let blocks = std::fs::metadata(dir.path().join("s")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{format:?}: {blocks} blocks");
    }
}
