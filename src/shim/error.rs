//! Why a shim, or a conversation with one, failed: variants by what the caller does next.

use crate::error::{ExitStatus, Hint};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers on the container's socket, or the shim went away in mid-sentence: ask the store.
    #[error("the container's shim does not answer")]
    Gone,
    /// The other side broke the rules of [`super::protocol`].
    #[error("broken message from {peer}: {reason}")]
    Protocol { peer: &'static str, reason: &'static str },
    /// The shim understood and could not; `status` is 125, 126, 127 or 1.
    #[error("{message}")]
    Refused {
        status: ExitStatus,
        message: String,
        hint: Option<String>,
        /// See [`super::protocol::Failure`].
        taken: Option<super::protocol::TakenPort>,
    },
    /// A `--detach-keys` that means nothing.
    #[error("invalid detach keys `{keys}`: {reason}")]
    DetachKeys { keys: String, reason: &'static str },
    #[error(transparent)]
    Sys(#[from] crate::sys::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::DetachKeys { .. } => Some("write keys as `ctrl-p,ctrl-q` or `a`".into()),
            _ => None,
        }
    }
}
