//! Listing and inspecting, over a real store.

use jiff::SignedDuration;

use super::*;
use crate::config::Config;
use crate::engine::container::inspect;
use crate::store::container::Exit;

struct Fixture {
    engine: Engine,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            store: dir.path().join("store"),
            cache: dir.path().join("cache"),
            detach_keys: String::new(),
            stop_timeout: 10,
            snapshotter: crate::config::Snapshotter::Auto,
            registries: BTreeMap::new(),
            certificates: Vec::new(),
            credentials: Default::default(),
        };
        Self { engine: Engine::open(config).unwrap(), _dir: dir }
    }

    /// Made `age` hours ago.
    fn add(&self, name: &str, age: i64, labels: &[(&str, &str)]) -> ContainerId {
        let request = CreateRequest {
            mounts: vec![MountRequest::Bind {
                source: "/srv".into(),
                target: "/mnt".into(),
                read_only: true,
                recursive: true,
                writable_submounts: false,
                propagation: crate::engine::request::Propagation::RPrivate,
                create_source: false,
            }],
            env: vec!["A=1".into()],
            command: vec!["true".into()],
            network: NetworkMode::Host,
            ..CreateRequest::default()
        };
        let launch = serde_json::json!({
            "recipe": { "layers": [] }, "terminal": false, "stdin": false, "stdin_once": false,
            "auto_remove": false, "seccomp": "default", "stop_signal": 15, "stop_timeout": null, "image": "debian",
            "labels": {}, "host_pids": false, "cache": "/c", "snapshotter": "fuse",
        });
        let record = ContainerRecord {
            id: ContainerId::random().unwrap(),
            name: name.parse().unwrap(),
            created: Timestamp::now() - SignedDuration::from_hours(age),
            started: None,
            finished: None,
            phase: Phase::Created,
            exit_code: None,
            oom_killed: false,
            error: String::new(),
            auto_remove: false,
            image: "debian".into(),
            image_id: None,
            command: vec!["true".into()],
            layers: vec![],
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            request: serde_json::json!({ "request": request, "launch": launch, "spec": null }).to_string(),
        };
        self.engine.store.create_container(&record, |_| Ok(())).unwrap();
        record.id
    }

    fn ended(&self, id: &ContainerId, code: i32) {
        let store = &self.engine.store;
        store.mark_launched(id).unwrap();
        let now = Timestamp::now();
        let exit = Exit { code, signal: None, oom_killed: false, finished: now, error: String::new() };
        store.record_exit(id, &exit, Some(now)).unwrap();
    }

    fn names(&self, query: &Query) -> Vec<String> {
        list(&self.engine, query).unwrap().iter().map(|row| row.name.to_string()).collect()
    }

    fn filtered(&self, filters: &[&str]) -> Vec<String> {
        self.names(&Query { all: true, filters: pairs(filters), ..Query::default() })
    }
}

fn pairs(filters: &[&str]) -> Vec<(String, String)> {
    let pair = |f: &&str| f.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
    filters.iter().map(pair).collect()
}

