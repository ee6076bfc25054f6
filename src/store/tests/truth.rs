//! Every state that row, lock and state file can be in together.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::*;
use crate::store::container::{Exit, Observed, ShimState, Status, boot_id, process_start};
use crate::store::{Error, lock::LifeLock};

/// A container that was just launched, and the lock its shim would hold.
fn launched(store: &Store) -> (ContainerRecord, LifeLock) {
    let made = create(store, "subject");
    let life = store.life_lock(&made.id).unwrap().unwrap();
    store.mark_launched(&made.id).unwrap();
    (store.find_container("subject").unwrap(), life)
}

fn state(started: bool, exit: Option<Exit>) -> ShimState {
    let started = started.then(Timestamp::now);
    ShimState { boot_id: boot_id().unwrap(), init_pid: 4_000_000, started, exit, ..ShimState::default() }
}

fn exit(code: i32) -> Exit {
    Exit { code, signal: None, oom_killed: true, finished: Timestamp::now(), error: String::new() }
}

/// What is observed, twice: recording it must not change it.
fn observe(store: &Store, record: &ContainerRecord) -> Observed {
    let first = store.observe(record).unwrap();
    let again = store.observe(&store.find_container(record.id.as_str()).unwrap()).unwrap();
    assert_eq!(first.status, again.status);
    assert_eq!(first.exit_code, again.exit_code);
    assert_eq!(first.error, again.error);
    first
}

fn phase(store: &Store) -> Phase {
    store.find_container("subject").unwrap().phase
}

#[test]
fn starting_running_ended_in_the_life_of_a_shim() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    let starting = observe(&store, &record);
    assert_eq!((starting.status, starting.starting), (Status::Created, true));
    store.write_state(&record.id, &state(false, None)).unwrap();
    let starting = observe(&store, &record);
    assert_eq!((starting.status, starting.starting), (Status::Created, true));

    store.write_state(&record.id, &state(true, None)).unwrap();
    let running = observe(&store, &record);
    assert_eq!((running.status, running.pid, running.exit_code), (Status::Running, Some(4_000_000), None));
    assert!(!running.starting);

    store.write_state(&record.id, &state(true, Some(exit(5)))).unwrap();
    let ended = observe(&store, &record);
    assert_eq!((ended.status, ended.pid, ended.exit_code), (Status::Exited, None, Some(5)));
    assert!(ended.oom_killed);
    assert_eq!(phase(&store), Phase::Launched, "the shim lives and records its end itself");

    drop(life);
    assert_eq!(observe(&store, &record).exit_code, Some(5));
    assert_eq!(phase(&store), Phase::Exited);
    assert_eq!(event_actions(&store), ["create", "oom", "die"]);
}

#[test]
fn a_killed_shim_is_recorded_and_its_orphan_named() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    let mut orphan = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let start = process_start(orphan.id()).unwrap();
    let orphaned = ShimState { init_pid: orphan.id(), init_start: start, ..state(true, None) };
    store.write_state(&record.id, &orphaned).unwrap();
    drop(life);
    let lost = store.observe(&record).unwrap();
    let end = orphan.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(libc::SIGKILL));
    assert_eq!((lost.status, lost.exit_code), (Status::Exited, Some(137)));
    assert!(!lost.error.is_empty());
    assert_eq!(phase(&store), Phase::Exited);
    assert_eq!(event_actions(&store), ["create", "die"]);
}

#[test]
fn a_recycled_pid_is_nobodys_orphan() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    let me = std::process::id();
    let recycled =
        ShimState { init_pid: me, init_start: process_start(me).unwrap() + 1, ..state(true, None) };
    store.write_state(&record.id, &recycled).unwrap();
    drop(life);
    // The process that has the pid now is this one.
    assert_eq!(observe(&store, &record).exit_code, Some(137));
}

