//! Specs that must be refused, and limits that must hold.

use serde_json::{Value, json};

use super::*;

fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 1, "gid": 2}, "args": ["x"], "cwd": "/"},
        "mounts": [],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    })
}

fn plan(spec: &Value) -> Result<Planned> {
    let spec: Spec = serde_json::from_value(spec.clone()).unwrap();
    let facts = Facts { rootfs: Rootfs::Directory { path: "/r".into() }, tty_gid: 5, seccomp: None };
    Plan::from_spec(&spec, facts)
}

fn with(pointer: &str, value: Value) -> Value {
    let mut spec = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    spec
}

fn refused(pointer: &str, value: Value, says: &str) {
    let error = plan(&with(pointer, value)).unwrap_err().to_string();
    assert!(error.contains(says), "{pointer}: {error}");
    assert!(error.len() < 400, "{pointer}: the text itself is not repeated whole");
}

#[test]
fn a_plain_bundle() {
    let plan = plan(&base()).unwrap().plan;
    assert_eq!(plan.process.user, "1:2");
    assert_eq!((plan.namespaces.pid, plan.namespaces.network), (Namespace::New, Namespace::Host));
    assert_eq!(plan.process.umask, 0o022);
}

#[test]
fn a_user_namespace_of_its_own() {
    let map = json!([{"containerID": 0, "hostID": 1, "size": 7}, {"containerID": 7, "hostID": 0, "size": 1}]);
    let mut spec = with("/linux/uidMappings", map.clone());
    assert!(plan(&spec).unwrap_err().to_string().contains("uidMappings"), "one map is not enough");
    spec["linux"]["gidMappings"] = map.clone();
    assert!(plan(&spec).is_err(), "no user namespace is listed");
    spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": "user"}]);
    let made = plan(&spec).unwrap().plan;
    let user = made.namespaces.user.unwrap();
    assert_eq!((user.uids.len(), user.outer_root(), user.own_root()), (2, Some((7, 7)), Some((1, 1))));
    assert_eq!(made.tty_gid, 5);
    spec["linux"]["gidMappings"] = json!([{"containerID": 9, "hostID": 0, "size": 1}]);
    assert_eq!(plan(&spec).unwrap().plan.tty_gid, 9, "there is no group 5");
    for wrong in [
        json!([{"containerID": 0, "hostID": 0, "size": 0}]),
        json!([{"containerID": 4_294_967_295_u32, "hostID": 0, "size": 1}]),
    ] {
        spec["linux"]["gidMappings"] = wrong;
        assert!(plan(&spec).is_err());
    }
    spec["linux"]["gidMappings"] = map;
    spec["linux"]["namespaces"] =
        json!([{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "user"}]);
    assert!(plan(&spec).unwrap_err().to_string().contains("pid"));
}

#[test]
fn an_account_has_no_second_line() {
    let account =
        |name: &str| json!({"name": name, "uid": 5, "group": "g", "gid": 6, "home": "/"}).to_string();
    let made = plan(&with("/annotations", json!({ annotation::ACCOUNT: account("ann") }))).unwrap().plan;
    assert_eq!(made.account.unwrap().name, "ann");
    for name in ["a:0", "a\nroot::0:0::/:"] {
        refused("/annotations", json!({ annotation::ACCOUNT: account(name) }), "line break");
    }
}

#[test]
fn too_long_is_refused_with_the_limit_never_cut() {
    let long = "x".repeat(200_000);
    let path = format!("/{}", "x".repeat(70_000));
    refused("/process/args", json!([long]), "131071");
    refused("/process/env", json!([format!("A={long}")]), "131071");
    refused("/process/cwd", json!(path), "4095");
    refused("/mounts", json!([{"destination": path, "type": "tmpfs"}]), "4095");
    refused("/mounts", json!([{"destination": "/a", "type": "bind", "source": path}]), "4095");
    refused("/linux/maskedPaths", json!([path]), "4095");
    // What the kernel takes arrives whole.
    let entry = format!("A={}", "x".repeat(70_000));
    let plan = plan(&with("/process/env", json!([entry]))).unwrap().plan;
    assert_eq!(plan.process.env[0].as_bytes().len(), entry.len());
}

