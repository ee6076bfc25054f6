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
use super::lock::LifeLock;
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

fn record(name: &str) -> ContainerRecord {
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

/// Ends a life. Other tests of this process fork, and their children have copies of its descriptors, with the locks on
/// them, until they execute something or end.
fn let_go(life: LifeLock, store: &Store, record: &ContainerRecord) {
    drop(life);
    assert!(in_a_moment(|| !store.life_lock_held(&record.id).unwrap()));
}

fn in_a_moment(condition: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        condition() || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            false
        }
    })
}

/// Nothing is wrong, and nothing is under way: what a fork in another test has kept locked is collected a little later.
fn assert_sound(store: &Store) {
    let is_empty = || {
        drop(Store::open(store.root()).unwrap());
        std::fs::read_dir(store.staging_dir()).unwrap().count() == 0
    };
    assert!(in_a_moment(is_empty));
    assert_eq!(store.check(CheckOptions { blobs: true }).unwrap(), []);
}

fn event_actions(store: &Store) -> Vec<String> {
    store.read_events(None, None).unwrap().into_iter().map(|e| e.action).collect()
}
