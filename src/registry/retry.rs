//! When to try again, and how long to wait before.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Attempts without progress before giving up.
pub(super) const ATTEMPTS: u32 = 6;
/// Of these, how many may fail to find a server at all: a name that does not exist will not exist in a minute.
pub(super) const CONNECT_ATTEMPTS: u32 = 3;
/// How long a server's `Retry-After` is waited for; what is longer is the user's to decide.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const FIRST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(15);

/// The pause before attempt `n` (from 1): doubling, with up to half of it taken off at random, so that many who were
/// cut off together do not come back together.
pub(super) fn backoff(n: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << n.saturating_sub(1).min(16)).min(LONGEST);
    full - full.mul_f64(f64::from(random()) / f64::from(u16::MAX) / 2.0)
}

/// Differs from process to process and from call to call, which is all that is asked of it: the keys of a hash map.
fn random() -> u16 {
    let [low, high, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// `Retry-After`: seconds, or an HTTP date.
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(7 * 24 * 3600)));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let left = date.timestamp().duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for n in 1..40 {
            let wait = backoff(n);
            assert!(wait >= FIRST / 2 && wait <= LONGEST, "{n}: {wait:?}");
        }
        assert!(backoff(6) > backoff(1));
    }

    #[test]
    fn reads_both_forms() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }
}
