//! Digests. `sha256:` and 64 lower-case hex digits, nothing else: a digest becomes a file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest that has the right shape. Whether content has it is another question: see [`Digest::of`] and
/// [`Hasher`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    #[error("digest algorithm `{0}` is not supported: only sha256 is")]
    Algorithm(String),
    #[error("invalid digest `{0}`: `sha256:` and 64 lower-case hex digits are expected")]
    Shape(String),
}

const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The chain-ids of an image's layers, lowest first, by the image format's rule: each names a layer together with
    /// all below it.
    pub fn chain(diff_ids: &[Self]) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::new();
        for diff_id in diff_ids {
            let next = match chain.last() {
                None => diff_id.clone(),
                Some(below) => Self::of(format!("{below} {diff_id}").as_bytes()),
            };
            chain.push(next);
        }
        chain
    }

    /// `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The 12 hex digits that tables show.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(s: &str) -> Result<Self, InvalidDigest> {
        // What is echoed may come from a hostile document.
        let shown = || s.chars().take(100).collect::<String>().escape_debug().to_string();
        let Some(hex) = s.strip_prefix(PREFIX) else {
            return Err(match s.split_once(':') {
                Some((algorithm, _)) if !algorithm.is_empty() => InvalidDigest::Algorithm(
                    algorithm.chars().take(40).collect::<String>().escape_debug().to_string(),
                ),
                _ => InvalidDigest::Shape(shown()),
            });
        };
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() == 64 && hex.bytes().all(is_hex) {
            Ok(Self(s.into()))
        } else {
            Err(InvalidDigest::Shape(shown()))
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(s: String) -> Result<Self, InvalidDigest> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(d: Digest) -> Self {
        d.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A running sha256.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity(PREFIX.len() + 64);
        text.push_str(PREFIX);
        for byte in self.0.finalize() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(nibble.into(), 16).expect("a nibble is below 16"));
            }
        }
        Digest(text)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docker 20.10 printed of this image when it removed it.
    #[test]
    fn chains_as_docker_does() {
        let diff_ids = [
            "sha256:32d9c6534f53d534604075e2246b671b2e02aaaea13ef7cc1ad67a2da08b5ccf",
            "sha256:010be31fdf977a2401d7ab14e90fd08a6dc2300c9799881b188e4d05fb7e753a",
            "sha256:16676831d9690a413b0f0b8367d11cbc4762e0cffd5080abc345e181e9618cdb",
        ];
        let chain = Digest::chain(&diff_ids.map(|d| d.parse().unwrap()));
        let expected = [
            diff_ids[0],
            "sha256:2c5c31416f678391c4bdf65331346c3436dadaf0154301911c544c4cd9f77345",
            "sha256:51b2da41bbbff9e642269a42ca8d777dfe50801a84e0c618064515dad47e9713",
        ];
        assert_eq!(chain.iter().map(Digest::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn known_value_and_parts() {
        let d = Digest::of(b"");
        assert_eq!(d.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(d.as_str().parse::<Digest>().unwrap(), d);
        assert_eq!(d.short(), "e3b0c44298fc");
    }

    /// T-digest.
    #[test]
    fn everything_but_sha256_in_lower_case_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for bad in [
            "".to_string(),
            hex.to_string(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{}/", &hex[1..]),
            "sha256:../../../../etc/passwd".to_string(),
            format!(":{hex}"),
            format!(" sha256:{hex}"),
            format!("sha256:{}\n", &hex[1..]),
            format!("sha256+b64:{hex}"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<Digest>(bad.clone().into()).is_err(), "{bad:?}");
        }
    }
}