#[test]
fn filters_as_docker_does() {
    let fixture = Fixture::new();
    let web = fixture.add("web-1", 3, &[("app", "web"), ("tier", "front")]);
    let db = fixture.add("db-1", 2, &[("app", "db")]);
    fixture.add("web-2", 1, &[("app", "web")]);
    fixture.ended(&web, 0);
    fixture.ended(&db, 3);

    assert_eq!(fixture.names(&Query::default()), [""; 0], "nothing runs");
    assert_eq!(fixture.filtered(&[]), ["web-2", "db-1", "web-1"]);
    let last = Query { last: Some(2), ..Query::default() };
    assert_eq!(fixture.names(&last), ["web-2", "db-1"]);
    // A status implies --all.
    let exited = Query { filters: pairs(&["status=exited"]), ..Query::default() };
    assert_eq!(fixture.names(&exited), ["db-1", "web-1"]);

    let cases: &[(&[&str], &[&str])] = &[
        (&["name=web"], &["web-2", "web-1"]),
        (&["name=^/web-1$"], &["web-1"]),
        (&["name=^web", "status=created"], &["web-2"]),
        (&["name=web-2", "name=db"], &["web-2", "db-1"]),
        (&["label=app=web"], &["web-2", "web-1"]),
        (&["label=app", "label=tier"], &["web-1"]),
        (&["label=app=nope"], &[]),
        (&["exited=0"], &["web-1"]),
        (&["exited=0", "exited=3"], &["db-1", "web-1"]),
        (&["before=db-1"], &["web-1"]),
        (&["since=db-1"], &["web-2"]),
        (&["ancestor=debian"], &["web-2", "db-1", "web-1"]),
        (&["ancestor=alpine"], &[]),
        (&["health=none", "name=db"], &["db-1"]),
        (&["health=none", "health=healthy", "name=db"], &["db-1"]),
        (&["health=healthy"], &[]),
        (&["is-task=false", "name=db"], &["db-1"]),
        (&["is-task=true"], &[]),
        (&["volume=/nowhere"], &[]),
        (&["volume=/mnt", "name=db"], &["db-1"]),
        (&["volume=/srv", "name=db"], &["db-1"]),
    ];
    for (filters, names) in cases {
        assert_eq!(fixture.filtered(filters), *names, "{filters:?}");
    }
    assert_eq!(fixture.filtered(&[&format!("id={}", web.short())]), ["web-1"]);
    for filter in [
        "health=well",
        "is-task=perhaps",
        "publish=80:80",
        "colour=red",
        "status=asleep",
        "exited=x",
        "name=(",
        "before=nope",
    ] {
        let query = Query { all: true, filters: pairs(&[filter]), ..Query::default() };
        assert!(list(&fixture.engine, &query).is_err(), "{filter}");
    }
}

#[test]
fn fills_what_is_asked_for() {
    let fixture = Fixture::new();
    fixture.add("one", 1, &[]);
    let rows = list(&fixture.engine, &Query { all: true, ..Query::default() }).unwrap();
    assert!(rows[0].mounts.is_empty() && rows[0].network.is_empty() && rows[0].size.is_none());
    let rows = list(&fixture.engine, &Query { all: true, details: true, ..Query::default() }).unwrap();
    assert_eq!(rows[0].mounts, ["/srv"]);
    assert_eq!(rows[0].network, "host");
}

#[test]
fn inspects_in_dockers_shape() {
    let fixture = Fixture::new();
    let id = fixture.add("one", 1, &[("a", "b")]);
    fixture.ended(&id, 7);
    let found = inspect::container(&fixture.engine, id.short(), false).unwrap();
    let json = serde_json::to_value(&found).unwrap();
    for (pointer, value) in [
        ("/Id", serde_json::json!(id.as_str())),
        ("/Name", "/one".into()),
        ("/Driver", "fuse".into()),
        ("/Path", "true".into()),
        ("/State/Status", "exited".into()),
        ("/State/Running", false.into()),
        ("/State/ExitCode", 7.into()),
        ("/State/OOMKilled", false.into()),
        ("/HostConfig/NetworkMode", "host".into()),
        ("/HostConfig/Binds/0", "/srv:/mnt:ro".into()),
        ("/HostConfig/ShmSize", (64 << 20).into()),
        ("/Mounts/0/Type", "bind".into()),
        ("/Mounts/0/RW", false.into()),
        ("/Config/Labels/a", "b".into()),
        ("/Config/Env/0", "A=1".into()),
        ("/Config/Cmd", serde_json::json!(["true"])),
    ] {
        assert_eq!(json.pointer(pointer), Some(&value), "{pointer}");
    }
    assert!(json["State"]["StartedAt"].as_str().is_some_and(|t| t.starts_with("20") && t.ends_with('Z')));
    assert!(json.get("SizeRw").is_none());
    assert!(inspect::container(&fixture.engine, "two", false).unwrap_err().is_missing());
}

/// Neither directories nor files of containers that were never launched are looked at: they may as well be gone.
#[test]
fn lists_a_thousand_without_touching_them() {
    let fixture = Fixture::new();
    for n in 0..1000 {
        fixture.add(&format!("c-{n}"), 1, &[]);
    }
    let containers = fixture.engine.store.containers_dir();
    std::fs::rename(&containers, containers.with_extension("away")).unwrap();
    assert_eq!(list(&fixture.engine, &Query { all: true, ..Query::default() }).unwrap().len(), 1000);
}
