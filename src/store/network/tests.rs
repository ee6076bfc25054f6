//! Subnets, and leases that never clash.

use super::*;
use crate::store::container::{ContainerRecord, Phase};
use crate::store::id::ContainerId;
use crate::store::tests::{alone, record};

fn network(text: &str, prefix: u8) -> NetworkRecord {
    NetworkRecord {
        id: ContainerId::random().unwrap().to_string(),
        name: "n".into(),
        created: Timestamp::now(),
        v4: Subnet::around(text.parse().unwrap(), prefix),
        v6: None,
        reserved: BTreeMap::new(),
        internal: false,
        attachable: false,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

#[test]
fn arithmetic() {
    let net: Subnet<Ipv4Addr> = Subnet::around([10, 1, 2, 77].into(), 24);
    assert_eq!((net.first, net.gateway), ([10, 1, 2, 0].into(), [10, 1, 2, 1].into()));
    assert!(net.contains([10, 1, 2, 255].into()) && !net.contains([10, 1, 3, 0].into()));
    for nobodys in [[10, 1, 2, 0], [10, 1, 2, 1], [10, 1, 2, 255], [10, 1, 3, 4]] {
        assert!(!net.is_for_containers(nobodys.into()), "{nobodys:?}");
    }
    assert!(net.overlaps(([10, 0, 0, 0].into(), 8)) && !net.overlaps(([10, 1, 3, 0].into(), 24)));
    assert_eq!(net.lowest_free(&[[10, 1, 2, 2].into()]), Some([10, 1, 2, 3].into()));
    let range = Subnet { range: Some(([10, 1, 2, 128].into(), 31)), ..net };
    assert_eq!(range.lowest_free(&[[10, 1, 2, 128].into()]), Some([10, 1, 2, 129].into()));
    assert_eq!(range.lowest_free(&[[10, 1, 2, 128].into(), [10, 1, 2, 129].into()]), None);
    let six: Subnet<Ipv6Addr> = Subnet::around("fd00::5".parse().unwrap(), 64);
    assert_eq!(six.lowest_free(&[]), Some("fd00::2".parse().unwrap()));
    let whole: Subnet<Ipv6Addr> = Subnet::around("fd00::5".parse().unwrap(), 0);
    assert!(whole.contains("::1".parse().unwrap()));
}

#[test]
fn leases_are_distinct_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = Store::open(&root).unwrap();
    let net = store.create_network(|_| Ok::<_, ()>(network("10.1.2.0", 24))).unwrap().unwrap();
    let ids: Vec<_> = (0..8).map(|_| ContainerId::random().unwrap()).collect();
    let mut found: Vec<Ipv4Addr> = std::thread::scope(|scope| {
        let threads: Vec<_> = ids
            .iter()
            .map(|id| {
                let (root, net) = (&root, &net);
                scope.spawn(move || {
                    let store = Store::open(root).unwrap();
                    store.lease_address(net, id, &Wanted::default(), Idle::Keep).unwrap().ipv4
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let again = store.lease_address(&net, &ids[0], &Wanted::default(), Idle::Keep).unwrap().ipv4;
    assert!(found.contains(&again));
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), ids.len());

    let taken = Wanted { ipv4: Some(again), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &taken, Idle::Keep), Err(Error::AddressTaken)));
    let outside = Wanted { ipv4: Some([10, 1, 3, 1].into()), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &outside, Idle::Keep), Err(Error::NoAddress { .. })));
    let six = Wanted { ipv6: Some("fd00::9".parse().unwrap()), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &six, Idle::Keep), Err(Error::NoAddress { .. })));

    store.release_unmade(&ids[0]).unwrap();
    assert!(store.lease_address(&net, &ids[1], &taken, Idle::Keep).is_ok());
    assert!(store.remove_network(&net.id).unwrap() && !store.remove_network(&net.id).unwrap());
    assert!(matches!(store.lease_address(&net, &ids[1], &taken, Idle::Keep), Err(Error::NoSuchNetwork(_))));
}

fn container(name: &str, phase: Phase, finished: Option<i64>) -> ContainerRecord {
    let finished = finished.map(|at| Timestamp::from_second(at).unwrap());
    ContainerRecord { phase, finished, ..record(name) }
}

