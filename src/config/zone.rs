//! The time zone of whoever runs kelp, which times without one are in and times are shown in.

use std::ffi::OsStr;
use std::path::{Component, Path};

use jiff::tz::TimeZone;

use super::variable;

/// Larger than any zone's rules.
const LIMIT: u64 = 1 << 20;

/// `$TZ` as libc reads it: a name of the zone database, a path or a POSIX rule, each after a colon or not; what is none
/// of these is UTC, as is an empty one. Without it, the host's `/etc/localtime`.
pub fn time_zone() -> TimeZone {
    match variable("TZ") {
        None => rules(Path::new("/etc/localtime")),
        Some(value) => named(&value),
    }
    .unwrap_or(TimeZone::UTC)
}

fn named(value: &OsStr) -> Option<TimeZone> {
    let value = value.to_str()?;
    let name = value.strip_prefix(':').unwrap_or(value);
    let path = Path::new(name);
    if path.is_absolute() {
        return rules(path);
    }
    let plain = !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    let database = || rules(&Path::new("/usr/share/zoneinfo").join(path));
    if plain { database().or_else(|| TimeZone::posix(name).ok()) } else { None }
}

fn rules(file: &Path) -> Option<TimeZone> {
    let meta = std::fs::metadata(file).ok()?;
    if !meta.is_file() || meta.len() > LIMIT {
        return None;
    }
    TimeZone::tzif("local", &std::fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: &str) -> Option<i32> {
        let winter = "2026-01-15T12:00:00Z".parse().unwrap();
        named(OsStr::new(value)).map(|zone| zone.to_offset(winter).seconds())
    }

    #[test]
    fn reads_what_libc_reads() {
        assert_eq!(offset("CET-1CEST,M3.5.0,M10.5.0/3"), Some(3600));
        assert_eq!(offset(":EST5EDT"), Some(-5 * 3600));
        for nothing in ["", ":", "no/such/zone", "../../../etc/passwd", "/etc/passwd", "/dev/zero", "Nowhere"]
        {
            assert_eq!(offset(nothing), None, "{nothing}");
        }
    }
}
