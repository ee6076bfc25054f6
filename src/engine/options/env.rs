//! `--env`, `--env-file`, `--label`, `--label-file`, `--annotation`: docker's rules for `KEY=VALUE` and files of it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::invalid;
use crate::engine::{Error, Result};
use crate::runtime::from_spec::annotation;

/// The host's environment, as `config` hands it on.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Bytes of a file of variables or labels.
const FILE_LIMIT: u64 = 1 << 20;

/// All `--env-file` first, then all `-e`, as docker orders them: `KEY=VALUE` entries; later ones win. `-e KEY`
/// takes the host's value; where the host has none, the bare `KEY` stays and removes the image's entry. A bare key
/// in a file is dropped then, as docker does.
pub fn env(files: &[PathBuf], values: &[String], lookup: Lookup<'_>) -> Result<Vec<String>> {
    let from_host = |key: &str| lookup(key).map(|value| format!("{key}={value}"));
    let mut list = Vec::new();
    for file in files {
        for (key, value) in read(file, "environment file")? {
            match value {
                Some(value) => list.push(format!("{key}={value}")),
                None => list.extend(from_host(&key)),
            }
        }
    }
    for value in values {
        if value.is_empty() || value.starts_with('=') || value.contains('\0') {
            return Err(invalid("environment variable", value, "KEY=VALUE or KEY is allowed"));
        }
        let bare = !value.contains('=');
        list.push(bare.then(|| from_host(value)).flatten().unwrap_or_else(|| value.clone()));
    }
    Ok(list)
}

/// All `--label-file` first, then all `--label`; a key alone has an empty value.
pub fn labels(files: &[PathBuf], values: &[String]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for file in files {
        map.extend(read(file, "label file")?.into_iter().map(|(k, v)| (k, v.unwrap_or_default())));
    }
    for value in values {
        let (key, text) = value.split_once('=').unwrap_or((value, ""));
        if key.is_empty() {
            return Err(invalid("label", value, "empty name; KEY=VALUE or KEY is allowed"));
        }
        map.insert(key.to_owned(), text.to_owned());
    }
    Ok(map)
}

/// `--annotation KEY=VALUE`. Names that begin with `kelp.` are kelp's own and refused.
pub fn annotations(values: &[String]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for value in values {
        let (key, text) = value
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| invalid("annotation", value, "KEY=VALUE is allowed"))?;
        if key.starts_with(annotation::PREFIX) {
            let reason = format!("names that begin with `{}` are kelp's own", annotation::PREFIX);
            return Err(invalid("annotation", value, reason));
        }
        map.insert(key.to_owned(), text.to_owned());
    }
    Ok(map)
}

fn read(path: &Path, what: &'static str) -> Result<Vec<(String, Option<String>)>> {
    let shown = path.display().to_string();
    let fail = |reason: String| Error::Invalid { what, value: shown.clone(), reason };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(fail(format!("more than {FILE_LIMIT} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("not UTF-8".to_owned()))?;
    parse(&text).map_err(fail)
}

/// Lines of `KEY=VALUE` or `KEY`; comments begin with `#`; values are taken as they are, quotes and blanks too.
fn parse(text: &str) -> std::result::Result<Vec<(String, Option<String>)>, String> {
    let mut entries = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(k, v)| (k, Some(v.to_owned())));
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        if line.contains('\0') {
            return Err("it contains a NUL byte".to_owned());
        }
        entries.push((key.to_owned(), value));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn files_come_first_and_bare_keys_ask_the_host() {
        let file = file("\u{feff}# c\n\n  A=1 \nHOST\nGONE\nQ=\"x\"\r\nE=\n");
        let lookup = |key: &str| (key == "HOST").then(|| "h".to_owned());
        let files = [file.path().to_owned()];
        let list = env(&files, &strings(&["B=2=3", "HOST", "GONE", "EMPTY="]), &lookup).unwrap();
        let expected = ["A=1 ", "HOST=h", "Q=\"x\"", "E=", "B=2=3", "HOST=h", "GONE", "EMPTY="];
        assert_eq!(list, expected);
    }

    #[test]
    fn bad_entries_are_named() {
        assert!(env(&[], &strings(&["=x"]), &|_| None).unwrap_err().to_string().contains("`=x`"));
        for (text, says) in [("a b=1", "contains whitespaces"), ("=1", "no variable name")] {
            let file = file(text);
            let error = env(&[file.path().to_owned()], &[], &|_| None).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(env(&[PathBuf::from("/nonexistent")], &[], &|_| None).is_err());
    }

    #[test]
    fn labels_and_annotations() {
        let file = file("a=1\nb\n");
        let map = labels(&[file.path().to_owned()], &strings(&["a=2", "c"])).unwrap();
        assert_eq!(map.into_iter().map(|(k, v)| k + &v).collect::<Vec<_>>(), ["a2", "b", "c"]);
        assert!(labels(&[], &strings(&["=x"])).is_err());
        assert!(annotations(&strings(&["a=b"])).is_ok());
        assert!(annotations(&strings(&["a"])).is_err());
        assert!(annotations(&strings(&["kelp.user=0"])).is_err());
    }
}
