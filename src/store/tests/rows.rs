//! Containers in the database: found, listed, renamed, fought over.

use std::sync::Barrier;

use super::*;
use crate::store::container::Exit;
use crate::store::{Error, container};

fn with_id(name: &str, prefix: &str) -> ContainerRecord {
    let id = format!("{prefix:0<64}").parse().unwrap();
    ContainerRecord { id, ..record(name) }
}

#[test]
fn a_record_comes_back_as_it_went() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = create(&store, "whole");
    assert_eq!(store.find_container("whole").unwrap(), made);
    assert_eq!(store.containers().unwrap(), std::slice::from_ref(&made));
    assert_eq!(store.container_rows().unwrap(), [ContainerRecord { request: String::new(), ..made }]);
}

#[test]
fn found_by_name_by_id_and_by_its_beginning() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    for (name, id) in [("one", "abc1"), ("two", "abc2"), ("three", "d0")] {
        store.create_container(&with_id(name, id), fill).unwrap();
    }
    let found = |word: &str| store.find_container(word).map(|c| c.name.to_string());
    assert_eq!(found("one").unwrap(), "one");
    assert_eq!(found("/one").unwrap(), "one");
    assert_eq!(found(&format!("{:0<64}", "abc2")).unwrap(), "two");
    assert_eq!(found("abc2").unwrap(), "two");
    assert_eq!(found("d").unwrap(), "three");
    assert!(matches!(found("abc").unwrap_err(), Error::AmbiguousPrefix { .. }));
    for nothing in ["", "e", "on", "abc3", "%", "abc%", "x'y", &"d".repeat(65)] {
        assert!(matches!(found(nothing).unwrap_err(), Error::NoSuchContainer(_)), "{nothing}");
    }
}

#[test]
fn a_name_that_looks_like_an_id_wins_over_a_prefix() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    store.create_container(&with_id("other", "cafe"), fill).unwrap();
    store.create_container(&with_id("cafe", "1"), fill).unwrap();
    assert_eq!(store.find_container("cafe").unwrap().name.as_str(), "cafe");
}

#[test]
fn a_taken_name_names_its_holder_and_leaves_nothing() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let first = create(&store, "mine");
    let error = store.create_container(&record("mine"), fill).unwrap_err();
    assert!(matches!(&error, Error::NameTaken { holder, .. } if *holder == first.id), "{error:?}");
    let second = create(&store, "yours");
    assert!(matches!(store.rename_container(&second.id, &first.name), Err(Error::NameTaken { .. })));
    store.rename_container(&second.id, &"theirs".parse().unwrap()).unwrap();
    assert_eq!(store.find_container("theirs").unwrap().id, second.id);
    assert_sound(&store);
}

#[test]
fn a_failing_fill_leaves_nothing() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let failed: Result<()> = store.create_container(&record("never"), |dir| {
        fill(dir)?;
        Err(Error::Job { message: "no".into(), hint: None })
    });
    assert!(matches!(failed, Err(Error::Job { .. })));
    assert_eq!(store.containers().unwrap(), []);
    assert_eq!(std::fs::read_dir(store.containers_dir()).unwrap().count(), 0);
    assert_sound(&store);
}

/// Runs `work` on `n` threads with a store opened by each, all at the same moment.
fn at_once<T: Send>(store: &Store, n: usize, work: impl Fn(usize, &Store) -> T + Sync) -> Vec<T> {
    let gate = Barrier::new(n);
    let root = store.root();
    std::thread::scope(|scope| {
        let (gate, work) = (&gate, &work);
        let start = |i| {
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                gate.wait();
                work(i, &store)
            })
        };
        let threads: Vec<_> = (0..n).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn of_many_creators_of_one_name_one_wins() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    for round in 0..5 {
        let name = format!("prize{round}");
        let results = at_once(&store, 8, |_, store| store.create_container(&record(&name), fill));
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
        assert!(results.iter().all(|r| matches!(r, Ok(()) | Err(Error::NameTaken { .. }))), "{results:?}");
    }
    assert_eq!(store.containers().unwrap().len(), 5);
    assert_sound(&store);
}

#[test]
fn of_many_removers_one_wins() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    for round in 0..5 {
        let made = create(&store, &format!("doomed{round}"));
        let results = at_once(&store, 4, |_, store| {
            let _busy = store.operation_lock(&made.id)?;
            store.remove_container(&made.id, |path| store.delete_tree(path))
        });
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
        assert!(results.iter().all(|r| matches!(r, Ok(()) | Err(Error::NoSuchContainer(_)))), "{results:?}");
    }
    assert_eq!(event_actions(&store).iter().filter(|a| *a == "destroy").count(), 5);
    assert_sound(&store);
}

#[test]
fn fifty_at_once_come_and_go() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    at_once(&store, 50, |i, store| {
        let made = create(store, &format!("busy{i}"));
        store.mark_launched(&made.id).unwrap();
        let finished = Timestamp::now();
        let exit = Exit { code: 3, signal: None, oom_killed: false, finished, error: String::new() };
        store.record_exit(&made.id, &exit, None).unwrap();
        if i % 2 == 0 {
            store.remove_container(&made.id, |path| store.delete_tree(path)).unwrap();
        }
    });
    let left = store.containers().unwrap();
    assert_eq!(left.len(), 25);
    assert!(left.iter().all(|c| c.exit_code == Some(3) && c.phase == container::Phase::Exited));
    assert_eq!(event_actions(&store).len(), 50 * 2 + 25);
    assert_sound(&store);
}

#[test]
fn an_end_is_recorded_once() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = create(&store, "mortal");
    store.mark_launched(&made.id).unwrap();
    for code in [7, 8] {
        let finished = Timestamp::now();
        let exit = Exit { code, signal: None, oom_killed: false, finished, error: String::new() };
        store.record_exit(&made.id, &exit, None).unwrap();
    }
    assert_eq!(store.find_container("mortal").unwrap().exit_code, Some(7));
    let events = store.read_events(None, None).unwrap();
    let die = events.iter().find(|e| e.action == "die").unwrap();
    assert_eq!(die.actor.attributes["exitCode"], "7");
    assert_eq!(die.actor.attributes["name"], "mortal");
    assert_eq!(event_actions(&store), ["create", "die"]);
}

#[test]
fn the_log_is_tidied_when_it_has_grown() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    (0..60).for_each(|n| drop(create(&store, &format!("c{n}"))));
    let wal = store.database().with_extension("db-wal");
    let size = || std::fs::metadata(&wal).unwrap().len();
    let long = size();
    assert!(long > 256 << 10);
    let somebody_else = store.layout().announce_tidying().unwrap();
    store.tidy().unwrap();
    assert_eq!(size(), long);
    drop(somebody_else);
    store.tidy().unwrap();
    let size = size();
    assert!(0 < size && size < 16 << 10, "a new log, begun: {size}");
    assert_eq!(store.containers().unwrap().len(), 60);
}
