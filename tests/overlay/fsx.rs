//! What fsx does: random work on one file, through all ways that lead to its content, against a model in memory.
//!
//! The file is a lower one at first, so somewhere in the middle it is brought up, under descriptors and maps that
//! stay. `FSX_OPS` says how many operations (20,000), `FSX_SEED` where the random numbers begin.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kelp::overlay::Options;
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::Case;
use super::hand::{chmod, write};
use super::map::Map;
use super::mounts::Dirs;
use super::random::Random;

pub const CASES: &[Case] = &[("fsx", fsx)];

/// No file becomes longer.
const LONGEST: usize = 300_000;
const LONGEST_ACCESS: u64 = 40_000;
const OPS_A_FILE: u64 = 1000;

fn fsx(base: &Path) {
    let set = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (ops, first) = (set("FSX_OPS", 20_000), set("FSX_SEED", 1));
    for seed in first..first + ops.div_ceil(OPS_A_FILE) {
        let dirs = Dirs::new(base, &format!("m{seed}"), &[&format!("l{seed}")]);
        let mut random = Random::new(seed);
        let length = size(&mut random, LONGEST as u64);
        let begin = random.bytes(length);
        write(dirs.lowers[0].join("file"), &begin);
        // The disk itself is made to sync once only: that takes most of the time, and is not what is tested.
        let mount = dirs.fuse_with(Options { volatile: seed != first, ..Options::default() });
        let mut work = Work::new(mount.at.clone(), random, begin.clone(), seed);
        for _ in 0..OPS_A_FILE.min(ops) {
            work.step();
        }
        let (model, brought_up) = work.end();
        assert!(fs::read(mount.at.join("file")).unwrap() == model, "seed {seed}: in the end");
        drop(mount);
        assert!(
            brought_up && fs::read(dirs.upper.join("file")).unwrap() == model,
            "seed {seed}: on the disk"
        );
        assert!(fs::read(dirs.lowers[0].join("file")).unwrap() == begin, "seed {seed}: below");
        fs::remove_dir_all(&dirs.upper).unwrap();
        fs::remove_dir_all(&dirs.lowers[0]).unwrap();
    }
}

fn size(random: &mut Random, below: u64) -> usize {
    usize::try_from(random.below(below)).unwrap()
}

/// One file, what is held of it, and what has to be in it.
struct Work {
    dir: PathBuf,
    random: Random,
    model: Vec<u8>,
    file: File,
    /// Open for reading since before the file was brought up.
    old: File,
    /// Opened again at times, for the content is shared as well.
    append: File,
    direct: File,
    /// Of all that the file can become: touched up to its end only.
    map: Map,
    brought_up: bool,
    seed: u64,
    story: VecDeque<String>,
}

