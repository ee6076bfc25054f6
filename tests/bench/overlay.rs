//! The union file system beside the kernel's overlay and fuse-overlayfs: `cargo bench --bench overlay`, as root on a
//! quiet machine.
//!
//! All three in a user namespace of an unprivileged account, over the same Debian root, on a fresh ext4. Rounds are
//! interleaved, and the disk has written what a row left before the next begins. Prints medians in milliseconds and
//! ratios to the kernel's, never a verdict: once with all processors, once with client and server on one.
//! `KELP_BENCH_ROUNDS` (5) shortens or lengthens it, `KELP_BENCH_ROWS` are parts of the names of the rows to measure,
//! with a semicolon between them.

#![allow(dead_code, reason = "the bench uses a part of the tests' mounts")]
#![allow(unreachable_pub, reason = "a bench has no outside")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails is no measurement")]
#![allow(
    clippy::disallowed_methods,
    reason = "the fences of src/ keep the binary's rooms apart, not its benches"
)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its report is what it is for")]

#[path = "../harness/account.rs"]
mod account;
mod disk;
#[path = "../overlay/mounts.rs"]
mod mounts;
mod rows;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use account::{Account, Kind, SCRATCH};
use mounts::Dirs;
use rows::{MATERIAL, ROWS, Row};

const CONTENDERS: &[&str] = &["kernel", "kelp", "fuse-overlayfs"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--inside") => inside(Path::new(&args[1])),
        // `cargo test --benches` and test listings call the program with arguments of a test harness.
        Some("--test" | "--list") => {}
        _ => outside(),
    }
}

fn outside() {
    let place = PathBuf::from(format!("{SCRATCH}-overlay"));
    std::fs::create_dir_all(&place).unwrap();
    let disk = disk::Disk::mount(&place);
    let account = Account::borrow(Kind::Ranges);
    let base = place.join("work");
    std::fs::create_dir_all(&base).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/debian-12.tar");
    std::fs::copy(&root, base.join("root.tar")).expect("tests/setup has made the Debian root");
    let packages = root.with_file_name("packages-12.tar");
    std::fs::copy(packages, base.join("packages.tar")).expect("tests/setup has fetched the packages");
    std::fs::copy("/proc/self/exe", base.join("bench")).unwrap();
    std::fs::set_permissions(base.join("bench"), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(&base, Some(account.uid), Some(account.gid)).unwrap();
    let run = |prefix: &[&str]| {
        let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
        words.extend(
            ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--kill-child", "--"]
                .map(Into::into),
        );
        words.extend([base.join("bench").into(), "--inside".into(), base.clone().into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&base);
        if rustix::process::geteuid().is_root() {
            command.uid(account.uid).gid(account.gid);
        }
        assert!(command.status().unwrap().success());
    };
    let toolchain = Toolchain::show(&base.join("toolchain"));
    println!("all processors");
    run(&[]);
    println!("one processor");
    run(&["taskset", "-c", "0"]);
    drop(toolchain);
    let _ = Command::new("rm").arg("-rf").arg(&base).status();
    drop(disk);
    let _ = std::fs::remove_dir(&place);
}

/// Rust's tools where the account can see them: those of root are in root's home.
struct Toolchain(PathBuf);

impl Toolchain {
    fn show(place: &Path) -> Self {
        let out = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc is installed");
        std::fs::create_dir_all(place).unwrap();
        let sysroot = String::from_utf8(out.stdout).unwrap();
        let bound = Command::new("mount").arg("--bind").arg(sysroot.trim()).arg(place).status();
        assert!(bound.unwrap().success(), "the bench is run as root");
        Self(place.to_owned())
    }
}

impl Drop for Toolchain {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn shell(dir: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "{script}");
}

fn inside(base: &Path) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if !base.join("lower").exists() {
        MATERIAL.iter().for_each(|script| shell(base, script));
    }
    let rounds = std::env::var("KELP_BENCH_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(5);
    let only = std::env::var("KELP_BENCH_ROWS").ok();
    let mut times: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for (who, name) in CONTENDERS.iter().enumerate() {
            let mut dirs = Dirs::new(base, &format!("{name}-{round}"), &[]);
            dirs.lowers = vec![base.join("lower")];
            let Some(mounted) = mount(name, &dirs) else { continue };
            for (row, Row { name: what, before, script }) in ROWS.iter().enumerate() {
                if only.as_ref().is_some_and(|only| !only.split(';').any(|part| what.contains(part))) {
                    continue;
                }
                shell(&dirs.at, before);
                write_back(&[&dirs.at, base]);
                let begin = Instant::now();
                shell(&dirs.at, script);
                times.entry((row, who)).or_default().push(begin.elapsed().as_secs_f64() * 1e3);
            }
            drop(mounted);
            shell(base, &format!("rm -rf {name}-{round}*"));
        }
    }
    report(&mut times);
}

/// What the row before left in memory goes to the disk now, not while the next is measured.
fn write_back(places: &[&Path]) {
    places.iter().for_each(|place| rustix::fs::syncfs(File::open(place).unwrap()).unwrap());
}

/// What takes a mount away when dropped.
struct Mounted(#[allow(dead_code, reason = "held, not read")] Option<Box<dyn std::any::Any>>, PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.0.is_none() {
            let _ = Command::new("umount").arg(&self.1).status();
        }
    }
}

fn mount(name: &str, dirs: &Dirs) -> Option<Mounted> {
    match name {
        "kernel" => Some(Mounted(Some(Box::new(dirs.kernel())), dirs.at.clone())),
        "kelp" => Some(Mounted(Some(Box::new(dirs.fuse())), dirs.at.clone())),
        _ => {
            let (lower, upper, work) = (dirs.lowers[0].display(), dirs.upper.display(), dirs.work.display());
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            let mut program = Command::new("fuse-overlayfs");
            program.arg("-o").arg(options).arg(&dirs.at).stderr(Stdio::null());
            let there = program.status().is_ok_and(|s| s.success()) && File::open(&dirs.at).is_ok();
            if !there {
                println!("fuse-overlayfs is not installed, or does not mount here");
            }
            there.then(|| Mounted(None, dirs.at.clone()))
        }
    }
}

fn report(times: &mut BTreeMap<(usize, usize), Vec<f64>>) {
    let mut median = |row, who| {
        let all = times.get_mut(&(row, who))?;
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    println!(
        "{:22} {:>8} {:>8} {:>8} {:>12} {:>14}",
        "ms", "kernel", "kelp", "fuse-o.", "kelp/kernel", "fuse-o./kelp"
    );
    let (mut product, mut rows) = (1.0, 0);
    for (row, Row { name, .. }) in ROWS.iter().enumerate() {
        let (Some(kernel), Some(ours)) = (median(row, 0), median(row, 1)) else { continue };
        let theirs = median(row, 2);
        let ahead = theirs.map(|t| t / ours);
        if let Some(ahead) = ahead {
            product *= ahead;
            rows += 1;
        }
        let show = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
        println!(
            "{name:22} {kernel:8.0} {ours:8.0} {:>8} {:>12.1} {:>14}",
            show(theirs, 0),
            ours / kernel,
            show(ahead, 1)
        );
    }
    if rows > 0 {
        println!("geometric mean of the last column: {:.1}", product.powf(1.0 / f64::from(rows)));
    }
}
