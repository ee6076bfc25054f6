//! How a command fails: what is printed, once, and the exit status that follows.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;

use super::command::Exit;
use super::escape;
use crate::error::{ExitStatus, Hint};
use crate::{config, engine};

/// What a command ends with.
pub(super) type Outcome = Result<ExitStatus, Failure>;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Words are missing, too many or contradict each other, in a way that clap cannot see.
    #[error("{0}")]
    Usage(String),
    /// Likewise, the value of a flag makes no sense.
    #[error("{0}")]
    Flag(String),
    /// docker or podman has it, kelp has not.
    #[error("{message}")]
    Unbuilt { message: String, hint: String, is_flag: bool },
    #[error(transparent)]
    Clap(#[from] clap::Error),
    #[error("invalid template")]
    Template(#[from] gotmpl::TemplateError),
    #[error("cannot {doing}")]
    Io { doing: String, source: io::Error },
    /// Everything has been said on stderr; only the status is left.
    #[error("")]
    Reported(ExitStatus),
}

impl Failure {
    /// A failed write to stdout. A reader that went away is not worth a word, only the status that it has
    /// everywhere.
    pub(super) fn stdout(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::Reported(ExitStatus::OutputClosed)
        } else {
            Self::Io { doing: "write to standard output".into(), source }
        }
    }

    /// Of a command that wrote its data as it made it: a reader of stdout that went away is told as elsewhere.
    pub(super) fn streaming(error: engine::Error) -> Self {
        if error.is_closed_output() { Self::Reported(ExitStatus::OutputClosed) } else { Self::Engine(error) }
    }

    /// The exit status: the error's own where it has one, else what the command's kind says. Of wrong usage docker's:
    /// 125 where a flag is to blame, 1 where the words are.
    pub(super) fn status(&self, exit: Exit) -> ExitStatus {
        let own = match exit {
            Exit::Container | Exit::Answer => ExitStatus::Own,
            Exit::Verb | Exit::Registry | Exit::Exec => ExitStatus::Failed,
        };
        // To whoever asks for an answer, 1 is one.
        let words = if exit == Exit::Answer { ExitStatus::Own } else { ExitStatus::Failed };
        match self {
            Self::Engine(engine::Error::Usage(_)) | Self::Usage(_) => words,
            Self::Engine(_) if exit == Exit::Verb => own,
            Self::Engine(e) if exit == Exit::Registry => e.exit_status().unwrap_or(own),
            // To docker's callers, an image that cannot be had is one of kelp's own failures.
            Self::Engine(e) if e.is_of_registry() => own,
            Self::Engine(e) => e.exit_status().unwrap_or(own),
            Self::Clap(e) if !e.use_stderr() || is_help(e) => ExitStatus::Success,
            Self::Clap(e) if !is_of_flag(e) => words,
            Self::Unbuilt { is_flag: false, .. } => words,
            Self::Flag(_) | Self::Unbuilt { .. } | Self::Config(_) | Self::Clap(_) => ExitStatus::Own,
            Self::Reported(status) => *status,
            Self::Template(_) | Self::Io { .. } => own,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(e) => e.hint(),
            Self::Config(e) => e.hint(),
            Self::Unbuilt { hint, .. } if !hint.is_empty() => Some(hint.clone()),
            _ => None,
        }
    }

    /// The error and all that caused it, each said once, then the hint.
    pub(super) fn text(&self) -> String {
        let mut text = format!("kelp: {}", escape::line(&chain(self)));
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {}", escape::line(&hint));
        }
        text.push('\n');
        text
    }

    /// Prints it, if there is anything to print.
    pub(super) fn report(&self) {
        match self {
            Self::Reported(_) => {}
            Self::Clap(e) => report_clap(e),
            _ => complain(&self.text()),
        }
    }
}

/// Outermost first, joined by colons. A text that repeats what stands before it is left out.
fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !next.is_empty() && !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// `kelp` or `kelp container` alone: the help that is printed instead is all that there is to say, as with docker.
fn is_help(error: &clap::Error) -> bool {
    error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Whether a flag is unknown, or has no value or a wrong one, rather than that words are missing, too many or unknown.
fn is_of_flag(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_of_words = matches!(
        error.kind(),
        ErrorKind::ArgumentConflict
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::InvalidSubcommand
    );
    // clap says "argument" of words and flags alike; `--name <NAME>` is one, `<NAME>` the other.
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.starts_with('-'),
        _ => false,
    };
    named && !is_of_words
}

