//! Programs that find out what a file system is worth: two databases, git, and stress-ng, on ours.
//!
//! `tests/setup` installs them; without one its case fails, and names the package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Case;
use super::hand::{as_user, chmod, chown, shell};
use super::mounts::Dirs;

pub const CASES: &[Case] =
    &[("postgresql", postgresql), ("sqlite", sqlite), ("git", git), ("stress_ng", stress_ng)];

/// The directory of the newest PostgreSQL's programs.
fn postgresql_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions.flatten().map(|v| v.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists() && bin.join("pgbench").exists());
    found.sort();
    found.pop()
}

/// A short run of its benchmark, a server that is killed, and its recovery: what was committed is there.
fn postgresql(base: &Path) {
    const POSTGRES: u32 = 1000;
    let bin = postgresql_programs().unwrap_or_else(|| missing("initdb and pgbench", "postgresql"));
    chmod(base, 0o755);
    let dirs = Dirs::new(base, "m", &["l"]);
    let mount = dirs.fuse();
    chown(&mount.at, POSTGRES);
    let script = format!(
        "export PATH={}:$PATH PGHOST=$PWD PGUSER=tester LC_ALL=C; start() {{ pg_ctl -D data -l log -w \
         -o \"-k $PWD -c listen_addresses=''\" start; }}; initdb -D data -U tester --auth=trust; start; createdb bench; \
         pgbench -i -q -s 1 bench; pgbench -c 4 -j 2 -T 4 bench; \
         sum='select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)'; \
         test \"$(psql -Atc \"$sum\" bench)\" = t; rows=$(psql -Atc 'select count(*) from pgbench_history' bench); \
         test $rows -gt 10; pid=$(head -1 data/postmaster.pid); kill -9 $pid $(pgrep -P $pid); \
         while pgrep -u {POSTGRES} postgres >/dev/null; do sleep 0.05; done; rm -f data/postmaster.pid; start; \
         test \"$(psql -Atc 'select count(*) from pgbench_history' bench)\" = $rows; \
         test \"$(psql -Atc \"$sum\" bench)\" = t; pg_ctl -D data -m fast -w stop; pg_checksums --version",
        bin.display(),
    );
    let done = as_user(POSTGRES, "", &mount.at, &script);
    let log = fs::read_to_string(mount.at.join("log")).unwrap_or_default();
    // A server that goes on would keep the mount.
    let _ = Command::new("pkill").args(["-9", "-u", &POSTGRES.to_string(), "-f", "postgres"]).status();
    assert!(done, "{log}");
}

fn sqlite(base: &Path) {
    let mount = Dirs::new(base, "m", &["l"]).fuse();
    require("sqlite3", "sqlite3");
    for mode in ["delete", "wal"] {
        let script = format!(
            "sqlite3 {mode}.db 'pragma journal_mode={mode}; create table t (a, b)' >/dev/null; \
             for n in 1 2 3 4; do (for m in $(seq 20); do sqlite3 -cmd '.timeout 20000' {mode}.db \
             \"insert into t values ($n, randomblob(5000))\"; done) & done; wait; \
             sqlite3 {mode}.db 'delete from t where a = 4; vacuum; pragma integrity_check; select count(*) from t'"
        );
        assert_eq!(shell(&mount.at, &script), "ok\n60\n", "{mode}");
    }
}

fn git(base: &Path) {
    let mount = Dirs::new(base, "m", &["l"]).fuse();
    require("git", "git");
    let script = "export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a; \
        git init -q -b main one; cd one; for n in $(seq 300); do mkdir -p d$((n % 20)); seq $n 500 > d$((n % 20))/f$n; done; \
        git add .; git commit -qm first; for n in $(seq 1 7 300); do echo x >> d$((n % 20))/f$n; done; \
        git commit -qam second; git mv d1 moved; git commit -qm third; cd ..; git clone -q one two; cd two; \
        git gc -q --aggressive --prune=now; git fsck --strict --full; git checkout -q HEAD~2; git checkout -q main; \
        git status --porcelain; git log --format=%s";
    assert_eq!(shell(&mount.at, script), "third\nsecond\nfirst\n");
}

/// Those of its stressors that work on files and their names, checked by themselves; each two seconds, two at a time:
/// three quarters of a minute.
const STRESSORS: [&str; 22] = [
    "chmod",
    "chown",
    "copy-file",
    "dentry",
    "dir",
    "dirmany",
    "fallocate",
    "fiemap",
    "filename",
    "flock",
    "getdent",
    "hdd",
    "iomix",
    "link",
    "lockf",
    "rename",
    "seek",
    "symlink",
    "sync-file",
    "touch",
    "utime",
    "xattr",
];

fn stress_ng(base: &Path) {
    let mount = Dirs::new(base, "m", &["l"]).fuse();
    require("stress-ng", "stress-ng");
    let each = STRESSORS.map(|name| {
        format!("stress-ng --{name} 2 -t 2 --verify --temp-path . --quiet || echo {name} failed")
    });
    assert_eq!(shell(&mount.at, &each.join("; ")), "");
}

fn require(program: &str, package: &str) {
    let found = Command::new("which").arg(program).output().is_ok_and(|out| out.status.success());
    if !found {
        missing(program, package)
    }
}

fn missing(program: &str, package: &str) -> ! {
    panic!("{program} is not installed (Debian: {package}): run tests/setup")
}
