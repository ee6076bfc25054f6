//! Filters that run: a child loads them and makes the calls.

use super::*;
use crate::runtime::capabilities::DEFAULT;
use crate::runtime::seccomp::profile::running_kernel;

const EPERM: i64 = -1;
const ENOSYS_RC: i64 = -38;

fn default_filter(capabilities: u64) -> Vec<u8> {
    compile(&Profile::parse(DEFAULT_PROFILE).unwrap(), capabilities, running_kernel()).unwrap()
}

#[test]
fn every_name_of_the_default_profile_exists() {
    let profile = Profile::parse(DEFAULT_PROFILE).unwrap();
    let tables = [table_x86_64::TABLE, table_i386::TABLE, table_aarch64::TABLE];
    for name in profile.rules.iter().flat_map(|r| &r.names) {
        assert!(tables.iter().any(|t| t.iter().any(|(known, _)| known == name)), "{name}");
    }
}

#[test]
fn foreign_profiles_are_read_strictly() {
    Profile::parse(r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS","defaultErrnoRet":38,
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"","includes":{},"excludes":{}}]}"#)
    .unwrap();
    for bad in [
        "",
        "[]",
        r#"{"defaultAction":"SCMP_ACT_WAVE"}"#,
        r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscals":[]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_ALLOW"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["X"]}}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    ] {
        assert!(Profile::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_cache_gives_the_same_and_never_less() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("deep/kelp");
    let first = cached(&cache, DEFAULT_PROFILE, DEFAULT).unwrap();
    assert_eq!(first, default_filter(DEFAULT));
    let path = std::fs::read_dir(cache.join("seccomp")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut key = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(cache::read(&cache, &key).as_ref(), Some(&first));
    // Another's bytes, a shorter file, a file others may write: none is believed, and the answer stays the same.
    let good = std::fs::read(&path).unwrap();
    let mut evil = good.clone();
    *evil.last_mut().unwrap() ^= 0x40;
    for bytes in [&evil[..], &good[..40], &good[..33], b""] {
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), bytes).unwrap();
        assert_eq!(cache::read(&cache, &key), None);
        assert_eq!(cached(&cache, DEFAULT_PROFILE, DEFAULT).unwrap(), first);
        assert_eq!(cache::read(&cache, &key).as_ref(), Some(&first), "written anew");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(cache::read(&cache, &key), None);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    // A sound file under another name is another's filter.
    key.replace_range(..1, if key.starts_with('0') { "1" } else { "0" });
    std::fs::copy(&path, path.with_file_name(&key)).unwrap();
    assert_eq!(cache::read(&cache, &key), None);
}

#[test]
fn every_input_changes_the_key() {
    let keys = [
        cache::key("a", 1, (6, 1)),
        cache::key("b", 1, (6, 1)),
        cache::key("a", 2, (6, 1)),
        cache::key("a", 1, (6, 2)),
    ];
    assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 4);
}

#[cfg(target_arch = "x86_64")]
mod loaded {
    use super::*;
    use crate::sys::seccomp::probe;

    fn number(name: &str) -> i64 {
        table_x86_64::TABLE.iter().find(|(known, _)| *known == name).unwrap().1.into()
    }

    fn number_i386(name: &str) -> u32 {
        table_i386::TABLE.iter().find(|(known, _)| *known == name).unwrap().1
    }

    fn ask(filter: &[u8], name: &str, args: &[u64]) -> i64 {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let results = probe(filter, &[(number(name), all)], &[]);
        *results.first().expect("the filter was loaded and the child lived")
    }

