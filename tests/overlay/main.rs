//! Tests of the union file system: real mounts, in a user and mount namespace of an unprivileged account's own.
//!
//! The library is called directly, without the program around it: threads of this process serve the mounts that
//! its other threads use. Arguments are parts of names of the tests to run.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has to fail, and says where")]
#![allow(
    clippy::disallowed_methods,
    reason = "the fences of src/ keep the binary's rooms apart, not its tests"
)]
#![allow(clippy::print_stdout, reason = "a test runner tells its results")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(dead_code, reason = "the accounts have uses in other test binaries that they do not have here")]

#[path = "../harness/account.rs"]
mod account;
mod company;
mod content;
mod counts;
mod differential;
mod directories;
mod extremes;
mod fsx;
mod full;
mod hand;
mod holes;
mod hostile;
mod layers;
mod map;
mod mounts;
mod pjdfstest;
mod programs;
mod random;
mod requests;
mod rights;
mod robust;
mod sequence;
mod tree;
mod unionmount;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use account::{Account, Kind, SCRATCH};

/// A test and its name.
pub type Case = (&'static str, fn(&Path));

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "--inside" => inside(rest),
        _ => outside(&args),
    }
}

/// Makes a directory and a namespace for an account, and goes on there.
fn outside(args: &[String]) -> ExitCode {
    let account = Account::borrow(Kind::Ranges);
    let base = Path::new(SCRATCH).join(format!("overlay-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    chown(&base, Some(account.uid), Some(account.gid)).unwrap();
    let program = base.join("test");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/pjdfstest");
    if suite.exists() {
        std::fs::copy(suite, base.join("pjdfstest.program")).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--kill-child", "--"]);
    command.arg(&program).arg("--inside").arg(&base).args(args);
    command.current_dir(&base).env("HOME", &base).env("RUST_BACKTRACE", "0");
    if rustix::process::geteuid().is_root() {
        command.uid(account.uid).gid(account.gid);
    }
    let status = command.status().expect("unshare(1) of util-linux is installed");
    let cleared = Command::new("rm").arg("-rf").arg(&base).status().unwrap();
    ExitCode::from(u8::from(!status.success() || !cleared.success()))
}

fn inside(args: &[String]) -> ExitCode {
    let (base, filters) = args.split_first().expect("the directory to work in");
    let base = PathBuf::from(base);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut failed = 0;
    let cases = [
        // First: what others leave on the heap would be room for it.
        robust::CASES,
        layers::CASES,
        content::CASES,
        holes::CASES,
        full::CASES,
        fsx::CASES,
        directories::CASES,
        extremes::CASES,
        rights::CASES,
        counts::CASES,
        company::CASES,
        differential::CASES,
        unionmount::CASES,
        pjdfstest::CASES,
        programs::CASES,
    ]
    .concat();
    for (name, case) in cases {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.trim_start_matches('-'))) {
            continue;
        }
        let dir = base.join(name.replace(':', "_"));
        std::fs::create_dir(&dir).unwrap();
        let result = std::panic::catch_unwind(|| case(&dir));
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(result.is_err());
        let _ = Command::new("rm").arg("-rf").arg(&dir).status();
    }
    println!("{failed} failed");
    ExitCode::from(u8::from(failed > 0))
}
