//! The union file system beside the kernel's overlay and fuse-overlayfs: `cargo bench --bench overlay`, as root on a
//! quiet machine.
//!
//! All three in a user namespace of an unprivileged account, over the same Debian root, on a fresh ext4. Rounds are
//! interleaved. Prints medians in milliseconds and ratios to the kernel's, never a verdict. `KELP_BENCH_ROUNDS` (5)
//! shortens or lengthens it; `taskset -c 0` before it shows one processor.

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

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use account::{Account, Kind, SCRATCH};
use mounts::Dirs;

/// What is measured, in this order: a mount begins cold.
const ROWS: &[(&str, &str)] = &[
    ("find, cold", "find usr -printf %s"),
    ("find, second", "find usr -printf %s"),
    ("find, third", "find usr -printf %s"),
    ("grep -r, cold", "grep -r nothing usr/share || true"),
    ("grep -r, warm", "grep -r nothing usr/share || true"),
    ("tar through a pipe", "tar -cf - usr | cat"),
    ("untar of 6,000", "tar -xf ../tree.tar"),
    ("chmod -R", "chmod -R g+w usr/share"),
    ("rm -r", "rm -r tree"),
    ("2,000 small files", "mkdir s; cd s; i=0; while [ $i -lt 2000 ]; do echo $i > $i; i=$((i+1)); done"),
    ("write 512 MB", "dd if=/dev/zero of=big bs=1M count=512"),
    ("read 512 MB", "dd if=big of=/dev/null bs=1M"),
    ("write by 4 KB", "dd if=/dev/zero of=big2 bs=4k count=25000"),
    (
        "8 at once",
        "for n in 1 2 3 4 5 6 7 8; do (mkdir p$n; cp -r etc p$n; find p$n; rm -r p$n) & done; wait",
    ),
];

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
    std::fs::copy(root, base.join("root.tar")).expect("tests/setup has made the Debian root");
    std::fs::copy("/proc/self/exe", base.join("bench")).unwrap();
    std::fs::set_permissions(base.join("bench"), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(&base, Some(account.uid), Some(account.gid)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--kill-child", "--"]);
    command.arg(base.join("bench")).arg("--inside").arg(&base).current_dir(&base);
    if rustix::process::geteuid().is_root() {
        command.uid(account.uid).gid(account.gid);
    }
    assert!(command.status().unwrap().success());
    let _ = Command::new("rm").arg("-rf").arg(&base).status();
    drop(disk);
    let _ = std::fs::remove_dir(&place);
}

fn shell(dir: &Path, script: &str) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "{script}");
}

fn inside(base: &Path) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    shell(base, "mkdir lower; tar -C lower --exclude=./dev -xf root.tar");
    shell(
        base,
        "mkdir -p src/tree; cd src/tree; for d in $(seq 60); do mkdir $d; for f in $(seq 90); do \
         head -c $((f*37)) /dev/zero > $d/f$f; done; for l in 1 2 3 4 5 6 7 8 9; do ln -s f1 $d/l$l; done; done; \
         cd ..; tar -cf ../tree.tar tree; rm -r tree",
    );
    let rounds = std::env::var("KELP_BENCH_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(5);
    let mut times: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for (who, name) in CONTENDERS.iter().enumerate() {
            let mut dirs = Dirs::new(base, &format!("{name}-{round}"), &[]);
            dirs.lowers = vec![base.join("lower")];
            let Some(mounted) = mount(name, &dirs) else { continue };
            for (row, (_, script)) in ROWS.iter().enumerate() {
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
        "{:20} {:>8} {:>8} {:>8} {:>12} {:>14}",
        "ms", "kernel", "kelp", "fuse-o.", "kelp/kernel", "fuse-o./kelp"
    );
    let (mut product, mut rows) = (1.0, 0);
    for (row, (name, _)) in ROWS.iter().enumerate() {
        let (Some(kernel), Some(ours)) = (median(row, 0), median(row, 1)) else { continue };
        let theirs = median(row, 2);
        let ahead = theirs.map(|t| t / ours);
        if let Some(ahead) = ahead {
            product *= ahead;
            rows += 1;
        }
        let show = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
        println!(
            "{name:20} {kernel:8.0} {ours:8.0} {:>8} {:>12.1} {:>14}",
            show(theirs, 0),
            ours / kernel,
            show(ahead, 1)
        );
    }
    if rows > 0 {
        println!("geometric mean of the last column: {:.1}", product.powf(1.0 / f64::from(rows)));
    }
}
