//! What the line names already is not offered again, where a command takes several names.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
use clap_complete::engine::ArgValueCandidates;

/// `words` are those between the program's name and the one that is completed.
pub(super) fn leave_out(top: &mut Command, words: &[OsString]) {
    let mut command = top;
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        if command.find_subcommand(word).is_some() {
            let Some(found) = command.find_subcommand_mut(word) else { return };
            command = found;
        } else if !(command.has_subcommands() && is_flag(word)) {
            break;
        }
        rest = behind;
    }
    let Some((id, names)) = taken(command, names(command, rest)) else { return };
    if !names.is_empty() {
        let whole = std::mem::replace(command, Command::new(""));
        *command = whole.mut_arg(id, |arg| without(arg, names));
    }
}

fn is_flag(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.starts_with(b"-") && bytes.len() > 1
}

/// The words that are neither options nor their values.
fn names(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            names.extend(words.cloned());
            break;
        }
        if !is_flag(word) {
            names.push(word.clone());
        } else if wants_next(command, &word.to_string_lossy()) {
            words.next();
        }
    }
    names
}

/// Whether the value of this option is the next word.
fn wants_next(command: &Command, word: &str) -> bool {
    if let Some(long) = word.strip_prefix("--") {
        let is_it = |arg: &&Arg| {
            arg.get_long() == Some(long) || arg.get_all_aliases().unwrap_or_default().contains(&long)
        };
        return command.get_arguments().find(is_it).is_some_and(needs_value);
    }
    let mut letters = word.chars().skip(1);
    while let Some(letter) = letters.next() {
        let is_it = |arg: &&Arg| {
            arg.get_short() == Some(letter)
                || arg.get_all_short_aliases().unwrap_or_default().contains(&letter)
        };
        if command.get_arguments().find(is_it).is_some_and(needs_value) {
            return letters.next().is_none();
        }
    }
    false
}

fn needs_value(arg: &Arg) -> bool {
    arg.get_num_args().map_or(arg.get_action().takes_values(), |range| range.min_values() > 0)
}

/// The argument that takes several names, and those of `names` that are its own.
fn taken(command: &Command, mut names: Vec<OsString>) -> Option<(clap::Id, Vec<OsString>)> {
    let several = |arg: &Arg| arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    let before = command.get_positionals().take_while(|arg| !several(arg)).count();
    let arg = command.get_positionals().find(|arg| several(arg))?;
    let own = names.split_off(before.min(names.len()));
    Some((arg.get_id().clone(), own))
}

fn without(arg: Arg, names: Vec<OsString>) -> Arg {
    let Some(offered) = arg.get::<ArgValueCandidates>().cloned() else { return arg };
    arg.add(ArgValueCandidates::new(move || {
        let mut candidates = offered.candidates();
        candidates.retain(|candidate| !names.iter().any(|name| means(name, candidate.get_value())));
        candidates
    }))
}

/// An image may be named without its tag.
fn means(name: &OsStr, candidate: &OsStr) -> bool {
    let short = candidate.as_encoded_bytes().strip_suffix(b":latest");
    name == candidate || short == Some(name.as_encoded_bytes())
}
