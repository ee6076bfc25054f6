//! The POSIX file system test suite pjdfstest: it has to find ours and the kernel's overlay alike, case by case.
//!
//! `tests/setup` installs it. Devices cannot be made in a user namespace, so its cases of those fail on either.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::Case;
use super::hand::{chmod, write};
use super::mounts::Dirs;

pub const CASES: &[Case] = &[("pjdfstest", pjdfstest)];

const SETTINGS: &str = "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutimensat = {}\nutime_now = {}\n\
    [settings]\nnaptime = 0.01\nallow_remount = false\nexpected_failures = []\n\
    [dummy_auth]\nentries = [[\"daemon\", \"daemon\"], [\"bin\", \"bin\"], [\"games\", \"games\"]]\n";

fn pjdfstest(base: &Path) {
    let program = base.with_file_name("pjdfstest.program");
    assert!(program.exists(), "pjdfstest is not installed: run tests/setup");
    chmod(base, 0o755);
    write(base.join("settings.toml"), SETTINGS);
    let judge = |at: &Path| -> BTreeMap<String, bool> {
        chmod(at, 0o777);
        let mut command = Command::new(&program);
        command.arg("-c").arg(base.join("settings.toml")).args(["-p", "."]).current_dir(at);
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, result) = (words.next()?, words.next()?);
            (name.contains("::") && ["ok", "FAILED"].contains(&result))
                .then(|| (name.to_owned(), result == "ok"))
        };
        text.lines().filter_map(line).collect()
    };
    let theirs = judge(&Dirs::new(base, "theirs", &["lower"]).kernel().at);
    let ours = judge(&Dirs::new(base, "ours", &["lower"]).fuse().at);
    let passed = ours.values().filter(|ok| **ok).count();
    println!("pjdfstest: {passed} of {} cases", ours.len());
    assert!(passed > 280, "it did not run");
    let differ: Vec<_> = ours.iter().filter(|(name, ok)| theirs.get(*name) != Some(ok)).collect();
    assert!(differ.is_empty(), "ours and the kernel's differ: {differ:?}");
    // Sockets: the paths of some are longer than a socket's address can be.
    let excused = |name: &str| ["::block", "::char", "::socket"].iter().any(|kind| name.ends_with(kind));
    let failed: Vec<_> = ours.iter().filter(|(name, ok)| !**ok && !excused(name)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
