//! What a command is: its words, its help, its examples, and the function that runs it.

use std::ffi::OsString;

use clap::{ArgMatches, Command};

use super::context::Context;
use super::failure::Outcome;
use super::unbuilt::Flag;

/// Implemented by the clap type of each command.
pub(super) trait Verb: clap::Args {
    /// One line, docker's where docker has the command.
    const ABOUT: &'static str;
    /// What follows the command's name in the usage line.
    const USAGE: &'static str;
    /// What the man page says below the usage; paragraphs are separated by empty lines.
    const DESCRIPTION: &'static str = "";
    /// For the man page: what it does, and the command line.
    const EXAMPLES: &'static [(&'static str, &'static str)];
    const EXIT: Exit = Exit::Verb;
    /// docker's and podman's flags that this command does not have.
    const UNBUILT: &'static [Flag] = &[];

    /// Called with the command's words before they are understood, for what takes its time and can be begun on the
    /// mere sight of the command. Fails silently: what is not there by then is done when it is needed.
    fn ahead(_context: &Context, _words: &[OsString]) {}

    fn run(self, context: &Context) -> Outcome;
}

/// Which text a man page gives under EXIT STATUS, and what a failure of kelp's own is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0, 1, 125 for flags.
    Verb,
    /// `exists`: 0 is yes, 1 is no, 125 everything else.
    Answer,
    /// `pull` and others that ask registries: also 69, 76, 77, and 128+n.
    Registry,
    /// `run`: the container's code, 125, 126, 127.
    Container,
    /// `exec`: the command's code, 126, 127; 1 where there is no such running container.
    Exec,
}

/// A command without its type: what the tables of [`super::tree`] hold.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) about: &'static str,
    pub(super) usage: &'static str,
    pub(super) description: &'static str,
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) exit: Exit,
    pub(super) unbuilt: &'static [Flag],
    augment: fn(Command) -> Command,
    ahead: fn(&Context, &[OsString]),
    run: fn(&Context, &ArgMatches) -> Outcome,
}

impl Spec {
    pub(super) const fn of<V: Verb>() -> Self {
        Self {
            about: V::ABOUT,
            usage: V::USAGE,
            description: V::DESCRIPTION,
            examples: V::EXAMPLES,
            exit: V::EXIT,
            unbuilt: V::UNBUILT,
            augment: V::augment_args,
            ahead: V::ahead,
            run: |context, matches| V::from_arg_matches(matches)?.run(context),
        }
    }

    /// The clap command, named `name`; `path` is the words that lead to it (`kelp container ls`).
    pub(super) fn build(&self, name: &'static str, path: &str) -> Command {
        let command = (self.augment)(Command::new(name))
            .about(self.about)
            .bin_name(path)
            .override_usage(format!("{path} {}", self.usage))
            .disable_help_flag(true)
            .args_override_self(true)
            // An option's value may begin with a hyphen (`--stop-timeout -1`), as with docker.
            .mut_args(|arg| {
                if arg.is_positional() || !arg.get_action().takes_values() {
                    arg
                } else {
                    arg.allow_hyphen_values(true)
                }
            });
        with_help(command)
    }

    pub(super) fn ahead(&self, context: &Context, words: &[OsString]) {
        (self.ahead)(context, words);
    }

    pub(super) fn run(&self, context: &Context, matches: &ArgMatches) -> Outcome {
        (self.run)(context, matches)
    }
}

/// Adds `--help`, and `-h` where the command has no other use for it.
pub(super) fn with_help(command: Command) -> Command {
    let short = command.get_arguments().all(|a| a.get_short() != Some('h'));
    let mut help = clap::Arg::new("help").long("help").action(clap::ArgAction::HelpShort).help("Print help");
    if short {
        help = help.short('h');
    }
    command.arg(help)
}

/// `--flag=true` and `--flag=false` for flags that are normally given bare, in docker's spellings. clap wants to
/// know of it beforehand, so this is only done once a first parse has failed.
pub(super) fn with_switch_values(command: Command) -> Command {
    command.mut_args(|arg| {
        if matches!(arg.get_action(), clap::ArgAction::SetTrue) {
            arg.action(clap::ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_parser(switch)
        } else {
            arg
        }
    })
}

/// `--disable-content-trust`, which is docker's default and all that there is here.
pub(super) fn without_signatures(text: &str) -> Result<bool, String> {
    if switch(text)? {
        return Ok(true);
    }
    Err("signatures of Docker Content Trust (Notary) cannot be made or verified here; digests always are"
        .into())
}

/// A truth value as Go's `strconv.ParseBool` reads it.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("`true` or `false` is expected".into()),
    }
}
