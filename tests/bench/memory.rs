//! How much memory a command takes at its worst: of all its processes together, and of a daemon that works for it.
//!
//! What is added up is the proportional set (PSS), in which a page that several processes share counts once. It is
//! looked at again and again while the command runs; a peak between two looks is missed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// MB at the worst moment while `command` runs, which must succeed. `daemon` is a process whose descendants, and it
/// itself, are counted instead of the command's.
pub fn peak(mut command: Command, daemon: Option<i32>) -> f64 {
    let mut child = command.spawn().unwrap();
    let root = daemon.unwrap_or(child.id().cast_signed());
    let mut worst = 0.0;
    loop {
        worst = f64::max(worst, family(root).into_iter().filter_map(proportional_set).sum());
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}: {status}");
            return worst;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A process and all that descend from it.
fn family(root: i32) -> BTreeSet<i32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold anything; what follows its parenthesis are the state and the parent.
        let after = stat.rsplit(')').next().unwrap_or_default();
        parents.extend(after.split_whitespace().nth(1).and_then(|p| p.parse::<i32>().ok()).map(|p| (pid, p)));
    }
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| family.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            return family;
        }
    }
}

/// MB; `None` of a process that has gone.
pub fn proportional_set(pid: i32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|l| l.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