/// clap's errors begin like all others.
fn report_clap(error: &clap::Error) {
    let rendered = error.render().to_string();
    if is_help(error) {
        return complain(&rendered);
    }
    if error.kind() == clap::error::ErrorKind::InvalidUtf8 {
        return complain(&format!("kelp: {}\n", no_text(std::env::args_os().skip(1))));
    }
    complain(&format!("kelp: {}", rendered.strip_prefix("error: ").unwrap_or(&rendered)));
}

/// clap does not say which; where there are several, one of them may have been meant as a path, which may be anything.
fn no_text(words: impl Iterator<Item = OsString>) -> String {
    let strange = words.filter(|word| word.to_str().is_none());
    let shown: Vec<String> = strange.map(|w| format!("'{}'", w.as_encoded_bytes().escape_ascii())).collect();
    format!("not UTF-8, as all that a container's configuration keeps has to be: {}", shown.join(", "))
}

/// Writes to stderr. Nobody can be told when that fails.
pub(super) fn complain(text: &str) {
    let _ = io::Write::write_all(&mut io::stderr().lock(), text.as_bytes());
}

/// A line for the user that is no error.
pub(super) fn notice(text: &str) {
    complain(&format!("kelp: {}\n", escape::line(text)));
}

/// What the user should be told about something that worked all the same.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        notice(&format!("warning: {warning}"));
    }
}

/// A `--detach-keys` that means something.
pub(super) fn checked_keys(keys: Option<String>) -> Result<Option<String>, Failure> {
    Ok(keys.map(|keys| crate::engine::options::detach_keys(&keys)).transpose()?)
}

/// Does `job` for each of `names`, reports what fails and goes on, as docker does; the status says whether all went
/// well.
pub(super) fn each(names: &[String], mut job: impl FnMut(&str) -> Result<(), Failure>) -> Outcome {
    let mut failed = false;
    for name in names {
        match job(name) {
            Ok(()) => {}
            Err(reported @ Failure::Reported(_)) => return Err(reported),
            Err(failure) => {
                failure.report();
                failed = true;
            }
        }
    }
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Success })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_cause_once_and_escapes_what_others_wrote() {
        let failure = Failure::Io {
            doing: "read `a\u{1b}[31mb`".into(),
            source: io::Error::from_raw_os_error(libc::ENOENT),
        };
        let text = failure.text();
        assert_eq!(text, "kelp: cannot read `a\\x1b[31mb`: No such file or directory (os error 2)\n");
    }

    #[test]
    fn gives_dockers_statuses() {
        let usage = Failure::Usage("no".into());
        assert_eq!(usage.status(Exit::Verb), ExitStatus::Failed);
        assert_eq!(usage.status(Exit::Container), ExitStatus::Failed);
        assert_eq!(usage.status(Exit::Answer), ExitStatus::Own);
        assert_eq!(Failure::Flag("no".into()).status(Exit::Verb), ExitStatus::Own);
        let missing = Failure::Engine(engine::Error::NoSuchContainer("x".into()));
        assert_eq!(missing.status(Exit::Verb), ExitStatus::Failed);
        assert_eq!(missing.status(Exit::Container), ExitStatus::Own);
        assert_eq!(missing.status(Exit::Exec), ExitStatus::Failed);
        let start = Failure::Engine(engine::Error::Start {
            status: ExitStatus::NotFound,
            message: "m".into(),
            hint: Some("h".into()),
        });
        assert_eq!(start.status(Exit::Container), ExitStatus::NotFound);
        assert_eq!(start.status(Exit::Exec), ExitStatus::NotFound);
        assert_eq!(start.status(Exit::Verb), ExitStatus::Failed);
        assert_eq!(start.text(), "kelp: m\nhint: h\n");
        let pipe = Failure::stdout(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(pipe.status(Exit::Verb), ExitStatus::OutputClosed);
    }

    #[test]
    fn goes_on_after_a_failure() {
        let mut seen = Vec::new();
        let names = ["a".to_owned(), "b".to_owned()];
        let status = each(&names, |name| {
            seen.push(name.to_owned());
            if name == "a" { Err(Failure::Reported(ExitStatus::Failed)) } else { Ok(()) }
        });
        assert!(status.is_err());
        seen.clear();
        let status = each(&names, |name| {
            seen.push(name.to_owned());
            if name == "a" {
                Err(Failure::Engine(engine::Error::NoSuchContainer("a".into())))
            } else {
                Ok(())
            }
        });
        assert_eq!(status.ok(), Some(ExitStatus::Failed));
        assert_eq!(seen, ["a", "b"]);
    }
}
