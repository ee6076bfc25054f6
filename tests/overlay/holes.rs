//! Holes: seen where they are, and never where data is.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;

use super::Case;
use super::hand::shell;
use super::mounts::Dirs;

pub const CASES: &[Case] = &[
    ("what_was_just_written_is_no_hole", what_was_just_written_is_no_hole),
    ("holes_are_seen", holes_are_seen),
    ("many_look_for_holes", many_look_for_holes),
];

/// tar and cp leave out what is said to be a hole, also of a file that somebody else is writing.
fn what_was_just_written_is_no_hole(base: &Path) {
    let mount = Dirs::new(base, "m", &["l"]).fuse();
    let path = mount.at.join("file");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let data = |at: u64| rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at));
    file.write_all_at(b"begin", 0).unwrap();
    assert_eq!(data(0), Ok(0));
    file.write_all_at(b"more", 1_000_000).unwrap();
    assert!((500_000..=1_000_000).contains(&data(500_000).unwrap()));
    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(1_000_001));
    assert_eq!(hole, Ok(1_000_004));
    assert_eq!(data(1_000_004), Err(Errno::NXIO));
    file.set_len(4_000_000).unwrap();
    file.write_all_at(b"inside", 3_000_000).unwrap();
    assert!(data(2_000_000).unwrap() <= 3_000_000);
    shell(&mount.at, "tar -Scf - file | tar -xOf - file | cmp - file");
}

/// Of a file below, of one that was brought up, and of one that is only in the kernel's cache. Kernels before 6.16
/// call all of it data.
fn holes_are_seen(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l"]);
    let sparse = |path: &Path| {
        let file = File::create(path).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", 8 << 20).unwrap();
    };
    sparse(&dirs.lowers[0].join("low"));
    let mount = dirs.fuse();
    sparse(&mount.at.join("new"));
    shell(&mount.at, "cp --sparse=never low up; fallocate -p -o 65536 -l $((6 << 20)) up; echo x >> low");
    for name in ["low", "new", "up"] {
        let file = File::open(mount.at.join(name)).unwrap();
        let seek = |to| rustix::fs::seek(&file, to).unwrap();
        let hole = seek(rustix::fs::SeekFrom::Hole(0));
        if hole == file.metadata().unwrap().len() {
            println!("this kernel is too old to see holes");
            continue;
        }
        assert!((5..=65536).contains(&hole), "{name}: {hole}");
        let data = seek(rustix::fs::SeekFrom::Data(hole));
        assert!((6 << 20..=8 << 20).contains(&data), "{name}: {data}");
    }
    shell(&mount.at, "cp --sparse=auto new copy; cmp new copy; cp --sparse=auto low again; cmp low again");
    shell(&mount.at, "tar -Scf - new low | tar -xf - --one-top-level=out; cmp new out/new; cmp low out/low");
    drop(mount);
    for name in ["copy", "again", "out/new", "out/low"] {
        let blocks = fs::metadata(dirs.upper.join(name)).unwrap().blocks();
        assert!(blocks < 200, "{name}: {blocks} blocks");
    }
}

/// More at once than there are workers, each with data to be written back first: nobody waits for nobody.
fn many_look_for_holes(base: &Path) {
    let mount = Dirs::new(base, "m", &["l"]).fuse();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let at = &mount.at;
            scope.spawn(move || {
                let path = at.join(format!("file{worker}"));
                let file =
                    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
                for n in 0..60u64 {
                    let here = n * 300_000 + worker;
                    file.write_all_at(&vec![1; 70_000], here).unwrap();
                    let data =
                        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(here.saturating_sub(90_000)));
                    assert!(data.unwrap() <= here, "file{worker}, {n}");
                    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(here)).unwrap();
                    assert_eq!(hole, here + 70_000, "file{worker}, {n}");
                }
            });
        }
    });
}
