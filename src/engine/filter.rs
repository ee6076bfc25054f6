//! `--filter KEY=VALUE` where it means the same for images and containers: labels, ages, truth values.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Error, Result, options};

/// `label=KEY[=VALUE]`, or with `label!` its contrary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    key: String,
    value: Option<String>,
    wanted: bool,
}

impl Label {
    pub(super) fn parse(text: &str, wanted: bool) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.into(), value: Some(value.into()), wanted },
            None => Self { key: text.into(), value: None, wanted },
        }
    }

    pub(super) fn accepts(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = match (labels.get(&self.key), &self.value) {
            (Some(have), Some(want)) => have == want,
            (have, None) => have.is_some(),
            (None, Some(_)) => false,
        };
        found == self.wanted
    }
}

/// What `prune` may remove.
#[derive(Debug, Clone, Default)]
pub(super) struct Prune {
    labels: Vec<Label>,
    /// Only what was made before.
    until: Option<Timestamp>,
    /// Of images.
    pub(super) dangling: Option<bool>,
}

impl Prune {
    /// `known` are the keys that the noun has.
    pub(super) fn parse(filters: &[(String, String)], known: &[&str]) -> Result<Self> {
        let mut parsed = Self::default();
        for (key, value) in filters {
            match key.as_str() {
                key if !known.contains(&key) => {
                    return Err(unknown(key, value, known));
                }
                "label" => parsed.labels.push(Label::parse(value, true)),
                "label!" => parsed.labels.push(Label::parse(value, false)),
                "until" if parsed.until.is_some() => {
                    return Err(invalid(key, value, "it is given more than once"));
                }
                "until" => parsed.until = Some(options::time("filter until", value)?),
                _ => parsed.dangling = Some(truth(key, value)?),
            }
        }
        Ok(parsed)
    }

    /// Whether anything but what is dangling is told apart.
    pub(super) fn chooses(&self) -> bool {
        self.until.is_some() || !self.labels.is_empty()
    }

    pub(super) fn accepts(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created.unwrap_or_default() < until)
            && self.labels.iter().all(|label| label.accepts(labels))
    }
}

pub(super) fn invalid(key: &str, value: &str, reason: &str) -> Error {
    Error::Invalid { what: "filter", value: format!("{key}={value}"), reason: reason.into() }
}

pub(super) fn unknown(key: &str, value: &str, known: &[&str]) -> Error {
    invalid(key, value, &format!("known here are {}", known.join(", ")))
}

pub(super) fn truth(key: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        _ => Err(invalid(key, value, "true or false is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_wanted_and_unwanted() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (text, holds) in [("a", true), ("a=1", true), ("a=2", false), ("b", false), ("b=", false)] {
            assert_eq!(Label::parse(text, true).accepts(&labels), holds, "{text}");
            assert_eq!(Label::parse(text, false).accepts(&labels), !holds, "not {text}");
        }
    }

    #[test]
    fn prune_takes_what_is_old_enough() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let known = ["label", "label!", "until"];
        let filter = Prune::parse(&pairs(&[("until", "1h"), ("label!", "keep")]), &known).unwrap();
        let now = Timestamp::now();
        let old = now.checked_sub(jiff::SignedDuration::from_hours(2)).unwrap();
        let kept = BTreeMap::from([("keep".to_owned(), String::new())]);
        assert!(filter.accepts(Some(old), &BTreeMap::new()));
        assert!(!filter.accepts(Some(now), &BTreeMap::new()));
        assert!(!filter.accepts(Some(old), &kept));
        for bad in [("until", "soon"), ("dangling", "true"), ("nope", "x")] {
            assert!(Prune::parse(&pairs(&[bad]), &known).is_err(), "{bad:?}");
        }
    }
}
