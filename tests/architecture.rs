//! Owns the rules of the house that a compiler does not check: which room may name which, and what every
//! source file must hold.
//!
//! Refuses an arrow that is not in [`ROOMS`]. A new arrow is therefore a visible one-line change here. It sees
//! `crate::` paths, also grouped ones, outside comments; macros and `super::super::` it does not see, and
//! neither is wanted.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room and the rooms it may name, lowest first.
const ROOMS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("sys", &[]),
    ("oci", &[]),
    ("config", &["error", "oci"]),
    ("overlay", &["sys"]),
    ("net", &["sys"]),
    ("runtime", &["oci", "sys"]),
    ("store", &["error", "oci", "sys"]),
    ("registry", &["config", "error", "oci"]),
    ("image", &["error", "oci", "registry", "store", "sys"]),
    ("snapshot", &["error", "oci", "store", "sys"]),
    ("shim", &["error", "net", "oci", "overlay", "runtime", "snapshot", "store", "sys"]),
    ("build", &["config", "error", "image", "oci", "runtime", "shim", "snapshot", "store"]),
    ("engine", &["build", "config", "error", "image", "oci", "runtime", "shim", "snapshot", "store"]),
    ("api", &["config", "engine", "error", "oci"]),
    ("cli", &["config", "engine", "error", "oci"]),
];

/// The rooms that `main.rs` may hand over to: the roles of the binary.
const ROLES: &[&str] = &["cli", "net", "runtime", "shim"];

#[test]
fn every_arrow_points_to_a_row_above() {
    let mut seen = BTreeSet::new();
    for (room, allowed) in ROOMS {
        for name in *allowed {
            assert!(seen.contains(name), "`{room}` may not name `{name}`: it stands below it in the table");
        }
        assert!(seen.insert(*room), "`{room}` has two rows");
    }
}

#[test]
fn every_room_keeps_to_its_row() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let Some(room) = room_of(&file) else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: `{room}` has no row", file.display()));
            continue;
        };
        for name in first_segments(&code(&file), "crate::") {
            let known = name == room || allowed.contains(&name.as_str());
            if !known {
                wrong.push(format!("{}: `{room}` may not name `{name}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows outside the table:\n{}", wrong.join("\n"));
}

#[test]
fn main_recognises_the_role_and_nothing_else() {
    let path = root().join("src/main.rs");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() <= 30, "src/main.rs has more than 30 lines");
    for name in first_segments(&code(&path), "kelp::") {
        let known = name == "entry" || ROLES.contains(&name.as_str());
        assert!(known, "main.rs names `{name}`, which is no role");
    }
}

#[test]
fn the_map_names_every_room() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let map: String = text.lines().filter(|l| l.starts_with("//!")).collect();
    for room in text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(ROOMS.iter().any(|(name, _)| *name == room), "`{room}` has no row");
        if room != "error" {
            assert!(map.contains(&format!("[`{room}`]")), "the map in lib.rs does not name `{room}`");
        }
    }
}

#[test]
fn every_file_opens_with_what_it_owns() {
    for file in sources("src").into_iter().chain(sources("tests")) {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 12, "{}: no `//!` on line 1", file.display());
        assert!(!first.contains("(skeleton)"), "{}: still a skeleton", file.display());
    }
}

#[test]
fn unsafe_lives_in_sys_alone() {
    for file in sources("src") {
        if room_of(&file).as_deref() != Some("sys") {
            let code = code(&file);
            let found = words(&code).find(|w| *w == "unsafe");
            assert!(found.is_none(), "{}: `unsafe` outside src/sys", file.display());
        }
    }
}

#[test]
fn nothing_is_called_a_helper() {
    const SHAPELESS: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];
    for file in sources("src").into_iter().chain(sources("tests")) {
        let relative = file.strip_prefix(root()).unwrap().with_extension("");
        for part in relative.components() {
            let part = part.as_os_str().to_string_lossy();
            assert!(!SHAPELESS.contains(&part.as_ref()), "{}: names no noun", file.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    for file in sources("src") {
        let code = code(&file);
        for stub in ["todo!", "unimplemented!", "dbg!"] {
            assert!(!code.contains(stub), "{}: `{stub}`", file.display());
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources under {dir}");
    found
}

/// `None` for `lib.rs` and `main.rs`, which belong to no room.
fn room_of(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root().join("src")).ok()?;
    let mut parts = relative.components();
    let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
    match first.strip_suffix(".rs") {
        Some("lib" | "main") => None,
        Some(leaf) => Some(leaf.to_owned()),
        None => Some(first),
    }
}

/// The file without line comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The first path segment after each `prefix`; all of them where a group follows.
fn first_segments(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(words(rest).next().map(str::to_owned)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first segments of `a::x, b::{c, d}, e}`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if depth == 0 && fresh && c.is_alphabetic() => {
                heads.extend(words(&group[at..]).next().map(str::to_owned));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn grouped_imports_are_seen() {
    let code = "use crate::{store::{a, b}, sys, oci::digest};\nlet x = crate::image::y(crate::cli::z);";
    assert_eq!(first_segments(code, "crate::"), ["store", "sys", "oci", "image", "cli"]);
    assert!(first_segments("$crate::sys::x", "crate::").is_empty());
}