#[test]
fn paths_and_strings() {
    refused("/process/cwd", json!("x"), "absolute");
    refused("/process/cwd", json!("/a/../b"), "`..`");
    refused("/process/cwd", json!("/a\0b"), "NUL");
    refused("/process/args", json!(["a\0b"]), "NUL");
    refused("/process/args", json!([]), "no command specified");
    for target in ["/", "x", "/a/..", "/proc", "/proc/self", "/proc//self/x", "/sys"] {
        let mount = json!([{"destination": target, "type": "tmpfs"}]);
        assert!(plan(&with("/mounts", mount)).is_err(), "{target}");
    }
    assert!(
        plan(&with(
            "/mounts",
            json!([{"destination": "/proc/cpuinfo", "source": "/x", "options": ["bind"]}])
        ))
        .is_ok()
    );
    refused("/mounts", json!([{"destination": "/a", "type": "ext4"}]), "`ext4`");
    refused("/mounts", json!([{"destination": "/a", "type": "tmpfs", "options": ["wat"]}]), "`wat`");
    refused("/mounts", json!([{"destination": "/a", "type": "bind"}]), "source");
}

#[test]
fn nothing_is_accepted_and_ignored() {
    refused("/hooks", json!({}), "`hooks`");
    refused("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}), "seccomp");
    refused("/linux/resources", json!({}), "resources");
    let joined = json!([{"type": "mount"}, {"type": "time", "path": "/proc/1/ns/time"}]);
    refused("/linux/namespaces", joined, "time");
    refused("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}]), "twice");
    refused("/linux/namespaces", json!([{"type": "pid"}]), "mount namespace");
    refused("/linux/sysctl", json!({"net.core.somaxconn": "1"}), "shares");
    refused("/process/apparmorProfile", json!("x"), "apparmor");
    refused("/process/capabilities", json!({"ambient": ["CAP_KILL"]}), "ambient");
    refused("/process/capabilities", json!({"permitted": ["CAP_KILL"]}), "permitted");
    refused("/hostname", json!("x"), "UTS");
    refused("/annotations", json!({"kelp.init": "maybe"}), "maybe");
}

#[test]
fn clocks_of_its_own() {
    assert_eq!(plan(&base()).unwrap().plan.namespaces.time, Namespace::Host);
    let offsets = json!({"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 86400}});
    refused("/linux/timeOffsets", offsets.clone(), "time namespace");
    let timed = |offsets: Value| {
        let mut spec = with("/linux/namespaces", json!([{"type": "mount"}, {"type": "time"}]));
        spec["linux"]["timeOffsets"] = offsets;
        plan(&spec)
    };
    let plan = timed(offsets).unwrap().plan;
    assert_eq!(plan.namespaces.time, Namespace::New);
    let monotonic = ClockOffset { clock: Clock::Monotonic, seconds: -5, nanoseconds: 7 };
    let boottime = ClockOffset { clock: Clock::Boottime, seconds: 86400, nanoseconds: 0 };
    assert_eq!(plan.clock_offsets, [monotonic, boottime]);
    assert!(timed(json!({"realtime": {"secs": 1}})).unwrap_err().to_string().contains("boottime"));
    let nanos = timed(json!({"monotonic": {"nanosecs": 1_000_000_000}})).unwrap_err().to_string();
    assert!(nanos.contains("nanoseconds"), "{nanos}");
}

#[test]
fn limits_are_cut_with_a_word() {
    let wanted = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}]);
    let planned = plan(&with("/process/rlimits", wanted)).unwrap();
    assert_eq!(planned.plan.process.rlimits[0].soft, 10);
    assert_eq!(planned.warnings.len(), 1);
    assert!(planned.warnings[0].contains("nofile"));
    refused("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "above");
}

#[test]
fn exec_changes() {
    let mut spec = with("/process/env", json!(["A=1", "B=2"]));
    spec["annotations"] = json!({"kelp.user": "web", "kelp.groups": "[\"g\"]", "kelp.create-cwd": "true"});
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let mut changes =
        ExecChanges { args: vec!["y".into()], env: vec!["B=3".into(), "A".into()], ..Default::default() };
    let same = exec_process(&spec, &changes, None).unwrap();
    assert_eq!((same.user.as_str(), same.additional_groups.len(), same.create_cwd), ("web", 1, false));
    assert_eq!(same.env, [c"B=3".to_owned()]);
    assert_eq!(same.capabilities.permitted, 0);
    (changes.user, changes.privileged, changes.cwd) = (Some("5".into()), true, Some("x".into()));
    assert!(exec_process(&spec, &changes, None).is_err(), "a relative directory");
    changes.cwd = None;
    let other = exec_process(&spec, &changes, None).unwrap();
    assert_eq!((other.user.as_str(), other.additional_groups.len()), ("5", 0));
    assert_eq!(other.capabilities.permitted, crate::runtime::capabilities::all());
}
