//! Round trips to the server, counted: they are what a FUSE file system costs.
//!
//! Some look superfluous and are the kernel's own (fs/fuse and fs of Linux 6.18):
//! - 1 GETATTR of the directory for whatever is made in it or taken from it: `fuse_dir_changed` forgets all of its
//!   attributes, mode and owner with them, and `fuse_permission` asks for those. No answer but to GETATTR, SETATTR or
//!   LOOKUP of the directory itself carries them. Later kernels forget times and size only (`FUSE_STATX_MODDIR`), and
//!   do without it. Checking permissions in the server is no way: it never hears of paths that are walked and files
//!   that are opened out of the kernel's caches.
//! - 2 GETXATTR of `security.capability` for a file: `chown_common` asks whenever there may be something to drop, and
//!   the first write does (`file_remove_privs`), as each answer with attributes takes back that there is nothing
//!   (`fuse_change_attributes_common` clears `S_NOSEC`). Only ENOSYS, which ends all attributes of all files, stops it.
//! - 1 SETATTR for a file that is removed: `fuse_entry_unlinked` sends the new ctime, as for each file of a mount that
//!   may cache writes. Without the cache 4 KB writes take four times as long.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kelp::overlay::{Counts, Operation};

use super::Case;
use super::mounts::{Dirs, Fuse};

pub const CASES: &[Case] = &[("counts", counts)];

const DIRS: usize = 60;
const FILES: usize = 90;
const LINKS: usize = 9;
/// Of the tree: its directories with the top, files and links.
const OBJECTS: usize = 1 + DIRS * (1 + FILES + LINKS);

/// 6,000 objects in the proportions of a Debian package tree, and their archive.
fn source(base: &Path) {
    for dir in 0..DIRS {
        let dir = base.join(format!("tree/{dir}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..FILES {
            fs::write(dir.join(format!("file{file}")), vec![b'.'; 1 + file * 37]).unwrap();
        }
        for link in 0..LINKS {
            std::os::unix::fs::symlink("file1", dir.join(format!("link{link}"))).unwrap();
        }
    }
    shell(base, "tar -cf tree.tar tree");
}

fn shell(dir: &Path, script: &str) {
    let status = Command::new("sh").arg("-ec").arg(script).current_dir(dir).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "{script}");
}

struct Meter<'a> {
    mount: &'a Fuse,
    before: u64,
    parts: Vec<u64>,
}

const KINDS: &[Operation] = &[
    Operation::Lookup,
    Operation::GetAttr,
    Operation::SetAttr,
    Operation::ReadLink,
    Operation::MkDir,
    Operation::Unlink,
    Operation::RmDir,
    Operation::Symlink,
    Operation::Create,
    Operation::Read,
    Operation::Write,
    Operation::GetXattr,
    Operation::ListXattr,
    Operation::Open,
    Operation::OpenDir,
    Operation::Flush,
    Operation::ReadDir,
    Operation::ReadDirPlus,
    Operation::StatFs,
    Operation::Other,
    Operation::Forget,
];

impl<'a> Meter<'a> {
    fn start(mount: &'a Fuse) -> Self {
        let counts: &Counts = &mount.counts;
        Self { mount, before: counts.round_trips(), parts: KINDS.iter().map(|k| counts.of(*k)).collect() }
    }

    /// Round trips for each of `objects` since the start, at most `most`.
    fn check(self, what: &str, objects: usize, most: f64) {
        self.check_without_late_times(what, objects, f64::INFINITY, most);
    }

    /// The same without the SETATTRs beyond `setattrs` an object. Where a file is written to in a later tick of the clock
    /// than it was made or closed, there is one more that tells its time: as many as the machine is slow, at most one a
    /// file.
    fn check_without_late_times(self, what: &str, objects: usize, setattrs: f64, most: f64) {
        #[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
        let per = |n: u64| n as f64 / objects as f64;
        let counts: &Counts = &self.mount.counts;
        let all = per(counts.round_trips() - self.before);
        let before = KINDS.iter().zip(&self.parts).find(|(kind, _)| **kind == Operation::SetAttr).unwrap().1;
        let late = (per(counts.of(Operation::SetAttr) - before) - setattrs).clamp(0.0, 1.0);
        let parts = KINDS.iter().zip(&self.parts).filter_map(|(kind, before)| {
            let n = counts.of(*kind) - before;
            (n > 0).then(|| format!("{kind:?} {:.3}", per(n)))
        });
        let parts: Vec<_> = parts.collect();
        println!("{what}: {all:.2} an object, {late:.2} late, at most {most} ({})", parts.join(", "));
        assert!(all - late <= most, "{what}");
    }
}

fn counts(base: &Path) {
    source(base);
    let dirs = Dirs::new(base, "m", &["lower"]);
    shell(base, "tar -xf tree.tar -C lower; mkdir -p lower/seen; cp -a tree lower/seen");
    let mount = dirs.fuse();
    let at = |script: &str| shell(&mount.at, script);

    at("true");
    let meter = Meter::start(&mount);
    at("find seen -printf %s");
    meter.check("find, cold", OBJECTS, 0.2);
    let meter = Meter::start(&mount);
    at("find seen -printf %s");
    meter.check("find, second", OBJECTS, 0.02);
    let meter = Meter::start(&mount);
    at("find seen -printf %s");
    // find(1) asks once what kind of file system it is on.
    meter.check("find, third", OBJECTS, 1.0 / 6000.0);
    at("grep -r nothing seen || true");
    let meter = Meter::start(&mount);
    at("grep -r nothing seen || true");
    meter.check("grep -r, warm", DIRS * FILES, 1.001);

    let meter = Meter::start(&mount);
    at("mkdir new; tar -xf ../tree.tar -C new");
    meter.check_without_late_times("untar", OBJECTS, 2.92, 8.71);
    let meter = Meter::start(&mount);
    at("chmod -R g+w new");
    meter.check("chmod -R", DIRS * (1 + FILES), 1.05);
    let meter = Meter::start(&mount);
    at("rm -r new");
    meter.check("rm -r", OBJECTS, 2.95);
    at("mkdir small");
    let meter = Meter::start(&mount);
    at("cd small; i=0; while [ $i -lt 1000 ]; do echo $i > $i; i=$((i+1)); done");
    meter.check_without_late_times("small files from a shell", 1000, 0.0, 5.01);
}
