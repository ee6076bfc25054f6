//! Exit statuses and hints: the vocabulary in which every room's failure reaches the user.
//!
//! Names no room's error type, so that it can stay at the bottom. Rooms have one `Error` enum each; `cli`
//! prints the chain once and asks for status and hint here.

/// What a kelp process ends with. The numbers are docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0.
    Success,
    /// 1: a verb other than `run` could not do what was asked, as with docker.
    Failed,
    /// 125: kelp itself failed in `run`, or the command line made no sense.
    Own,
    /// 126: the command was found and cannot be executed.
    CannotInvoke,
    /// 127: the command was not found.
    NotFound,
    /// 141: nobody reads our output any more. What SIGPIPE would have made of us (128+13), without a word.
    OutputClosed,
    /// 69: a registry could not be reached. This and the two below are the numbers of sysexits(3); docker has 1 for
    /// all.
    Unreachable,
    /// 76: a registry's certificate is not trusted.
    Certificate,
    /// 77: a registry denies access.
    Denied,
    /// 128+n: kelp was ended by signal n.
    Interrupted(u8),
    /// The container's own exit code; death by signal n is 128+n.
    Container(u8),
}

impl ExitStatus {
    /// The number handed to `_exit(2)`.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Own => 125,
            Self::CannotInvoke => 126,
            Self::NotFound => 127,
            Self::OutputClosed => 141,
            Self::Unreachable => 69,
            Self::Certificate => 76,
            Self::Denied => 77,
            Self::Interrupted(signal) => 128 | signal,
            Self::Container(code) => code,
        }
    }
}

/// Advice that belongs to an error but is not part of its text: what the user can do about it.
pub trait Hint {
    /// One sentence, lower case, no full stop; `None` where there is nothing to advise.
    fn hint(&self) -> Option<String>;
}

/// An error and its sources on one line: `a: b: c`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
