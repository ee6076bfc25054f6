//! A full disk: what is left as it was, and who is told.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Case;
use super::hand::{shell, write};
use super::mounts::Dirs;

pub const CASES: &[Case] = &[
    ("full_disk_leaves_the_original", full_disk_leaves_the_original),
    ("what_half_fits_is_an_error", what_half_fits_is_an_error),
    ("a_disk_with_room_again_takes_more", a_disk_with_room_again_takes_more),
];

fn full_disk_leaves_the_original(base: &Path) {
    let small = base.join("small");
    fs::create_dir(&small).unwrap();
    shell(base, "mount -t tmpfs -o size=1m small small");
    fs::create_dir(base.join("l")).unwrap();
    let content: Vec<u8> = (0..2 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    write(base.join("l/big"), &content);
    let mut dirs = Dirs::new(&small, "m", &[]);
    dirs.lowers = vec![base.join("l")];
    {
        let mount = dirs.fuse();
        let file = OpenOptions::new().append(true).open(mount.at.join("big")).unwrap();
        let refused = (&file).write_all(b"x").and_then(|()| file.sync_all()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(
            fs::set_permissions(mount.at.join("big"), fs::Permissions::from_mode(0o600))
                .unwrap_err()
                .raw_os_error(),
            Some(libc::ENOSPC)
        );
        assert_eq!(fs::read_dir(&dirs.upper).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dirs.work.join("work")).unwrap().count(), 0, "nothing half done is left");
        drop(file);
    }
    {
        let mount = dirs.fuse();
        assert!(fs::read(mount.at.join("big")).unwrap() == content);
        write(mount.at.join("fits"), "still");
        fs::remove_file(mount.at.join("big")).unwrap();
        assert!(!mount.at.join("big").exists());
    }
    shell(base, "umount small");
}

/// A disk of so many kibibytes, with layers on it.
fn small_disk(base: &Path, kibibytes: u32) -> Dirs {
    let small = base.join("small");
    fs::create_dir(&small).unwrap();
    shell(base, &format!("mount -t tmpfs -o size={kibibytes}k small small"));
    fs::create_dir(base.join("l")).unwrap();
    Dirs { lowers: vec![base.join("l")], ..Dirs::new(&small, "m", &[]) }
}

/// The kernel hands over what is in its cache in pieces of up to a mebibyte, and does not look at how much of one was
/// written.
fn what_half_fits_is_an_error(base: &Path) {
    let dirs = small_disk(base, 600);
    {
        let mount = dirs.fuse();
        let file = File::create(mount.at.join("f")).unwrap();
        (&file).write_all(&vec![b'x'; 900 << 10]).unwrap();
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
    shell(base, "umount small");
}

/// What did not fit was told to its writer; whoever comes later has nothing to do with it.
fn a_disk_with_room_again_takes_more(base: &Path) {
    let dirs = small_disk(base, 4096);
    {
        let mount = dirs.fuse();
        let path = mount.at.join("log");
        write(mount.at.join("filler"), vec![b'x'; 3 << 20]);
        shell(&mount.at, "sync filler");
        {
            let file = File::create(&path).unwrap();
            let told = (0..1000).find_map(|_| (&file).write_all(&[b'x'; 64 << 10]).err());
            let told = told.or_else(|| file.sync_all().err()).unwrap();
            assert_eq!(told.raw_os_error(), Some(libc::ENOSPC));
            let _ = file.sync_all();
        }
        fs::remove_file(mount.at.join("filler")).unwrap();
        shell(&mount.at, "sleep 2");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        // The kernel is told to forget what it knows of the file, and asks anew before it writes.
        let _end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)).unwrap();
        file.write_all(b"more").unwrap();
        file.sync_all().unwrap();
        assert!(fs::read(&path).unwrap().ends_with(b"more"));
    }
    shell(base, "umount small");
}
