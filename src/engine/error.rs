//! Why a verb failed: variants by what the user must know or the caller does differently.

use crate::error::{ExitStatus, Hint};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// What is to be pushed or untagged is not here. Of the former the words are docker's.
    #[error("{0}")]
    NotHere(String),
    /// What is to be removed is not here, so that where it could come from is no advice.
    #[error("no such image: {0}")]
    Gone(String),
    /// A list where an image is meant.
    #[error("{0} is a list of images, not an image")]
    IsList(String),
    /// A value that the user gave and that cannot be used.
    #[error("invalid {what} `{value}`: {reason}")]
    Invalid { what: &'static str, value: String, reason: String },
    /// Neither the user nor the image names a program.
    #[error("no command specified")]
    NoCommand,
    /// The request contradicts the container's present state.
    #[error("cannot {verb} container {container}: {reason}")]
    Conflict { verb: &'static str, container: String, reason: String, hint: Option<String> },
    /// The container's process could not be started; `status` is 126, 127 or 125.
    #[error("{message}")]
    Start { status: ExitStatus, message: String, hint: Option<String> },
    #[error("image {image} is for {found}, not for the wanted {wanted}")]
    Platform { image: String, found: String, wanted: String },
    /// The image is in use, or has other names. The words are docker's.
    #[error("conflict: {0}")]
    ImageConflict(String),
    /// What cannot be done with a network. The words are docker's.
    #[error("{0}")]
    Network(String),
    /// The words are docker's.
    #[error("no public port '{port}' published for {container}")]
    NotPublished { port: String, container: String },
    /// Binary data would go to a terminal, or is expected from one.
    #[error("{0}")]
    Terminal(&'static str),
    /// The request makes no sense whatever there is. The words are docker's.
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Credentials(#[from] crate::config::credentials::Error),
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::Error),
    /// A shim could not do what it was asked, or does not answer.
    #[error(transparent)]
    Shim(#[from] crate::shim::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the named object does not exist, rather than being out of reach.
    pub fn is_missing(&self) -> bool {
        use crate::store::Error as Store;
        matches!(
            self,
            Self::NoSuchContainer(_)
                | Self::NoSuchImage(_)
                | Self::Gone(_)
                | Self::Store(Store::NoSuchContainer(_) | Store::NoSuchImage(_) | Store::NoSuchNetwork(_))
        )
    }

    /// Whether nobody reads standard output any more, to which this wrote.
    pub fn is_closed_output(&self) -> bool {
        use crate::image::Error as Image;
        matches!(self, Self::Image(Image::Write { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Whether a registry's answer, or the lack of one, is the reason.
    pub fn is_of_registry(&self) -> bool {
        matches!(self, Self::Image(e) if e.registry().is_some())
    }

    /// The exit status that this failure calls for by itself; `None` leaves it to the command.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match self {
            Self::Start { status, .. } | Self::Shim(crate::shim::Error::Refused { status, .. }) => {
                Some(*status)
            }
            Self::Image(e) => of_image(e),
            _ => None,
        }
    }
}

/// What tells the ways apart in which a registry fails.
fn of_image(error: &crate::image::Error) -> Option<ExitStatus> {
    use crate::image::RegistryError as Registry;
    if let crate::image::Error::Interrupted(signal) = error {
        return Some(ExitStatus::Interrupted(u8::try_from(*signal).unwrap_or(0)));
    }
    match error.registry()? {
        Registry::Unreachable { .. } | Registry::Broken { .. } | Registry::Limited { .. } => {
            Some(ExitStatus::Unreachable)
        }
        Registry::Certificate { .. } | Registry::NoAuthorities { .. } => Some(ExitStatus::Certificate),
        Registry::Denied { .. } | Registry::Login { .. } => Some(ExitStatus::Denied),
        _ => None,
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { hint, .. } | Self::Start { hint, .. } => hint.clone(),
            Self::NoSuchImage(_) => Some(
                "`kelp pull` fetches images from registries, `kelp load` and `kelp import` from archives"
                    .into(),
            ),
            Self::IsList(_) => Some("`kelp manifest rm` removes a list".into()),
            Self::Image(e) => e.hint(),
            Self::Credentials(e) => e.hint(),
            Self::Store(e) => e.hint(),
            Self::Snapshot(e) => e.hint(),
            Self::Shim(e) => e.hint(),
            _ => None,
        }
    }
}
