//! `--ulimit`, `--sysctl`, `--shm-size`, `--oom-score-adj`, and docker's sizes.

use std::collections::BTreeMap;

use super::invalid;
use crate::engine::Result;
use crate::engine::request::Ulimit;
use crate::runtime::{rlimits, sysctl};

/// `NAME=SOFT[:HARD]`; -1 is unlimited; without HARD it is SOFT.
pub fn ulimit(spec: &str) -> Result<Ulimit> {
    let fail = |reason: String| invalid("ulimit", spec, reason);
    let (name, limits) = spec.split_once('=').ok_or_else(|| fail("NAME=SOFT[:HARD] is allowed".into()))?;
    if rlimits::number(name).is_none() {
        let known: Vec<_> = rlimits::names().collect();
        return Err(fail(format!("invalid ulimit type: {name}; there are {}", known.join(", "))));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(n) if n >= 0 => Ok(n.unsigned_abs()),
        _ => Err(fail(format!("`{text}` is not a number, 0 or more, or -1 for unlimited"))),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(fail("the soft limit must be less than or equal to the hard limit".into()));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// docker's sizes in bytes: `64m`, `1.5g`, `512`, `64MiB`; binary units, case does not matter.
pub fn size(what: &'static str, text: &str) -> Result<u64> {
    let fail = || invalid(what, text, "a number with b, k, m, g, t or p is allowed, such as 64m");
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let shift = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(fail()),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift).filter(|n| i64::try_from(*n).is_ok()).ok_or_else(fail);
    }
    let (whole, fraction) = digits.split_once('.').ok_or_else(fail)?;
    let plain = |s: &str| s.len() <= 15 && s.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(fail());
    }
    // Exact in integers: a fraction of at most 15 digits times 2^50 fits 128 bits.
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| fail())?);
    let value: u128 = format!("{whole}{fraction}").parse().map_err(|_| fail())?;
    u64::try_from((value << shift) / scale).ok().filter(|n| i64::try_from(*n).is_ok()).ok_or_else(fail)
}

/// `--shm-size`: a size greater than zero.
pub fn shm_size(text: &str) -> Result<u64> {
    match size("shm-size", text)? {
        0 => Err(invalid("shm-size", text, "it must be greater than 0")),
        bytes => Ok(bytes),
    }
}

/// `NAME=VALUE`, each of a kind that a namespace of the container's own can hold. Whether the container has that
/// namespace for itself is [`super::check()`]'s question.
pub fn sysctls(values: &[String]) -> Result<BTreeMap<String, String>> {
    let own = sysctl::Own { network: true, ipc: true, uts: true };
    let mut map = BTreeMap::new();
    for value in values {
        let (name, text) =
            value.split_once('=').ok_or_else(|| invalid("sysctl", value, "NAME=VALUE is allowed"))?;
        let name = sysctl::check(name, own).map_err(|e| invalid("sysctl", value, e.to_string()))?;
        map.insert(name, text.to_owned());
    }
    Ok(map)
}

/// -1000 to 1000.
pub fn oom_score_adj(text: &str) -> Result<i32> {
    let number = text.parse::<i32>().ok().filter(|n| (-1000..=1000).contains(n));
    number.ok_or_else(|| invalid("oom-score-adj", text, "the range is [-1000, 1000]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits() {
        let u = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        assert_eq!(ulimit("nofile=1024:2048").unwrap(), u("nofile", 1024, 2048));
        assert_eq!(ulimit("core=0").unwrap(), u("core", 0, 0));
        assert_eq!(ulimit("memlock=-1:-1").unwrap(), u("memlock", u64::MAX, u64::MAX));
        assert_eq!(ulimit("nproc=5:-1").unwrap(), u("nproc", 5, u64::MAX));
        for bad in
            ["nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-1:5", "nofile=1:2:3", "nofile=-2", "=1"]
        {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("512", 512),
            ("512b", 512),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            (".5k", 512),
            ("1 kb", 1024),
            ("0", 0),
        ] {
            assert_eq!(size("size", text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1mm", "99999999999999999999", "9999999p", ".", "1..5k", "1e3", "٣"]
        {
            assert!(size("size", bad).is_err(), "{bad}");
        }
        assert!(shm_size("0").is_err());
    }

    #[test]
    fn sysctls_and_oom() {
        let ok = sysctls(&["net.core.somaxconn=1=2".into(), "kernel/shmmax=3".into()]).unwrap();
        assert_eq!(ok["net.core.somaxconn"], "1=2");
        assert_eq!(ok["kernel.shmmax"], "3");
        for bad in ["kernel.panic=1", "net.core.somaxconn", "kernel.hostname=x"] {
            assert!(sysctls(&[bad.into()]).is_err(), "{bad}");
        }
        assert_eq!(oom_score_adj("-1000").unwrap(), -1000);
        assert!(oom_score_adj("1001").is_err());
    }
}
