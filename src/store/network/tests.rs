//! Subnets, and leases that never clash.

use super::*;
use crate::store::id::ContainerId;

fn network(text: &str, prefix: u8) -> NetworkRecord {
    NetworkRecord {
        id: ContainerId::random().unwrap().to_string(),
        name: "n".into(),
        created: Timestamp::now(),
        v4: Subnet::around(text.parse().unwrap(), prefix),
        v6: None,
        internal: false,
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
                    store.lease_address(net, id, &Wanted::default()).unwrap().ipv4
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let again = store.lease_address(&net, &ids[0], &Wanted::default()).unwrap().ipv4;
    assert!(found.contains(&again));
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), ids.len());

    let taken = Wanted { ipv4: Some(again), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &taken), Err(Error::AddressTaken)));
    let outside = Wanted { ipv4: Some([10, 1, 3, 1].into()), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &outside), Err(Error::NoAddress { .. })));
    let six = Wanted { ipv6: Some("fd00::9".parse().unwrap()), ..Wanted::default() };
    assert!(matches!(store.lease_address(&net, &ids[1], &six), Err(Error::NoAddress { .. })));

    store.release_unmade(&ids[0]).unwrap();
    assert!(store.lease_address(&net, &ids[1], &taken).is_ok());
    assert!(store.remove_network(&net.id).unwrap() && !store.remove_network(&net.id).unwrap());
    assert!(matches!(store.lease_address(&net, &ids[1], &taken), Err(Error::NoSuchNetwork(_))));
}

#[test]
fn ethernet_addresses() {
    assert_eq!("02:42:0A-ff:00:01".parse::<Mac>().unwrap().to_string(), "02:42:0a:ff:00:01");
    for bad in ["", "02:42:0a:ff:00", "02:42:0a:ff:00:01:02", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x"] {
        assert!(bad.parse::<Mac>().is_err(), "{bad}");
    }
}
