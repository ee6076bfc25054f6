//! Upper directories and mounts at the end of what there is: read-only, without attributes, of five hundred layers with
//! long paths.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kelp::sys::{mount, overlay};

use super::Case;
use super::hand::{shell, write};
use super::mounts::{Dirs, Kernel};
use super::tree::{assert_same, describe};

pub const CASES: &[Case] = &[
    ("upper_becomes_read_only", upper_becomes_read_only),
    ("upper_without_attributes", upper_without_attributes),
    ("the_kernels_way_of_old", the_kernels_way_of_old),
    ("long_paths", long_paths),
];

fn upper_becomes_read_only(base: &Path) {
    let below = base.join("below");
    fs::create_dir(&below).unwrap();
    shell(base, "mount -t tmpfs below below");
    fs::create_dir(base.join("l")).unwrap();
    write(base.join("l/low"), "low");
    write(base.join("l/other"), "other");
    let mut dirs = Dirs::new(&below, "m", &[]);
    (dirs.lowers, dirs.at) = (vec![base.join("l")], base.join("at"));
    fs::create_dir(&dirs.at).unwrap();
    let mount = dirs.fuse();
    fs::create_dir(mount.at.join("dir")).unwrap();
    let script = "! touch new; ! rm low; ! mkdir d; ! mv low high; ! chmod 600 low; ! ln low link; ! ln -s a b; ! rmdir dir; \
        ! mkfifo p; ! setfattr -n user.x -v 1 low; cat low; ls";
    shell(base, "mount -o remount,ro below");
    let file = fs::OpenOptions::new().create_new(true).write(true).open(mount.at.join("file"));
    assert_eq!(file.unwrap_err().raw_os_error(), Some(libc::EROFS));
    let removed = fs::remove_file(mount.at.join("low"));
    assert_eq!(removed.unwrap_err().raw_os_error(), Some(libc::EROFS));
    // What goes to the kernel's cache first is refused when it is written back.
    let appended = fs::OpenOptions::new().append(true).open(mount.at.join("other")).unwrap();
    let refused = std::io::Write::write_all(&mut &appended, b"x").and_then(|()| appended.sync_all());
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EROFS));
    drop(appended);
    assert_eq!(shell(&mount.at, &format!("exec 2>/dev/null; {script}")), "lowdir\nlow\nother\n");
    shell(base, "mount -o remount,rw below");
    shell(&mount.at, "touch new; rm low; mkdir d; test \"$(echo *)\" = 'd dir new other'");
    drop(mount);
    shell(base, "umount below");
}

/// Where a directory cannot be marked as hiding what is below it, a file in it does.
fn upper_without_attributes(base: &Path) {
    let below = base.join("below");
    fs::create_dir(&below).unwrap();
    shell(base, "mount -t ramfs below below");
    fs::create_dir_all(base.join("l/dir/sub")).unwrap();
    for name in ["dir/old", "dir/sub/old", "file"] {
        write(base.join("l").join(name), name);
    }
    let mut dirs = Dirs::new(&below, "m", &[]);
    dirs.lowers = vec![base.join("l")];
    let after = {
        let mount = dirs.fuse();
        shell(&mount.at, "rm -r dir; mkdir dir; echo new > dir/new; rm file; mkdir file; chmod 700 file");
        assert_eq!(shell(&mount.at, "find . | sort"), ".\n./dir\n./dir/new\n./file\n");
        describe(&mount.at)
    };
    let mount = dirs.fuse();
    assert_same("mounted again", &after, &describe(&mount.at));
    shell(&mount.at, "rm -r dir file; test -z \"$(ls -A)\"");
    drop(mount);
    shell(base, "umount below");
}

/// Layers with a file each, and one that all have.
fn layers(base: &Path, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|n| {
            let dir = base.join(format!("layer-{n}"));
            fs::create_dir_all(&dir).unwrap();
            write(dir.join(n.to_string()), "");
            write(dir.join("all"), n.to_string());
            dir
        })
        .collect()
}

/// Kernels before 6.7 get all layers at once, by number. This one can do both ways.
fn the_kernels_way_of_old(base: &Path) {
    let here = std::env::current_dir().unwrap();
    // As many as the kernel takes; each of these paths is longer than a page has room for 500 times.
    let lowers = layers(&base.join("x".repeat(100)), 500);
    let mut dirs = Dirs::new(base, "m", &[]);
    dirs.lowers = lowers;
    let lowers: Vec<&Path> = dirs.lowers.iter().map(PathBuf::as_path).collect();
    let tree = overlay::Tree { lowers: &lowers, upper: &dirs.upper, work: &dirs.work, volatile: true };
    // The process has other threads, which use no relative paths meanwhile.
    let mounted = overlay::mount_at_once(&tree).unwrap();
    assert_eq!(std::env::current_dir().unwrap(), here);
    mount::attach(&mounted, File::open(&dirs.at).unwrap()).unwrap();
    let kernel = Kernel { at: dirs.at.clone() };
    drop(mounted);
    assert_eq!(fs::read(kernel.at.join("all")).unwrap(), b"0");
    assert_eq!(fs::read_dir(&kernel.at).unwrap().count(), 501);
    write(kernel.at.join("new"), "written");
    assert_eq!(fs::read(dirs.upper.join("new")).unwrap(), b"written");
    // Nothing is left on the directory that it was put on for a moment.
    assert_eq!(fs::read_dir(&dirs.upper).unwrap().count(), 1);
}

fn long_paths(base: &Path) {
    let deep = base.join("y".repeat(200)).join("z".repeat(200));
    let mut dirs = Dirs::new(&deep, "m", &[]);
    dirs.lowers = layers(&deep, 3);
    let lowers: Vec<&Path> = dirs.lowers.iter().map(PathBuf::as_path).collect();
    let tree = overlay::Tree { lowers: &lowers, upper: &dirs.upper, work: &dirs.work, volatile: false };
    let mounted = overlay::mount(&tree).unwrap_or_else(|(e, said)| panic!("{e}: {said}"));
    mount::attach(&mounted, File::open(&dirs.at).unwrap()).unwrap();
    let kernel = Kernel { at: dirs.at.clone() };
    drop(mounted);
    write(kernel.at.join("new"), "");
    assert_eq!(fs::read_dir(&kernel.at).unwrap().count(), 5);
}
