//! Durations, times and sizes as docker words them.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::config;

/// How long ago `then` was, without the "ago".
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(then))
}

/// `units.HumanDuration` of docker's go-units.
pub(super) fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Hours are rounded, and all that is longer is counted in them.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Decimal units and three digits, as `ps -s` and `images` show: `117MB`, `1.09kB`, `0B`.
pub(super) fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// As [`size`] with four digits, as `system df` and `prune` show.
pub(super) fn long_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// At most `length` characters, the last one an ellipsis where something was cut off.
pub(super) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// Binary units and four digits, as `info` shows memory.
pub(super) fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

#[allow(clippy::cast_precision_loss, reason = "shown with four digits at most")]
fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Go's `%.{digits}g` for values below ten thousand: so many significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let before = match value {
        v if v < 10.0 => 1,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.*}", digits.saturating_sub(before));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Go's `time.Time.String` in the user's time zone: what `{{.CreatedAt}}` prints.
pub(super) fn go_time(time: Timestamp) -> String {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    go_time_in(ZONE.get_or_init(config::time_zone), time)
}

fn go_time_in(zone: &TimeZone, time: Timestamp) -> String {
    // In seconds: docker knows no more of the times that it shows so.
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_durations_as_docker_does() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(duration(SignedDuration::from_secs(-5)), "Less than a second");
    }

    #[test]
    fn words_sizes_as_docker_does() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1090, "1.09kB"),
            (12_345, "12.3kB"),
            (117_000_000, "117MB"),
            (1_100_000_000, "1.1GB"),
            (999_999, "1000kB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(long_size(1_982_256), "1.982MB");
        assert_eq!(long_size(0), "0B");
        assert_eq!(binary_size(8_000_000_000), "7.451GiB");
    }

    #[test]
    fn prints_times_as_go_does() {
        let time: Timestamp = "2026-11-21T10:00:00.5Z".parse().unwrap();
        assert_eq!(go_time_in(&TimeZone::UTC, time), "2026-11-21 10:00:00 +0000 UTC");
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        assert_eq!(go_time_in(&zone, time), "2026-11-21 05:00:00 -0500 EST");
    }
}
