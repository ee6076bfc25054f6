//! Platforms: `os/architecture[/variant]`, in Go's words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image's programs run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What follows is kept where a list says it, and chooses nothing: it means something to other systems than Linux.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "super::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    #[serde(default, deserialize_with = "super::null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

impl Platform {
    /// The platform of this binary.
    pub fn host() -> Self {
        Self::new("linux", normalise(std::env::consts::ARCH).0, None)
    }

    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
            os_version: None,
            os_features: Vec::new(),
            features: Vec::new(),
        }
    }

    /// Whether something built for `self` is what was asked for with `wanted`. A variant is compared when both
    /// name one.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let variant = match (&self.variant, &wanted.variant) {
            (Some(have), Some(want)) => have == want,
            _ => true,
        };
        self.os == wanted.os && self.architecture == wanted.architecture && variant
    }
}

/// uname's and Debian's names as Go's, with the variant they imply.
fn normalise(architecture: &str) -> (&str, Option<&str>) {
    match architecture {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" | "arm64" => ("arm64", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        "i386" | "i486" | "i586" | "i686" | "x86" => ("386", None),
        "powerpc64le" => ("ppc64le", None),
        other => (other, None),
    }
}

impl FromStr for Platform {
    type Err = String;

    /// `linux/arm64/v8`; a lone word is an architecture of Linux, or `linux` itself.
    fn from_str(s: &str) -> Result<Self, String> {
        let s = s.to_ascii_lowercase();
        let parts: Vec<&str> = s.split('/').collect();
        let word = |w: &&str| {
            w.len() <= 32
                && w.starts_with(|c: char| c.is_ascii_alphanumeric())
                && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !parts.iter().all(word) {
            return Err("os/architecture[/variant] is expected".into());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux"] => return Ok(Self::host()),
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err("os/architecture[/variant] is expected".into()),
        };
        let (architecture, implied) = normalise(architecture);
        Ok(Self::new(os, architecture, variant.or(implied)))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_normalised() {
        let shown = |s: &str| s.parse::<Platform>().unwrap().to_string();
        assert_eq!(shown("x86_64"), "linux/amd64");
        assert_eq!(shown("linux/aarch64"), "linux/arm64");
        assert_eq!(shown("Linux/arm/v7"), "linux/arm/v7");
        assert_eq!(shown("armhf"), "linux/arm/v7");
        assert_eq!(shown("linux"), Platform::host().to_string());
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/../amd64", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_variant_matches_any() {
        let p = |s: &str| s.parse::<Platform>().unwrap();
        assert!(p("linux/arm/v7").satisfies(&p("linux/arm")));
        assert!(!p("linux/arm/v7").satisfies(&p("linux/arm/v6")));
        assert!(!p("linux/amd64").satisfies(&p("linux/arm64")));
    }
}
