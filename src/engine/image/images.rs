//! `images`: what is here, one row for each name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::resolve;
use crate::engine::{Engine, Error, Result};
use crate::oci::Reference;
use crate::store::image::ImageRecord;

/// What `images` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ImagesQuery {
    /// `REPOSITORY[:TAG]`, as typed; `*` and `?` are wildcards.
    pub reference: Option<String>,
    /// `KEY=VALUE` pairs of `--filter`: dangling, label, reference, before, since.
    pub filters: Vec<(String, String)>,
}

/// One row: an image under one of its names, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…`.
    pub id: String,
    /// Familiar (`alpine`); `None` is docker's `<none>`.
    pub repository: Option<String>,
    pub tag: Option<String>,
    /// The manifest's digest.
    pub digest: String,
    pub created: Option<Timestamp>,
    /// Bytes, unpacked.
    pub size: u64,
    pub labels: BTreeMap<String, String>,
}

/// The filters, understood.
#[derive(Default)]
struct Filters {
    dangling: Option<bool>,
    /// Each must be there; with a value, the same one.
    labels: Vec<(String, Option<String>)>,
    /// One of them must match.
    references: Vec<String>,
    before: Vec<Timestamp>,
    since: Vec<Timestamp>,
}

pub fn images(engine: &Engine, query: &ImagesQuery) -> Result<Vec<ImageRow>> {
    let filters = parse(engine, query)?;
    let mut rows = Vec::new();
    for image in engine.store.images()? {
        let labels = resolve::config(&image)?.config.labels;
        if filters.accept(&image, &labels) {
            rows.extend(rows_of(&image, &labels, &filters));
        }
    }
    Ok(rows)
}

fn parse(engine: &Engine, query: &ImagesQuery) -> Result<Filters> {
    let mut filters = Filters::default();
    filters.references.extend(query.reference.clone());
    for (key, value) in &query.filters {
        let created =
            || -> Result<Timestamp> { Ok(resolve::resolve(engine, value)?.created.unwrap_or_default()) };
        match key.as_str() {
            "dangling" => {
                let parsed = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" | "t" => true,
                    "false" | "0" | "f" => false,
                    _ => return Err(invalid(key, value, "true or false is expected")),
                };
                filters.dangling = Some(parsed);
            }
            "label" => {
                let (name, wanted) = match value.split_once('=') {
                    Some((name, wanted)) => (name, Some(wanted.to_string())),
                    None => (value.as_str(), None),
                };
                filters.labels.push((name.into(), wanted));
            }
            "reference" => filters.references.push(value.clone()),
            "before" => filters.before.push(created()?),
            "since" => filters.since.push(created()?),
            _ => return Err(invalid(key, value, "dangling, label, reference, before and since are known")),
        }
    }
    Ok(filters)
}

fn invalid(key: &str, value: &str, reason: &str) -> Error {
    Error::Invalid { what: "filter", value: format!("{key}={value}"), reason: reason.into() }
}

impl Filters {
    fn accept(&self, image: &ImageRecord, labels: &BTreeMap<String, String>) -> bool {
        let created = image.created.unwrap_or_default();
        self.dangling.is_none_or(|wanted| image.references.is_empty() == wanted)
            && self.before.iter().all(|other| created < *other)
            && self.since.iter().all(|other| created > *other)
            && self.labels.iter().all(|(name, wanted)| match (labels.get(name), wanted) {
                (Some(value), Some(wanted)) => value == wanted,
                (found, _) => found.is_some(),
            })
    }

    fn names(&self, reference: &Reference) -> bool {
        self.references.is_empty() || self.references.iter().any(|pattern| is_match(pattern, reference))
    }
}

/// docker's: the pattern is compared with the familiar name, with and without tag; `*` does not cross a slash.
fn is_match(pattern: &str, reference: &Reference) -> bool {
    let candidates = [
        reference.familiar(),
        reference.familiar_repository(),
        reference.to_string(),
        reference.repository(),
    ];
    candidates.iter().any(|name| glob(pattern.as_bytes(), name.as_bytes()))
}

/// `*` and `?` within a path component. Linear but for one step back to the last star.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == name[n] || pattern[p] == b'?' && name[n] != b'/') {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star_p, star_n)) = star.filter(|(_, at)| name[*at] != b'/') {
            star = Some((star_p, star_n + 1));
            (p, n) = (star_p + 1, star_n + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

fn rows_of(image: &ImageRecord, labels: &BTreeMap<String, String>, filters: &Filters) -> Vec<ImageRow> {
    let row = |repository: Option<String>, tag: Option<String>| ImageRow {
        id: image.id.clone(),
        repository,
        tag,
        digest: image.manifest.clone(),
        created: image.created,
        size: image.size,
        labels: labels.clone(),
    };
    if image.references.is_empty() {
        return if filters.references.is_empty() { vec![row(None, None)] } else { Vec::new() };
    }
    let references = resolve::references(image);
    let named = references.iter().filter(|r| filters.names(r));
    named.map(|r| row(Some(r.familiar_repository()), r.tag().map(Into::into))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let alpine: Reference = "alpine:3.20".parse().unwrap();
        let other: Reference = "quay.io/user/tool:1".parse().unwrap();
        for (pattern, of_alpine, of_other) in [
            ("alpine", true, false),
            ("alp*", true, false),
            ("alpine:3.*", true, false),
            ("alpine:latest", false, false),
            ("*", true, false),
            ("*/*/*", true, true),
            ("quay.io/user/tool", false, true),
            ("docker.io/library/alpine", true, false),
            ("?lpine", true, false),
            ("", false, false),
        ] {
            assert_eq!(is_match(pattern, &alpine), of_alpine, "{pattern}");
            assert_eq!(is_match(pattern, &other), of_other, "{pattern}");
        }
    }
}
