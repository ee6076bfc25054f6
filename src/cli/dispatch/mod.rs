//! From the words of the command line to the one command that they mean.
//!
//! Only that command's parser is built; the whole tree is built for help, and for words that mean nothing.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::command::{self, Exit, Spec};
use super::context::Context;
use super::failure::{Failure, complain};
use super::tree::{self, Entry};
use super::unbuilt;
use crate::error::ExitStatus;

/// Runs the command and reports its failure. `words` comes without `argv[0]`.
pub(super) fn run(words: Vec<OsString>) -> ExitStatus {
    let words = asked_for_help(words);
    let start = match Start::find(&words) {
        Ok(start) => start,
        Err(failure) => return finish(&failure, Exit::Verb),
    };
    if let Err(failure) = start_logging(start.debug) {
        return finish(&failure, Exit::Verb);
    }
    let exit = start.entry.spec.exit;
    let context: &'static mut Context = Box::leak(Box::default());
    let words = &words[start.rest..];
    start.entry.spec.ahead(context, words);
    let matches = parse(start.entry, &start.path, words);
    let outcome = matches.and_then(|matches| start.entry.spec.run(context, &matches));
    context.farewell();
    match outcome {
        Ok(status) => status,
        Err(failure) => finish(&failure, exit),
    }
}

/// `kelp help run` is `kelp run --help`.
fn asked_for_help(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
        words.push("--help".into());
    }
    words
}

fn finish(failure: &Failure, exit: Exit) -> ExitStatus {
    if let Failure::Clap(help) = failure
        && !help.use_stderr()
    {
        let printed = help.print().map_err(Failure::stdout);
        return printed.map_or_else(|unprinted| finish(&unprinted, exit), |()| ExitStatus::Success);
    }
    failure.report();
    failure.status(exit)
}

/// A command that was found, before its own words are looked at.
struct Start {
    entry: &'static Entry,
    /// `kelp container ls`.
    path: String,
    debug: bool,
    /// Index of the first word after the command's own.
    rest: usize,
}

impl Start {
    fn find(words: &[OsString]) -> Result<Self, Failure> {
        let mut debug = false;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if word == "--debug" || word == "-D" {
                debug = true;
                at += 1;
            } else {
                break;
            }
        }
        let word = |at: usize| words.get(at).and_then(|w| w.to_str()).unwrap_or_default();
        if let Some(entry) = tree::find(tree::COMMANDS, word(at)) {
            return Ok(Self { entry, path: format!("kelp {}", word(at)), debug, rest: at + 1 });
        }
        if let Some(group) = tree::GROUPS.iter().find(|g| g.name == word(at))
            && let Some(entry) = tree::find(group.entries, word(at + 1))
        {
            return Ok(Self {
                entry,
                path: format!("kelp {} {}", group.name, word(at + 1)),
                debug,
                rest: at + 2,
            });
        }
        Err(misunderstood(words, word(at)))
    }
}

/// Help, version, or an error with what was probably meant.
fn misunderstood(words: &[OsString], first: &str) -> Failure {
    if unbuilt::COMMANDS.contains(&first) {
        return unbuilt::failure(&format!("kelp {first}"));
    }
    if let Some(group) = tree::GROUPS.iter().find(|group| group.name == first)
        && let Some(second) = words.iter().skip_while(|w| *w != first).nth(1).and_then(|w| w.to_str())
        && group.name != "network"
        && unbuilt::COMMANDS.contains(&second)
    {
        return unbuilt::failure(&format!("kelp {first} {second}"));
    }
    if first == "network"
        && let Some(second) = words.iter().skip_while(|w| *w != "network").nth(1).and_then(|w| w.to_str())
        && unbuilt::NETWORK_COMMANDS.contains(&second)
    {
        return unbuilt::failure(&format!("kelp network {second}"));
    }
    let words = std::iter::once(OsString::from("kelp")).chain(words.iter().cloned());
    match tree::full().try_get_matches_from(words) {
        Err(error) => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag)) if unbuilt::is_global(flag) => unbuilt::failure(flag),
            _ => Failure::Clap(error),
        },
        // Every command that the tree accepts, `Start::find` accepts too.
        Ok(_) => Failure::Flag("the command comes first, then its options".into()),
    }
}

/// Reads a command's own words.
pub(super) fn parse(entry: &Entry, path: &str, words: &[OsString]) -> Result<ArgMatches, Failure> {
    let argv = || std::iter::once(OsString::from(path)).chain(words.iter().cloned());
    let build = || entry.spec.build(entry.name, path);
    let error = match build().try_get_matches_from(argv()) {
        Ok(matches) => return Ok(matches),
        Err(error) => error,
    };
    match error.kind() {
        // `--rm=true`, `-d=true`: docker's flags take a value after `=`.
        _ if is_switch_with_value(&error) => command::with_switch_values(build())
            .try_get_matches_from(argv())
            .map_err(|e| explain(entry.spec, e)),
        _ => Err(explain(entry.spec, error)),
    }
}

/// Of a short one, what follows it is taken for the next flag.
fn is_switch_with_value(error: &clap::Error) -> bool {
    let invalid = error.get(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::TooManyValues => true,
        ErrorKind::UnknownArgument => matches!(invalid, Some(ContextValue::String(flag)) if flag == "-="),
        _ => false,
    }
}

/// A flag that docker or podman has and kelp has not yet gets an answer of its own.
fn explain(spec: &Spec, error: clap::Error) -> Failure {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
    {
        let flag = flag.split('=').next().unwrap_or(flag);
        if let Some(known) = unbuilt::find(spec.unbuilt, flag) {
            return unbuilt::failure(known);
        }
    }
    Failure::Clap(error)
}

/// `--debug` or `KELP_LOG`: kelp's own log, on stderr.
fn start_logging(debug: bool) -> Result<(), Failure> {
    let level = match crate::config::log_level()? {
        Some(level) => level,
        None if debug => tracing::Level::DEBUG,
        None => return Ok(()),
    };
    let started = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(level)
        .try_init();
    if let Err(e) = started {
        complain(&format!("kelp: cannot log: {e}\n"));
    }
    Ok(())
}

/// The top of the tree: what stands before any command.
pub(super) fn top() -> Command {
    let command = Command::new("kelp")
        .about("Linux containers for one user: no root, no daemon")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .override_usage("kelp [OPTIONS] COMMAND")
        .arg(
            clap::Arg::new("debug")
                .short('D')
                .long("debug")
                .action(clap::ArgAction::SetTrue)
                .help("Log what kelp does, on stderr (KELP_LOG=LEVEL does the same)"),
        )
        .arg(
            clap::Arg::new("version")
                .short('v')
                .long("version")
                .action(clap::ArgAction::Version)
                .help("Print the version"),
        );
    command::with_help(command)
}

#[cfg(test)]
mod tests;
