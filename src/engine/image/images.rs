//! `images`: what is here, one row for each name.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::resolve;
use crate::engine::filter::{Label, truth, unknown};
use crate::engine::{Engine, Result, options};
use crate::oci::Reference;
use crate::store::image::ImageRecord;

/// What `images` was asked for.
#[derive(Debug, Clone, Default)]
pub struct ImagesQuery {
    /// `REPOSITORY[:TAG]`, as typed; `*` and `?` are wildcards.
    pub reference: Option<String>,
    /// `KEY=VALUE` pairs of `--filter`, with the keys of [`FILTERS`].
    pub filters: Vec<(String, String)>,
    /// One row for each digest that a name has, where it has several.
    pub digests: bool,
}

/// Keys that `--filter` knows.
pub const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

/// One row: an image under one of its names, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…`.
    pub id: String,
    /// Familiar (`alpine`); `None` is docker's `<none>`.
    pub repository: Option<String>,
    pub tag: Option<String>,
    /// What the image is called by digest in that repository; of one without a name, the manifest's.
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
    /// All must accept.
    labels: Vec<Label>,
    /// One of them must match.
    references: Vec<String>,
    before: Vec<Timestamp>,
    since: Vec<Timestamp>,
    until: Vec<Timestamp>,
}

pub fn images(engine: &Engine, query: &ImagesQuery) -> Result<Vec<ImageRow>> {
    let filters = parse(engine, query)?;
    let mut rows = Vec::new();
    for image in engine.store.images()? {
        let labels = resolve::config(&image)?.config.labels;
        if filters.accept(&image, &labels) {
            rows.extend(rows_of(&image, &labels, &filters, query.digests));
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
            "dangling" => filters.dangling = Some(truth(key, value)?),
            "label" => filters.labels.push(Label::parse(value, true)),
            "reference" => filters.references.push(value.clone()),
            "before" => filters.before.push(created()?),
            "since" => filters.since.push(created()?),
            "until" => filters.until.push(options::time("filter until", value)?),
            _ => return Err(unknown(key, value, FILTERS)),
        }
    }
    Ok(filters)
}

impl Filters {
    fn accept(&self, image: &ImageRecord, labels: &BTreeMap<String, String>) -> bool {
        let created = image.created.unwrap_or_default();
        self.dangling.is_none_or(|wanted| image.is_dangling() == wanted)
            && self.before.iter().chain(&self.until).all(|other| created < *other)
            && self.since.iter().all(|other| created > *other)
            && self.labels.iter().all(|label| label.accepts(labels))
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

fn rows_of(
    image: &ImageRecord,
    labels: &BTreeMap<String, String>,
    filters: &Filters,
    every_digest: bool,
) -> Vec<ImageRow> {
    let row = |name: Option<&Reference>, digest: String| ImageRow {
        id: image.id.clone(),
        repository: name.map(Reference::familiar_repository),
        tag: name.and_then(|name| name.tag().map(Into::into)),
        digest,
        created: image.created,
        size: image.size,
        labels: labels.clone(),
    };
    if image.references.is_empty() {
        let shown = filters.references.is_empty();
        return if shown { vec![row(None, image.manifest.clone())] } else { Vec::new() };
    }
    let (names, digests) = (resolve::references(image), resolve::digests(image));
    let tagged = |repository: &str| names.iter().any(|n| n.tag().is_some() && n.repository() == repository);
    let mut rows: Vec<ImageRow> = Vec::new();
    for name in names.iter().filter(|name| filters.names(name)) {
        // A digest has a row of its own only where its repository has no tag.
        if name.digest().is_some() && tagged(&name.repository()) {
            continue;
        }
        let same = digests.iter().filter(|d| d.repository() == name.repository());
        let same = same.filter(|d| name.digest().is_none() || d.digest() == name.digest());
        let texts = same.filter_map(|d| d.digest().map(ToString::to_string));
        rows.extend(texts.take(if every_digest { usize::MAX } else { 1 }).map(|d| row(Some(name), d)));
    }
    rows
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
