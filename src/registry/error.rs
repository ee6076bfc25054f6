//! Why a registry did not give or take what it was asked: variants by what the user can do about it.

use std::error::Error as StdError;
use std::time::Duration;

use crate::error::Hint;
use crate::{config, oci};

/// URLs are shown without passwords and queries.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid URL `{url}`: {reason}")]
    Url { url: String, reason: String },
    #[error("{url} is plain HTTP, which is allowed for this machine only")]
    PlainHttp { url: String },
    /// The registry answers, and does not have it.
    #[error("{what} not found: {reason}")]
    NotFound { what: String, reason: String },
    /// It wants credentials, others, or none of ours.
    #[error("access to {what} is denied by {host}: {reason}")]
    Denied { what: String, host: String, reason: String, logged_in: bool },
    /// Name and password, or token, of a login.
    #[error("{host} does not let you in with this name and password: {reason}")]
    Login { host: String, reason: String },
    /// No connection came about, or none held.
    #[error("cannot reach {host}")]
    Unreachable { host: String, source: Box<dyn StdError + Send + Sync> },
    #[error("the certificate of {host} is not trusted")]
    Certificate { host: String, source: Box<dyn StdError + Send + Sync> },
    /// Nobody's certificate can be.
    #[error(
        "no certificate authority is known on this machine, so no certificate can be trusted, that of {host} among them"
    )]
    NoAuthorities { host: String },
    #[error("{host} limits how often it may be asked{}: {reason}", again(*.after))]
    Limited { host: String, after: Option<Duration>, reason: String },
    #[error("{url}: the server answered {status}{}", detail(.reason))]
    Status { url: String, status: u16, reason: String },
    /// The transfer began and did not come to its end.
    #[error("the transfer of {what} from {host} broke off again and again: {reason}")]
    Broken { what: String, host: String, reason: String },
    /// An answer that makes no sense.
    #[error("{host} answered something that makes no sense: {reason}")]
    Protocol { host: String, reason: String },
    /// Not the bytes that were asked for.
    #[error("{what} from {host} has the digest {found}, {expected} was expected")]
    Digest { what: &'static str, host: String, expected: oci::Digest, found: oci::Digest },
    #[error("{url} has {size} bytes, more than the {limit} allowed")]
    TooLarge { url: String, size: u64, limit: u64 },
    #[error(transparent)]
    Document(#[from] oci::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Credentials(#[from] config::credentials::Error),
    /// What receives the bytes could not take them.
    #[error("cannot write what was received")]
    Sink(#[source] std::io::Error),
    #[error("cannot start the network client")]
    Runtime(#[source] std::io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

fn again(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(", and lets you again in {} s", after.as_secs().max(1)))
}

fn detail(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

impl Error {
    /// Whether another endpoint of the same registry may have better luck.
    pub(super) fn is_of_endpoint(&self) -> bool {
        !matches!(self, Self::Sink(_) | Self::Runtime(_) | Self::Config(_) | Self::Credentials(_))
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PlainHttp { .. } => {
                "use https; a registry can be allowed plain HTTP by `plain-http = true` in its table of config.toml"
                    .into()
            }
            Self::Status { url, status: 400, .. } if url.starts_with("http://") => {
                "if it speaks TLS, leave `plain-http` out of its table of config.toml".into()
            }
            Self::Denied { host, logged_in: false, .. } => {
                format!("the name may be wrong, or you have to log in first: kelp login {host}")
            }
            Self::Denied { .. } => "the name may be wrong, or your account lacks the permission".into(),
            Self::Certificate { host, .. } => format!(
                "if it has a certificate authority of its own, put that certificate as ca.crt into \
                 ~/.config/containers/certs.d/{host}/, or set `ca` in its table of config.toml"
            ),
            Self::NoAuthorities { .. } => {
                "install the usual ones (Debian, Ubuntu: apt install ca-certificates), or name a file that has them in \
                 SSL_CERT_FILE"
                    .into()
            }
            Self::Limited { .. } => "logging in (kelp login) usually raises the limit".into(),
            Self::Config(e) => return e.hint(),
            Self::Credentials(e) => return e.hint(),
            _ => return None,
        })
    }
}
