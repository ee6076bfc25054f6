//! Deaths between the steps of the journal, and what the next command makes of them.

use rustix::fs::FlockOperation;

use super::*;
use crate::store::crash;
use crate::store::lock::lock_dir;

/// Runs `work` with a store of its own and lets it die at `point`. Fails when the point is never reached.
fn die_at(point: &'static str, root: &Path, work: impl FnOnce(&Store) + Send) {
    let died = std::thread::scope(|scope| {
        let mortal = scope.spawn(|| {
            let store = Store::open(root).unwrap();
            crash::AT.set(Some(point));
            work(&store);
        });
        mortal.join()
    });
    let payload = died.expect_err("it died");
    assert_eq!(payload.downcast_ref::<&'static str>(), Some(&point), "it died where it should");
}

#[test]
fn a_creator_killed_anywhere_leaves_all_or_nothing() {
    if !alone() {
        return;
    }
    let points =
        [("create: staged", 0), ("create: filled", 0), ("create: recorded", 1), ("create: published", 1)];
    for (point, survivors) in points {
        let (_dir, root) = place();
        let made = record("mortal");
        die_at(point, &root, |store| drop(store.create_container(&made, fill)));
        let store = Store::open(&root).unwrap();
        assert_eq!(store.containers().unwrap().len(), survivors, "{point}");
        assert_eq!(store.container_dir(&made.id).exists(), survivors == 1, "{point}");
        assert_sound(&store);
        if survivors == 0 {
            store.create_container(&made, fill).unwrap();
            assert_sound(&store);
        }
    }
}

#[test]
fn a_remover_killed_anywhere_leaves_all_or_nothing() {
    if !alone() {
        return;
    }
    let points = [("remove: withdrawn", 1), ("remove: forgotten", 0), ("remove: deleted", 0)];
    for (point, survivors) in points {
        let (_dir, root) = place();
        let made = create(&Store::open(&root).unwrap(), "mortal");
        die_at(point, &root, |store| {
            drop(store.remove_container(&made.id, |path| store.delete_tree(path)));
        });
        let store = Store::open(&root).unwrap();
        assert_eq!(store.containers().unwrap().len(), survivors, "{point}");
        assert_eq!(store.container_dir(&made.id).exists(), survivors == 1, "{point}");
        assert_sound(&store);
        create(&store, if survivors == 1 { "next" } else { "mortal" });
    }
}

#[test]
fn content_killed_anywhere_is_whole_or_gone() {
    if !alone() {
        return;
    }
    let layer = format!("sha256:{:064x}", 7);
    for point in ["blob: written", "blob: published", "layer: unpacked", "layer: published"] {
        for known in [None, Some(layer.as_str())] {
            let (_dir, root) = place();
            die_at(point, &root, |store| {
                store.put_blob(b"a blob").unwrap();
                let stage = store.stage_layer(known).unwrap().unwrap();
                std::fs::create_dir(stage.path().join("etc")).unwrap();
                stage.commit(&layer, 1).unwrap();
            });
            let store = Store::open(&root).unwrap();
            assert_sound(&store);
            assert_eq!(store.layer_exists(&layer).unwrap(), store.layer_dir(&layer).exists());
            store.put_blob(b"a blob").unwrap();
            let stage = store.stage_layer(known).unwrap().unwrap();
            stage.commit(&layer, 1).unwrap();
            assert_sound(&store);
        }
    }
}

#[test]
fn a_collection_killed_anywhere_is_finished_by_the_next() {
    if !alone() {
        return;
    }
    for point in ["content: forgotten", "content: withdrawn"] {
        let (_dir, root) = place();
        let layer = format!("sha256:{:064x}", 7);
        die_at(point, &root, |store| {
            store.stage_layer(None).unwrap().unwrap().commit(&layer, 1).unwrap();
            drop(store.remove_unreferenced(|path| store.delete_tree(path)));
        });
        let store = Store::open(&root).unwrap();
        assert!(!store.layer_exists(&layer).unwrap());
        assert!(!store.layer_dir(&layer).exists());
        assert_sound(&store);
    }
}

#[test]
fn the_collector_leaves_the_living_alone() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let scratch = store.scratch().unwrap();
    let stage = store.stage_layer(None).unwrap().unwrap();
    std::fs::File::create(scratch.path().join("kept")).unwrap();
    std::fs::File::create(stage.path().join("kept")).unwrap();
    let other = Store::open(store.root()).unwrap();
    assert!(scratch.path().join("kept").exists() && stage.path().join("kept").exists());
    assert_eq!(other.check(CheckOptions::default()).unwrap(), []);
    drop((scratch, stage));
    assert_sound(&store);
}

#[test]
fn the_work_of_another_process_is_left_until_it_dies() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    drop(Store::open(&root).unwrap());
    let key = record("any").id.to_string();
    let entry = root.join(format!("staging/container-{key}"));
    std::fs::create_dir_all(entry.join("upper")).unwrap();
    // `-F`: the sleeper itself has the descriptor.
    let mut maker =
        std::process::Command::new("flock").arg("-F").arg(&entry).args(["sleep", "60"]).spawn().unwrap();
    while lock_dir(&entry, FlockOperation::NonBlockingLockExclusive).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(Store::open(&root).unwrap());
    assert!(entry.join("upper").exists());
    maker.kill().unwrap();
    maker.wait().unwrap();
    let store = Store::open(&root).unwrap();
    assert!(!entry.exists());
    assert_sound(&store);
}