    fn profile(rules: &str) -> Vec<u8> {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rules}]}}"#);
        compile(&Profile::parse(&text).unwrap(), 0, running_kernel()).unwrap()
    }

    #[test]
    fn whatever_is_not_allowed_is_refused() {
        let profile = Profile::parse(DEFAULT_PROFILE).unwrap();
        let rules = profile.rules.iter().filter(|r| r.applies(DEFAULT, running_kernel()));
        let mentioned: std::collections::HashSet<&str> = rules
            .filter(|r| r.action == libc::SECCOMP_RET_ALLOW)
            .flat_map(|r| r.names.iter().map(String::as_str))
            .collect();
        let denied: Vec<_> = table_x86_64::TABLE.iter().filter(|(n, _)| !mentioned.contains(n)).collect();
        for name in [
            "keyctl",
            "add_key",
            "userfaultfd",
            "io_uring_setup",
            "bpf",
            "perf_event_open",
            "kexec_load",
            "mount",
            "unshare",
            "setns",
            "fsconfig",
            "open_by_handle_at",
            "init_module",
            "clone3",
            "pivot_root",
        ] {
            assert!(denied.iter().any(|(n, _)| *n == name), "{name} must be denied");
        }
        let calls: Vec<_> = denied.iter().map(|(_, nr)| (i64::from(*nr), [0; 6])).collect();
        let results = probe(&default_filter(DEFAULT), &calls, &[]);
        assert_eq!(results.len(), calls.len());
        for ((name, _), result) in denied.iter().zip(results) {
            let expected = if *name == "clone3" { ENOSYS_RC } else { EPERM };
            assert_eq!(result, expected, "{name}");
        }
    }

    #[test]
    fn ordinary_calls_pass() {
        let filter = default_filter(DEFAULT);
        assert!(ask(&filter, "getpid", &[]) > 0);
        assert!(ask(&filter, "socket", &[1, 1, 0]) >= 0);
        assert!(ask(&filter, "socket", &[16, 3, 0]) >= 0);
        assert_eq!(ask(&filter, "close", &[999]), -9);
        assert_eq!(ask(&filter, "personality", &[0xffff_ffff]), 0);
        assert_eq!(ask(&filter, "chroot", &[0]), -14, "CAP_SYS_CHROOT is among the defaults");
    }

    #[test]
    fn forbidden_families_cannot_hide() {
        let filter = default_filter(DEFAULT);
        for family in [40, 38] {
            for hidden in [family, family | 1 << 32, family | 0xffff_ffff << 32, family | 1 << 63] {
                assert_eq!(ask(&filter, "socket", &[hidden, 1, 0]), EPERM, "{hidden:#x}");
            }
        }
        // The kernel's own answers: not the filter's.
        assert_eq!(ask(&filter, "socket", &[u64::MAX, 1, 0]), -97);
        let i386 = [
            (number_i386("socket"), [40, 1, 0]),
            (number_i386("socketcall"), [1, 0, 0]),
            (number_i386("socketcall"), [2, 0, 0]),
            (number_i386("keyctl"), [0, 0, 0]),
            (number_i386("getpid"), [0, 0, 0]),
        ];
        let results = probe(&filter, &[], &i386);
        assert_eq!(results[..4], [EPERM, ENOSYS_RC, -14, EPERM]);
        assert!(results[4] > 0);
    }

    #[test]
    fn namespaces_need_the_capability() {
        let filter = default_filter(DEFAULT);
        for flag in
            [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000u64]
        {
            assert_eq!(ask(&filter, "clone", &[flag | 17]), EPERM, "{flag:#x}");
            assert_eq!(ask(&filter, "clone", &[flag | 17 | 1 << 32]), EPERM, "{flag:#x}");
        }
        // CLONE_VM missing beside CLONE_SIGHAND: the kernel's EINVAL, so the filter let it pass.
        assert_eq!(ask(&filter, "clone", &[0x800]), -22);
        let admin = default_filter(DEFAULT | 1 << 21);
        assert_eq!(ask(&admin, "clone", &[0x1000_0000 | 0x200]), -22);
        assert_eq!(ask(&admin, "mount", &[]), ask(&profile(""), "mount", &[]));
    }

    #[test]
    fn unknown_and_x32_numbers_do_not_exist() {
        let filter = default_filter(DEFAULT);
        let x32 = i64::from(0x4000_0000u32);
        let calls = [(x32 | 39, [0; 6]), (x32 | 41, [1, 1, 0, 0, 0, 0]), (999, [0; 6]), (400, [0; 6])];
        assert_eq!(probe(&filter, &calls, &[]), [ENOSYS_RC; 4]);
        // Allowed or not, x32 is refused: here by a profile that allows everything.
        let kind = r#"{"names":["getpid"],"action":"SCMP_ACT_ERRNO","errnoRet":77}"#;
        assert_eq!(probe(&profile(kind), &[(x32 | 39, [0; 6]), (39, [0; 6])], &[]), [ENOSYS_RC, -77]);
    }

    #[test]
    fn every_comparison_compares_all_64_bits() {
        let rule = |op: &str, value: u64| {
            let args = format!(
                r#"{{"index":1,"value":{value},"valueTwo":{},"op":"SCMP_CMP_{op}"}}"#,
                value & 0x1_0000_0004
            );
            profile(&format!(
                r#"{{"names":["fchdir"],"action":"SCMP_ACT_ERRNO","errnoRet":77,"args":[{args}]}}"#
            ))
        };
        let values = [0, 1, 4, 5, 1 << 32, 1 << 32 | 5, 2 << 32, u64::MAX];
        let value = 1u64 << 32 | 5;
        type Holds = fn(u64, u64) -> bool;
        let operators: [(&str, Holds); 7] = [
            ("EQ", |a, v| a == v),
            ("NE", |a, v| a != v),
            ("LT", |a, v| a < v),
            ("LE", |a, v| a <= v),
            ("GT", |a, v| a > v),
            ("GE", |a, v| a >= v),
            ("MASKED_EQ", |a, v| a & v == v & 0x1_0000_0004),
        ];
        for (name, holds) in operators {
            let calls: Vec<_> = values.iter().map(|a| (number("fchdir"), [999, *a, 0, 0, 0, 0])).collect();
            let results = probe(&rule(name, value), &calls, &[]);
            let expected: Vec<i64> = values.iter().map(|a| if holds(*a, value) { -77 } else { -9 }).collect();
            assert_eq!(results, expected, "{name}");
        }
    }

    #[test]
    fn the_most_restrictive_match_acts_and_conditions_go_first() {
        let filter = profile(
            r#"{"names":["fchdir"],"action":"SCMP_ACT_ERRNO","errnoRet":70},
               {"names":["fchdir"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":1,"op":"SCMP_CMP_GE"}]},
               {"names":["fchdir"],"action":"SCMP_ACT_ERRNO","errnoRet":71,"args":[
                   {"index":1,"value":2,"op":"SCMP_CMP_GE"},{"index":2,"value":3,"op":"SCMP_CMP_EQ"}]}"#,
        );
        assert_eq!(ask(&filter, "fchdir", &[999, 0, 0]), -70);
        assert_eq!(ask(&filter, "fchdir", &[999, 2, 0]), -9);
        assert_eq!(ask(&filter, "fchdir", &[999, 2, 3]), -71);
    }

    #[test]
    fn without_i386_in_the_profile_its_callers_die() {
        assert_eq!(probe(&profile(""), &[], &[(20, [0; 3])]), [0i64; 0]);
        assert!(ask(&profile(""), "getpid", &[]) > 0);
    }
}
