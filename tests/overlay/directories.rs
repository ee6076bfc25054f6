//! Listings, long ones and such that change under their reader.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::Case;
use super::hand::{shell, write};
use super::mounts::Dirs;

pub const CASES: &[Case] =
    &[("large_directories", large_directories), ("listing_while_removing", listing_while_removing)];

fn large_directories(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    for (dir, range) in [(&dirs.lowers[0], 0..50_000), (&dirs.lowers[1], 40_000..100_000)] {
        fs::create_dir(dir.join("d")).unwrap();
        for n in range {
            rustix::fs::symlink("x", dir.join(format!("d/entry-{n}"))).unwrap();
        }
    }
    let mount = dirs.fuse();
    let begin = std::time::Instant::now();
    let names: std::collections::HashSet<_> =
        fs::read_dir(mount.at.join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 100_000);
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

fn listing_while_removing(base: &Path) {
    let dirs = Dirs::new(base, "m", &["l1", "l2"]);
    let total = 5000;
    for n in 0..total {
        write(dirs.lowers[n % 2].join(format!("file{n}")), "");
    }
    let mount = dirs.fuse();
    let mut seen = std::collections::HashSet::new();
    for entry in fs::read_dir(&mount.at).unwrap() {
        let entry = entry.unwrap();
        assert!(seen.insert(entry.file_name()), "{:?} twice", entry.file_name());
        fs::remove_file(entry.path()).unwrap();
        if seen.len() % 500 == 0 {
            write(mount.at.join(format!("new{}", seen.len())), "");
            let _ = fs::read_dir(&mount.at).unwrap().count();
        }
    }
    assert!((0..total).all(|n| seen.contains(OsStr::new(&format!("file{n}")))), "{} seen", seen.len());
    shell(&mount.at, "rm -rf ./*; test -z \"$(ls -A)\"");
}
