//! The store as its users see it: real files, real locks, real deaths.

mod content;
mod crashes;
mod opening;
mod rows;
mod truth;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::check::CheckOptions;
use super::container::{ContainerRecord, Phase};
use super::id::ContainerId;
use super::{Result, Store};

/// A directory for a store, which is not there yet.
fn place() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("kelp");
    (dir, root)
}

fn store() -> (TempDir, Store) {
    let (dir, root) = place();
    let store = Store::open(&root).unwrap();
    (dir, store)
}

pub(in crate::store) fn record(name: &str) -> ContainerRecord {
    ContainerRecord {
        id: ContainerId::random().unwrap(),
        name: name.parse().unwrap(),
        created: Timestamp::now(),
        started: None,
        finished: None,
        phase: Phase::Created,
        exit_code: None,
        oom_killed: false,
        error: String::new(),
        auto_remove: false,
        image: "debian".into(),
        image_id: None,
        command: vec!["sh".into(), "-c".into(), "true".into()],
        layers: Vec::new(),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        request: format!("{{\"name\":\"{name}\"}}"),
    }
}

fn fill(dir: &Path) -> Result<()> {
    std::fs::create_dir(dir.join("upper")).unwrap();
    std::fs::File::create(dir.join("config.json")).unwrap();
    Ok(())
}

fn create(store: &Store, name: &str) -> ContainerRecord {
    let record = record(name);
    store.create_container(&record, fill).unwrap();
    record
}

/// Whether this test has a process for itself. Where not, it is run in one first: other tests fork, and their children
/// have copies of this process's descriptors, and with them its locks, until they execute something or end.
#[allow(clippy::disallowed_methods, reason = "the fences of src/ are not for its tests")]
pub(in crate::store) fn alone() -> bool {
    const MARK: &str = "KELP_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let test = std::thread::current().name().unwrap().to_owned();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Nothing is wrong, and nothing is under way.
fn assert_sound(store: &Store) {
    assert_eq!(store.check(CheckOptions { blobs: true }).unwrap(), []);
    assert_eq!(std::fs::read_dir(store.staging_dir()).unwrap().count(), 0);
}

fn event_actions(store: &Store) -> Vec<String> {
    store.read_events(None, None).unwrap().into_iter().map(|e| e.action).collect()
}
