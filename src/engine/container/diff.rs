//! `diff`: what a container has changed in its file system.

use std::io::Read;

use super::held::hold;
use crate::engine::{Engine, Result};
pub use crate::snapshot::diff::{Change, Kind};
use crate::store::produced;

const VERB: &str = "compare";

/// The changes, by path.
pub fn diff(engine: &Engine, container: &str) -> Result<Vec<Change>> {
    let held = hold(engine, container, VERB)?;
    let layers = held.layers(engine, VERB)?;
    if !layers.are_kept() {
        let reason =
            "what it writes goes into its root directory itself, of which nobody has kept how it was";
        return Err(held.cannot(VERB, reason, None));
    }
    let mut produced = produced::begin(&engine.store, &[], |out| {
        let changes = layers.changes().map_err(|e| e.to_string())?;
        let write =
            |change: &Change| out.write_all(&[&[letter(change.kind)], change.path.as_slice(), &[0]].concat());
        changes.iter().try_for_each(write).map_err(|e| e.to_string())
    })?;
    let mut bytes = Vec::new();
    let read = produced.read_to_end(&mut bytes);
    // Its own words, before those of who reads.
    produced.end()?;
    read.map_err(|source| crate::image::Error::Read { what: "the changes".into(), source })?;
    let changes = bytes.split(|b| *b == 0).filter_map(|record| record.split_first());
    Ok(changes.map(|(letter, path)| Change { kind: kind(*letter), path: path.to_vec() }).collect())
}

/// docker's.
pub fn letter(kind: Kind) -> u8 {
    match kind {
        Kind::Added => b'A',
        Kind::Changed => b'C',
        Kind::Deleted => b'D',
    }
}

fn kind(letter: u8) -> Kind {
    match letter {
        b'A' => Kind::Added,
        b'D' => Kind::Deleted,
        _ => Kind::Changed,
    }
}