/// Containers that run, that are being started and that asked for an address keep theirs.
#[test]
fn whoever_does_not_run_gives_way_where_nothing_is_free() {
    if !alone() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let net = NetworkRecord {
        reserved: BTreeMap::from([("printer".into(), IpAddr::from([10, 1, 2, 3]))]),
        ..network("10.1.2.0", 29)
    };
    let net = store.create_network(|_| Ok::<_, ()>(net)).unwrap().unwrap();
    // Four addresses: .2, .4, .5 and .6.
    let wanted = |last: u8| Wanted { ipv4: Some([10, 1, 2, last].into()), ..Wanted::default() };
    let put = |name: &str, phase, finished, wanted: &Wanted| {
        let record = container(name, phase, finished);
        store.create_container(&record, |_| Ok(())).unwrap();
        (store.lease_address(&net, &record.id, wanted, Idle::Keep).unwrap(), record.id)
    };
    let (_, running) = put("running", Phase::Launched, None, &Wanted::default());
    let (asked, _) = put("asked", Phase::Exited, Some(1), &wanted(5));
    let (late, late_id) = put("late", Phase::Exited, Some(3), &Wanted::default());
    let (early, early_id) = put("early", Phase::Exited, Some(2), &Wanted::default());
    assert_eq!((late.ipv4, early.ipv4), ([10, 1, 2, 4].into(), [10, 1, 2, 6].into()));

    let new = || ContainerId::random().unwrap();
    let refused = |wanted: &Wanted, idle| store.lease_address(&net, &new(), wanted, idle).unwrap_err();
    assert!(matches!(refused(&Wanted::default(), Idle::Keep), Error::AddressesExhausted { .. }));
    for (last, idle) in [(3, Idle::GiveUp), (5, Idle::GiveUp), (2, Idle::GiveUp), (4, Idle::Keep)] {
        assert!(matches!(refused(&wanted(last), idle), Error::AddressTaken), "{last}");
    }
    let mac = Wanted { mac: Some(asked.mac), ..Wanted::default() };
    assert!(matches!(refused(&mac, Idle::Keep), Error::AddressesExhausted { .. }));

    let first = store.lease_address(&net, &new(), &Wanted::default(), Idle::GiveUp).unwrap();
    assert_eq!(first.ipv4, early.ipv4, "of those that do not run the one that ended first");
    let life = store.life_lock(&late_id).unwrap().unwrap();
    assert!(matches!(refused(&Wanted::default(), Idle::GiveUp), Error::AddressesExhausted { .. }));
    assert!(matches!(refused(&wanted(4), Idle::GiveUp), Error::AddressTaken));
    let same = store.lease_address(&net, &late_id, &Wanted::default(), Idle::GiveUp).unwrap();
    assert_eq!(same, late);
    drop(life);
    let second = store.lease_address(&net, &new(), &wanted(4), Idle::GiveUp).unwrap();
    assert_eq!((second.ipv4, second.asked), (late.ipv4, true));
    // Nobody is left to give way, and those that gave way get another one once there is one.
    assert!(matches!(refused(&Wanted::default(), Idle::GiveUp), Error::AddressesExhausted { .. }));
    store.release(&net.id, &running).unwrap();
    let back = store.lease_address(&net, &early_id, &Wanted::default(), Idle::GiveUp).unwrap();
    assert_eq!(back.ipv4, Ipv4Addr::from([10, 1, 2, 2]));
}

/// Fifty that start at once in a network of 253 addresses that 253 stopped containers have.
#[test]
fn nobody_is_given_what_another_was_given() {
    if !alone() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let store = Store::open(&root).unwrap();
    let net = store.create_network(|_| Ok::<_, ()>(network("10.1.2.0", 24))).unwrap().unwrap();
    let stopped: Vec<_> = (0..253)
        .map(|n| {
            let record = container(&format!("c{n}"), Phase::Exited, Some(n));
            store.create_container(&record, |_| Ok(())).unwrap();
            store.lease_address(&net, &record.id, &Wanted::default(), Idle::Keep).unwrap();
            record.id
        })
        .collect();
    // Half of them are new, half of them had an address, and that is perhaps taken from them at the same time.
    let starting: Vec<_> =
        (0..25).map(|_| ContainerId::random().unwrap()).chain(stopped[..25].iter().cloned()).collect();
    let leases: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = starting
            .iter()
            .map(|id| {
                let (root, net) = (&root, &net);
                scope.spawn(move || {
                    let store = Store::open(root).unwrap();
                    let life = store.life_lock(id).ok();
                    (store.lease_address(net, id, &Wanted::default(), Idle::GiveUp).unwrap(), life)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let held = store.leases_of_network(&net.id).unwrap();
    assert!(leases.iter().all(|(lease, _)| held.contains(lease)), "what was given is kept");
    let addresses: std::collections::BTreeSet<_> = held.iter().map(|l| l.ipv4).collect();
    assert_eq!(addresses.len(), held.len());
}

#[test]
fn ethernet_addresses() {
    assert_eq!("02:42:0A-ff:00:01".parse::<Mac>().unwrap().to_string(), "02:42:0a:ff:00:01");
    for bad in ["", "02:42:0a:ff:00", "02:42:0a:ff:00:01:02", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x"] {
        assert!(bad.parse::<Mac>().is_err(), "{bad}");
    }
}