#[test]
fn another_boot_is_told_from_a_kill() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    let rebooted = ShimState { boot_id: "another".into(), ..state(true, None) };
    store.write_state(&record.id, &rebooted).unwrap();
    drop(life);
    let lost = observe(&store, &record);
    assert_eq!((lost.status, lost.exit_code), (Status::Exited, Some(255)));
    assert_eq!(lost.error, "the host was rebooted");
}

#[test]
fn an_interrupted_start_goes_back() {
    if !alone() {
        return;
    }
    for told in [None, Some(state(false, None))] {
        let (_dir, store) = store();
        let (record, life) = launched(&store);
        if let Some(state) = told {
            store.write_state(&record.id, &state).unwrap();
        }
        drop(life);
        assert_eq!(observe(&store, &record).status, Status::Created);
        assert_eq!(phase(&store), Phase::Created);
    }
}

#[test]
fn a_second_start_does_not_believe_the_first_ones_state() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    store.write_state(&record.id, &state(true, Some(exit(5)))).unwrap();
    drop(life);
    observe(&store, &record);
    let _life = store.life_lock(&record.id).unwrap().unwrap();
    store.mark_launched(&record.id).unwrap();
    let record = store.find_container("subject").unwrap();
    assert_eq!(observe(&store, &record).status, Status::Exited, "what it was before, until it runs");
    store.record_failed_start(&record.id, Some(127), "no such command").unwrap();
    assert_eq!(phase(&store), Phase::Exited);
    assert_eq!(store.find_container("subject").unwrap().error, "no such command");
}

#[test]
fn what_cannot_be_recorded_is_still_told() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    store.write_state(&record.id, &state(true, None)).unwrap();
    drop(life);
    let reader = Store::open_read_only(store.root()).unwrap().unwrap();
    assert_eq!(reader.observe(&record).unwrap().exit_code, Some(137));
    assert_eq!(phase(&store), Phase::Launched);
}

#[test]
fn many_observers_tell_one_death() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let (record, life) = launched(&store);
    store.write_state(&record.id, &state(true, None)).unwrap();
    drop(life);
    let root = store.root();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(root).unwrap();
                assert_eq!(store.observe(&record).unwrap().exit_code, Some(137));
            });
        }
    });
    assert_eq!(event_actions(&store), ["create", "die"]);
}

#[test]
fn the_life_lock_outlives_whoever_took_it() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = create(&store, "heir");
    let life: OwnedFd = store.life_lock(&made.id).unwrap().unwrap().into();
    assert!(store.life_lock(&made.id).unwrap().is_none());
    assert!(store.wait_life_lock(&made.id, Duration::from_millis(20)).unwrap().is_none());
    // Handed down as standard input of another process, as a shim gets its own.
    let mut shim = std::process::Command::new("sleep").arg("60").stdin(life).spawn().unwrap();
    assert!(store.life_lock_held(&made.id).unwrap());
    assert!(store.life_lock(&made.id).unwrap().is_none());
    shim.kill().unwrap();
    let lock = store.wait_life_lock(&made.id, Duration::from_secs(10)).unwrap();
    shim.wait().unwrap();
    assert!(lock.is_some());
}

#[test]
fn asking_never_stops_a_start() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = create(&store, "asked");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let layout = store.layout();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    layout.life_lock_held(&made.id).unwrap();
                }
            });
        }
        let taken = (0..2000).filter(|_| store.life_lock(&made.id).unwrap().is_some()).count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(taken, 2000);
    });
}

#[test]
fn locks_of_a_removed_container_are_refused() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = create(&store, "gone");
    let busy = store.operation_lock(&made.id).unwrap();
    std::thread::scope(|scope| {
        let layout = store.layout().clone();
        let waiter = scope.spawn(move || layout.operation_lock(&made.id).map(|_| ()));
        std::thread::sleep(Duration::from_millis(30));
        store.remove_container(&store.find_container("gone").unwrap().id, |p| store.delete_tree(p)).unwrap();
        drop(busy);
        assert!(matches!(waiter.join().unwrap(), Err(Error::NoSuchContainer(_))));
    });
}
