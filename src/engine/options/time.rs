//! `--since`, `--until` and the filters of that name: moments, said in any of docker's ways.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};

use crate::config;
use crate::engine::{Error, Result};

/// A duration back from now (`10m`, `1h30m`), Unix seconds with an optional fraction, or RFC 3339 with or without zone,
/// time of day and seconds. A time without a zone is in the user's.
pub fn time(option: &'static str, text: &str) -> Result<Timestamp> {
    parse_at(text, Timestamp::now(), config::time_zone).ok_or_else(|| Error::Invalid {
        what: option,
        value: text.to_owned(),
        reason: "a duration like 10m, a time like 2026-11-21T10:00:00Z, or Unix seconds is expected".into(),
    })
}

fn parse_at(text: &str, now: Timestamp, zone: impl FnOnce() -> TimeZone) -> Option<Timestamp> {
    if let Some(duration) = parse_duration(text) {
        return now.checked_sub(duration).ok();
    }
    if let Some(unix) = parse_unix(text) {
        return Some(unix);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    // docker wants the T where Rust's parser would take a space.
    let civil = if text.contains(' ') { None } else { text.parse::<civil::DateTime>().ok() }?;
    zone().to_timestamp(civil).ok()
}

/// Go's durations: `1h30m`, `-1.5s`, `300ms`. A bare number is none, except `0`.
fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len())];
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit.len()..];
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).ok()
}

/// `1136073600` or `1136073600.000000001`.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !is_number(seconds.strip_prefix('-').unwrap_or(seconds)) || !is_number(fraction) || fraction.len() > 9
    {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i32>().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let zone = || TimeZone::fixed(jiff::tz::offset(2));
        parse_at(text, now, zone).map(|t| t.to_string())
    }

    #[test]
    fn times_in_all_of_docker_s_forms() {
        for (text, time) in [
            ("10m", "2026-11-21T09:50:00Z"),
            ("1h30m", "2026-11-21T08:30:00Z"),
            ("1.5s", "2026-11-21T09:59:58.5Z"),
            ("-1h", "2026-11-21T11:00:00Z"),
            ("10", "1970-01-01T00:00:10Z"),
            ("1136073600", "2006-01-01T00:00:00Z"),
            ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
            ("1136073600.5", "2006-01-01T00:00:00.5Z"),
            ("2026-11-20T10:00:00.25Z", "2026-11-20T10:00:00.25Z"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20T10:00:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20T10:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20", "2026-11-19T22:00:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-", "10x", "m", "1..5s", "yesterday", "2026-13-01", "1.0000000001", "h1"] {
            assert_eq!(parsed(text), None, "{text}");
        }
        let error = time("--since", "soon").unwrap_err().to_string();
        assert!(error.starts_with("invalid --since `soon`"), "{error}");
    }
}
