//! A hundred packages of Debian installed: what a package manager makes of a root is the same on every driver.

use std::time::Duration;

use crate::harness::{Release, Sandbox};

/// What differs from one installation to the next, whatever it is on: logs, numbers made up, times in indexes.
const FLEETING: &str = "/var/log /var/cache/ldconfig /var/cache/man /var/cache/apt /var/lib/dbus/machine-id \
    /etc/machine-id /run /tmp /debs";

/// Says of everything type, mode, owner, links, length and target, then of all files what is in them.
fn look() -> String {
    let pruned: String = FLEETING.split_whitespace().map(|path| format!("-path {path} -prune -o ")).collect();
    format!(
        "export LC_ALL=C; find / -xdev {pruned} -type d -printf '%p %y %m %U:%G\\n' \
         -o -printf '%p %y %m %U:%G %n %s %l\\n' | sort; \
         find / -xdev {pruned} -type f -print0 | sort -z | xargs -0 sha256sum"
    )
}

#[test]
fn a_hundred_are_installed_alike() {
    let s = Sandbox::new().debian(Release::Bookworm);
    let debs = s.packages_dir("debs");
    let packages = debs.read_dir().unwrap().count();
    assert!(packages >= 100, "{packages}");
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive; dpkg-query -W | wc -l; \
         apt-get install -y -q --no-install-recommends /debs/*.deb >/tmp/log 2>&1 || {{ cat /tmp/log >&2; exit 1; }}; \
         dpkg --audit; dpkg --verify; git --version >/dev/null; python3 -c 'import json'; dpkg-query -W | wc -l; {}",
        look()
    );
    let installed = |driver: &str| {
        let mount = format!("{}:/debs:ro", debs.display());
        let options =
            ["run", "--rm", "--hostname", "box", "--network", "none", "--snapshotter", driver, "-v", &mount];
        let words = [&options[..], &["debian", "sh", "-c", &script]].concat();
        s.kelp(words.as_slice()).limit(Duration::from_secs(400)).exits(0).stdout
    };
    let (theirs, ours) = (installed("overlay"), installed("fuse"));
    let counts: Vec<usize> = ours.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(counts[1] - counts[0], packages);
    let mut differ = Vec::new();
    for (a, b) in theirs.lines().zip(ours.lines()) {
        if a != b {
            differ.push(format!("overlay {a}\nfuse    {b}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} lines differ:\n{}",
        differ.len(),
        differ[..differ.len().min(20)].join("\n")
    );
    assert_eq!(theirs.lines().count(), ours.lines().count());
}
