//! Image references: the grammar of the distribution project, with docker's normalisation.
//!
//! A [`Reference`] is always whole: domain, path, and a tag or a digest or both. `alpine` is
//! `docker.io/library/alpine:latest`; there is no search list, so that a name means one image everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
/// Bytes of domain and path together, as the distribution project has it.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Bytes of a whole reference.
const MAX_LENGTH: usize = 1024;

/// A complete image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not a reference. The words are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    #[error("invalid reference format: {0}")]
    Format(String),
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must not be more than {MAX_NAME} characters")]
    NameTooLong,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    #[error(transparent)]
    Digest(#[from] super::InvalidDigest),
}

impl Reference {
    /// `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// `alpine`: the repository without what docker leaves out.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_string(),
            // `docker.io/a.b/c` without its domain would be `c` of the registry `a.b`.
            _ if split_domain(&self.path) != (DEFAULT_DOMAIN, &self.path) => self.repository(),
            _ => self.path.clone(),
        }
    }

    /// `alpine:latest`: how docker shows it.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    /// The same without its tag where there is a digest, which alone decides what is meant.
    pub fn pinned(&self) -> Self {
        let tag = self.tag.clone().filter(|_| self.digest.is_none());
        Self { tag, ..self.clone() }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name = format!("{name}:{tag}");
        }
        if let Some(digest) = &self.digest {
            name = format!("{name}@{digest}");
        }
        name
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(s: &str) -> Result<Self, InvalidReference> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if s.len() == 64 && s.bytes().all(is_hex) {
            return Err(InvalidReference::LooksLikeId(s.into()));
        }
        if s.is_empty() {
            return Err(InvalidReference::Format("the name is empty".into()));
        }
        if let Some((at, odd)) = s.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            return Err(InvalidReference::Format(format!(
                "{:?} at position {} cannot be part of it",
                odd,
                at + 1
            )));
        }
        if s.len() > MAX_LENGTH {
            return Err(InvalidReference::Format(format!("it has more than {MAX_LENGTH} characters")));
        }
        let (rest, digest) = match s.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (s, None),
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidReference::Uppercase(path.into()));
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{OFFICIAL}{path}") } else { path.to_string() };
        if !is_domain(domain) {
            return Err(InvalidReference::Format(format!(
                "`{domain}` is no registry: HOST[:PORT] is expected"
            )));
        }
        if let Some(odd) = path.split('/').find(|part| !is_component(part)) {
            return Err(InvalidReference::Format(if odd.is_empty() {
                format!("a part of the path `{path}` is empty")
            } else {
                format!(
                    "`{odd}` in the path: lower-case letters and digits are expected, with single . _ __ or hyphens \
                     between"
                )
            }));
        }
        if let Some(odd) = tag.filter(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Format(format!(
                "the tag `{odd}`: 1 to {MAX_TAG} letters, digits, _ . - are expected, the first no . or -"
            )));
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(InvalidReference::NameTooLong);
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(Into::into);
        Ok(Self { domain: domain.into(), path, tag, digest })
    }
}

/// docker's rule: what stands before the first slash is a domain if it could not be a user's name.
fn split_domain(s: &str) -> (&str, &str) {
    let (domain, remainder) = match s.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, s),
    };
    (if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain }, remainder)
}

fn is_domain(s: &str) -> bool {
    if let Some(rest) = s.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match s.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (s, None),
    };
    let label = |l: &str| {
        l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && l.bytes().next().is_some_and(|b| b != b'-')
            && !l.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(s: &str) -> bool {
    !s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(s: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    let bytes = s.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes
        .split(|&b| alnum(b))
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|&b| b == b'-'))
}

/// `\w[\w.-]{0,127}`.
fn is_tag(s: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = s.as_bytes();
    (1..=MAX_TAG).contains(&bytes.len())
        && word(bytes[0])
        && bytes[1..].iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;
    fn try_from(s: String) -> Result<Self, InvalidReference> {
        s.parse()
    }
}

impl From<Reference> for String {
    fn from(r: Reference) -> Self {
        r.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.repository()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalised_and_familiar() {
        for (given, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("user/tool", "docker.io/user/tool:latest", "user/tool:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x/y:1", "localhost:5000/x/y:1", "localhost:5000/x/y:1"),
            ("quay.io/a/b_c--d__e.f", "quay.io/a/b_c--d__e.f:latest", "quay.io/a/b_c--d__e.f:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ] {
            let r: Reference = given.parse().unwrap();
            assert_eq!(r.to_string(), full);
            assert_eq!(r.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), r, "the full form means the same");
            assert_eq!(familiar.parse::<Reference>().unwrap(), r, "so does the familiar one");
        }
    }

    #[test]
    fn a_digest_replaces_the_default_tag() {
        let r: Reference = format!("alpine@sha256:{HEX}").parse().unwrap();
        assert_eq!(r.tag(), None);
        let r: Reference = format!("alpine:3@sha256:{HEX}").parse().unwrap();
        assert_eq!(r.tag(), Some("3"));
        assert_eq!(r.digest().unwrap().hex(), HEX);
        assert_eq!(r.pinned().familiar(), format!("alpine@sha256:{HEX}"));
        assert_eq!("alpine:3".parse::<Reference>().unwrap().pinned().familiar(), "alpine:3");
    }

    #[test]
    fn what_is_no_reference() {
        let long = format!("{}/x", "a".repeat(254));
        let tag = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            ":",
            "@",
            "/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:",
            "a:-t",
            "a:b:c",
            "a@sha256:12",
            "A",
            "a/B",
            "../x",
            "a/../b",
            "a b",
            "a\0",
            "é",
            "http://x/y",
            "a:b/c",
            HEX,
            long.as_str(),
            tag.as_str(),
            "[::1/x",
            "host:port/x",
            "-h.io/x",
            "h..io/x",
            "a.b",
            ".a",
            "_a/b",
        ] {
            // `a.b` alone is a path component and valid.
            assert_eq!(bad.parse::<Reference>().is_ok(), bad == "a.b", "{bad:?}");
        }
        assert_eq!("a/B".parse::<Reference>(), Err(InvalidReference::Uppercase("a/B".into())));
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        for (bad, said) in [
            ("", "the name is empty"),
            ("a b", "' ' at position 2"),
            ("a..b/c", "`a..b` is no registry"),
            ("x/a..b", "`a..b` in the path"),
            ("x//y", "is empty"),
            ("x:-t", "the tag `-t`"),
            ("h.io:port/x", "`h.io:port` is no registry"),
            ("x@sha256:12", "invalid digest"),
        ] {
            let error = bad.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