impl Work {
    fn new(dir: PathBuf, random: Random, model: Vec<u8>, seed: u64) -> Self {
        let open = |options: &mut OpenOptions| options.open(dir.join("file")).unwrap();
        let file = open(OpenOptions::new().read(true).write(true));
        Self {
            old: open(OpenOptions::new().read(true)),
            append: open(OpenOptions::new().append(true)),
            direct: open(OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT)),
            map: Map::new(&file, LONGEST),
            file,
            dir,
            random,
            model,
            brought_up: false,
            seed,
            story: VecDeque::new(),
        }
    }

    /// What has to be in the file, and whether it was brought up. Nothing is open any more.
    fn end(self) -> (Vec<u8>, bool) {
        (self.model, self.brought_up)
    }

    /// A place to read or write: where it begins and how long it is.
    fn place(&mut self) -> (usize, usize) {
        let offset = size(&mut self.random, LONGEST as u64);
        (offset, size(&mut self.random, LONGEST_ACCESS).min(LONGEST - offset))
    }

    /// The same within the file.
    fn place_inside(&mut self) -> (usize, usize) {
        if self.model.is_empty() {
            return (0, 0);
        }
        let offset = size(&mut self.random, self.model.len() as u64);
        (offset, size(&mut self.random, LONGEST_ACCESS).min(self.model.len() - offset))
    }

    fn step(&mut self) {
        let what = match self.random.below(40) {
            0..=5 => self.write(),
            6..=10 => self.read(),
            11..=14 => self.write_map(),
            15..=17 => self.read_map(),
            18..=19 => self.append(),
            20..=21 => self.truncate(),
            22..=24 => self.allocate(),
            25..=27 => self.copy(),
            28..=30 => self.write_direct(),
            31..=32 => self.read_direct(),
            33..=34 => self.sync(),
            35 => self.reopen(),
            36 => self.forget(),
            37..=38 => self.seek(),
            _ => self.rename(),
        };
        self.story.push_back(what);
        if self.story.len() > 25 {
            self.story.pop_front();
        }
        let length = self.file.metadata().unwrap().len();
        self.check(length == self.model.len() as u64, &format!("{length} bytes long"));
        if self.random.chance(4) {
            let content = fs::read(self.dir.join("file")).unwrap();
            let differs = content.iter().zip(&self.model).position(|(a, b)| a != b);
            self.check(content == self.model, &format!("differs from {differs:?}"));
        }
    }

    #[track_caller]
    fn check(&self, right: bool, what: &str) {
        let story = || self.story.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(right, "seed {}: {what}, {} expected, after\n{}", self.seed, self.model.len(), story());
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.brought_up = true;
        if !bytes.is_empty() {
            self.model.resize(self.model.len().max(offset + bytes.len()), 0);
            self.model[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn write(&mut self) -> String {
        let (offset, length) = self.place();
        let bytes = self.random.bytes(length);
        self.file.write_all_at(&bytes, offset as u64).unwrap();
        self.put(offset, &bytes);
        format!("write {length} at {offset}")
    }

    fn write_direct(&mut self) -> String {
        let (offset, length) = self.place();
        let bytes = self.random.bytes(length);
        self.direct.write_all_at(&bytes, offset as u64).unwrap();
        self.put(offset, &bytes);
        format!("write {length} at {offset}, O_DIRECT")
    }

    fn append(&mut self) -> String {
        let length = size(&mut self.random, LONGEST_ACCESS).min(LONGEST - self.model.len());
        let bytes = self.random.bytes(length);
        std::io::Write::write_all(&mut &self.append, &bytes).unwrap();
        self.put(self.model.len(), &bytes);
        format!("append {length}")
    }

    fn write_map(&mut self) -> String {
        let (offset, length) = self.place_inside();
        let bytes = self.random.bytes(length);
        self.map.write(offset, &bytes);
        self.put(offset, &bytes);
        format!("write {length} at {offset} through the map")
    }

    fn compare(&self, what: &str, offset: usize, got: &[u8]) {
        let end = self.model.len();
        let expected = &self.model[offset.min(end)..(offset + got.len()).min(end)];
        let differs = got.iter().zip(expected).position(|(a, b)| a != b).map(|at| at + offset);
        self.check(got == expected, &format!("{what} of {} at {offset} differs from {differs:?}", got.len()));
    }

    fn read(&mut self) -> String {
        let (offset, length) = self.place();
        let mut bytes = vec![0; length];
        let old = self.random.chance(30);
        let n = (if old { &self.old } else { &self.file }).read_at(&mut bytes, offset as u64).unwrap();
        self.check(n == length.min(self.model.len().saturating_sub(offset)), &format!("{n} bytes read"));
        self.compare("read", offset, &bytes[..n]);
        format!("read {length} at {offset}")
    }

    fn read_direct(&mut self) -> String {
        let (offset, length) = self.place();
        let mut bytes = vec![0; length];
        let n = self.direct.read_at(&mut bytes, offset as u64).unwrap();
        self.compare("direct read", offset, &bytes[..n]);
        format!("read {length} at {offset}, O_DIRECT")
    }

    fn read_map(&mut self) -> String {
        let (offset, length) = self.place_inside();
        let mut bytes = vec![0; length];
        self.map.read(offset, &mut bytes);
        self.compare("map", offset, &bytes);
        format!("read {length} at {offset} through the map")
    }

    fn truncate(&mut self) -> String {
        let length = size(&mut self.random, LONGEST as u64);
        self.file.set_len(length as u64).unwrap();
        self.model.resize(length, 0);
        self.brought_up = true;
        format!("truncate to {length}")
    }

    /// Room, holes and zeros.
    fn allocate(&mut self) -> String {
        let (offset, length) = self.place();
        let (keep, punch, zero) =
            (FallocateFlags::KEEP_SIZE, FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE);
        let flags = *self.random.pick(&[
            keep,
            keep | punch,
            keep | punch,
            zero,
            keep | zero,
            FallocateFlags::empty(),
        ]);
        if length == 0 {
            return String::new();
        }
        match rustix::fs::fallocate(&self.file, flags, offset as u64, length as u64) {
            // What is below has no such thing.
            Err(Errno::OPNOTSUPP) => return format!("no fallocate {flags:?}"),
            done => done.unwrap(),
        }
        self.brought_up = true;
        if !flags.contains(keep) {
            self.model.resize(self.model.len().max(offset + length), 0);
        }
        if flags.intersects(punch | zero) {
            let end = (offset + length).min(self.model.len());
            self.model[offset.min(end)..end].fill(0);
        }
        format!("fallocate {flags:?} {length} at {offset}")
    }

    /// From one place of the file to another that it does not overlap.
    fn copy(&mut self) -> String {
        let ((from, length), (to, _)) = (self.place_inside(), self.place());
        let length = length.min(LONGEST - to).min(from.abs_diff(to));
        let (mut input, mut output) = (from as u64, to as u64);
        let mut left = length;
        while left > 0 {
            let (from, to) = (Some(&mut input), Some(&mut output));
            let n = rustix::fs::copy_file_range(&self.file, from, &self.file, to, left).unwrap();
            self.check(n > 0, "copy_file_range finds the end");
            left -= n;
        }
        let bytes = self.model[from..from + length].to_vec();
        if length > 0 {
            self.put(to, &bytes);
        }
        format!("copy_file_range {length} from {from} to {to}")
    }

    fn sync(&mut self) -> String {
        match self.random.below(4) {
            0 => self.file.sync_all().unwrap(),
            1 => self.file.sync_data().unwrap(),
            2 => self.map.sync(),
            _ => rustix::fs::syncfs(&self.file).unwrap(),
        }
        "sync".into()
    }

    fn reopen(&mut self) -> String {
        let path = self.dir.join("file");
        self.file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        self.append = OpenOptions::new().append(true).open(&path).unwrap();
        if self.random.chance(50) {
            self.map = Map::new(&self.file, LONGEST);
        }
        "reopen".into()
    }

    /// The kernel keeps less of the file.
    fn forget(&mut self) -> String {
        self.file.sync_all().unwrap();
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed).unwrap();
        "forget".into()
    }

    /// What is data must never be called a hole.
    fn seek(&mut self) -> String {
        let (offset, _) = self.place_inside();
        let data = rustix::fs::seek(&self.file, SeekFrom::Data(offset as u64));
        let next = self.model[offset..].iter().position(|b| *b != 0).map(|n| offset + n);
        match (data, next) {
            (Ok(data), Some(next)) => {
                self.check(data <= next as u64, &format!("a hole to {data}, data at {next}"));
            }
            (Err(Errno::NXIO), Some(next)) => self.check(false, &format!("no data, but at {next}")),
            (Ok(_) | Err(Errno::NXIO), None) => {}
            (Err(e), _) => self.check(false, &format!("SEEK_DATA: {e}")),
        }
        if let Ok(hole) = rustix::fs::seek(&self.file, SeekFrom::Hole(offset as u64)) {
            let end = self.model.len();
            let at = usize::try_from(hole).unwrap();
            self.check(at <= end, &format!("a hole at {hole}"));
            self.check(self.model.get(at).is_none_or(|b| *b == 0), &format!("data in the hole at {hole}"));
        }
        format!("seek from {offset}")
    }

    /// The name changes, and with it the way on which the server finds the content.
    fn rename(&mut self) -> String {
        let (from, to) = (self.dir.join("file"), self.dir.join("other"));
        fs::rename(&from, &to).unwrap();
        chmod(&to, 0o600 + u32::try_from(self.random.below(8)).unwrap());
        fs::rename(&to, &from).unwrap();
        self.brought_up = true;
        "rename".into()
    }
}
