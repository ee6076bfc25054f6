//! Why content is not taken in or given out.

use std::io;

use crate::error::Hint;
use crate::oci::Digest;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {what}")]
    Read { what: String, source: io::Error },
    #[error("cannot write {what}")]
    Write { what: String, source: io::Error },
    /// The archive as a whole makes no sense.
    #[error("the archive is refused: {0}")]
    Archive(String),
    #[error(transparent)]
    Tar(#[from] super::unpack::Error),
    /// What is wrong with the archive that the user named.
    #[error("{what}")]
    Source { what: String, source: Box<Self> },
    #[error("the layer's content has the digest {found}, {expected} was expected")]
    DiffId { expected: Digest, found: Digest },
    /// An archive that a child has read and does not unpack. The text is its own.
    #[error("{0}")]
    Refused(String),
    /// The disk or the machine does not let it be unpacked.
    #[error("{0}")]
    Unpack(String),
    /// What is wrong with one layer of several.
    #[error("layer {digest}")]
    Layer { digest: Digest, source: Box<Self> },
    /// With the config that an image has beside its layers.
    #[error("config {digest}")]
    Config { digest: Digest, source: Box<Self> },
    /// An index without a manifest for the platform. The words are docker's.
    #[error("no matching manifest for {wanted} in the manifest list entries{}", only(.found))]
    NoPlatform { found: String, wanted: String },
    /// An image of a list that is pushed.
    #[error(
        "the image {0} of the list is not here any more, and the registry does not have it in that repository"
    )]
    Gone(Digest),
    /// Ctrl-C, or what comes to the same: the number of the signal.
    #[error("interrupted")]
    Interrupted(i32),
    #[error("the image is for {found}, not for {wanted}")]
    Platform { found: String, wanted: String },
    #[error(transparent)]
    Download(#[from] crate::registry::Error),
    #[error(transparent)]
    Oci(#[from] crate::oci::Error),
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

fn only(found: &str) -> String {
    if found.is_empty() { String::new() } else { format!(": it has {found}") }
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The same, said of the archive `what`, unless that is named already or has no part in it.
    #[must_use]
    pub fn of(self, what: &str) -> Self {
        let names = |known: &str| known == what;
        match self {
            Self::Read { what: ref known, .. } if names(known) => self,
            Self::Read { .. }
            | Self::Archive(_)
            | Self::Tar(_)
            | Self::Refused(_)
            | Self::DiffId { .. }
            | Self::NoPlatform { .. }
            | Self::Oci(_)
            | Self::Layer { .. } => {
                let what = if matches!(what, "-" | "stdin") { "standard input" } else { what };
                Self::Source { what: what.into(), source: Box::new(self) }
            }
            other => other,
        }
    }

    /// What became of a request, if a registry's part in it is why this failed.
    pub fn registry(&self) -> Option<&crate::registry::Error> {
        match self {
            Self::Layer { source, .. } | Self::Config { source, .. } | Self::Source { source, .. } => {
                source.registry()
            }
            Self::Download(e) => Some(e),
            _ => None,
        }
    }

    /// Whether it is the registry that is out of reach, rather than what it was asked for.
    pub fn is_of_host(&self) -> bool {
        use crate::registry::Error as Registry;
        let of_host = |e: &Registry| {
            matches!(
                e,
                Registry::Unreachable { .. }
                    | Registry::Certificate { .. }
                    | Registry::Denied { .. }
                    | Registry::Limited { .. }
                    | Registry::PlainHttp { .. }
                    | Registry::Config(_)
                    | Registry::Credentials(_)
            )
        };
        self.registry().is_some_and(of_host)
    }

    /// Whether trying again later makes no sense, because the content itself is refused.
    pub fn is_of_content(&self) -> bool {
        use crate::registry::Error as Registry;
        match self {
            Self::Layer { source, .. } | Self::Config { source, .. } | Self::Source { source, .. } => {
                source.is_of_content()
            }
            Self::Download(e) => {
                matches!(e, Registry::Digest { .. } | Registry::Document(_) | Registry::TooLarge { .. })
            }
            Self::Store(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Unpack(_)
            | Self::Interrupted(_) => false,
            _ => true,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Some("free some space on that disk".into())
            }
            Self::Download(e) => e.hint(),
            Self::Layer { source, .. } | Self::Config { source, .. } | Self::Source { source, .. } => {
                source.hint()
            }
            Self::Store(e) => e.hint(),
            _ => None,
        }
    }
}
