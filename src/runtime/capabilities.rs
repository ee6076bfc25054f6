//! Capabilities: names, numbers, docker's default set.
//!
//! Owns the arithmetic on masks, never the calls that apply them, which are rustix's. (The `caps` crate makes the
//! same calls, and knows a name only as `CAP_CHOWN`, not as docker's `chown`.) A capability that the running
//! kernel does not know is in no mask that leaves this file: bounding sets are dropped bit by bit, and an unknown
//! bit is EINVAL.

use std::sync::OnceLock;

/// A capability that does not exist, or that this kernel does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability `{0}`")]
pub struct Unknown(pub String);

/// Index = number, as in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The mask of docker's 14 defaults: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap.
pub const DEFAULT: u64 = {
    let numbers = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
    let mut mask = 0;
    let mut i = 0;
    while i < numbers.len() {
        mask |= 1 << numbers[i];
        i += 1;
    }
    mask
};

/// The number of a capability, with or without `CAP_`, in any case.
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    (0u32..).zip(NAMES).find(|(_, known)| &known[4..] == bare).map(|(n, _)| n)
}

/// `CAP_CHOWN` for 0.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(number).ok()?).copied()
}

/// The mask of all capabilities that the running kernel knows, as far as this file has names for them.
pub fn all() -> u64 {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok());
        // Without procfs: CAP_AUDIT_READ, the last one of the oldest kernels that have everything else kelp needs.
        mask_up_to(last.unwrap_or(37).min(40))
    })
}

fn mask_up_to(last: u32) -> u64 {
    (1u64 << (last + 1)) - 1
}

/// docker's rule: the defaults (everything when `privileged`), then `add`, then `drop`. `ALL` in `add` starts from
/// everything, `ALL` in `drop` from nothing; what the other list names is then dropped or added.
pub fn choose(add: &[String], drop: &[String], privileged: bool) -> Result<u64, Unknown> {
    let all = all();
    if privileged {
        return Ok(all);
    }
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let (added, dropped) = (masks(add, is_all, all)?, masks(drop, is_all, all)?);
    Ok(match (add.iter().any(is_all), drop.iter().any(is_all)) {
        (true, _) => all & !dropped,
        (false, true) => added,
        (false, false) => (DEFAULT & all & !dropped) | added,
    })
}

fn masks(names: &[String], is_all: impl Fn(&String) -> bool, known: u64) -> Result<u64, Unknown> {
    let mut mask = 0;
    for name in names.iter().filter(|n| !is_all(n)) {
        let bit = number(name).map(|n| 1u64 << n).filter(|bit| bit & known != 0);
        mask |= bit.ok_or_else(|| Unknown(name.clone()))?;
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn names_and_numbers_agree() {
        for n in 0..41 {
            assert_eq!(number(name(n).unwrap()), Some(n));
        }
        assert_eq!(number("net_admin"), Some(12));
        assert_eq!(number("cap_sys_admin"), Some(21));
        assert_eq!(number("CAP_CAP_CHOWN"), None);
        assert_eq!(name(41), None);
    }

    #[test]
    fn default_is_dockers_fourteen() {
        assert_eq!(DEFAULT, 0xa804_25fb);
        assert_eq!(DEFAULT.count_ones(), 14);
    }

    #[test]
    fn the_kernels_own_bounding_set_is_within_all() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
        let bounding = u64::from_str_radix(line, 16).unwrap();
        assert_eq!(bounding & !all(), 0);
    }

    #[test]
    fn lists_follow_dockers_rules() {
        let all = all();
        assert_eq!(choose(&[], &[], false).unwrap(), DEFAULT);
        assert_eq!(choose(&list(&["SYS_ADMIN"]), &list(&["chown"]), false).unwrap(), DEFAULT & !1 | 1 << 21);
        assert_eq!(choose(&list(&["NET_RAW"]), &list(&["ALL"]), false).unwrap(), 1 << 13);
        assert_eq!(choose(&list(&["all"]), &list(&["NET_RAW"]), false).unwrap(), all & !(1 << 13));
        // docker: named in both lists, the addition wins.
        assert_eq!(choose(&list(&["KILL"]), &list(&["KILL"]), false).unwrap(), DEFAULT);
        assert_eq!(choose(&[], &[], true).unwrap(), all);
        assert_eq!(choose(&list(&["FLY"]), &[], false), Err(Unknown("FLY".into())));
    }
}
