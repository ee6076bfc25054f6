//! `login`: a registry has accepted a name and a password, and they are kept.

use super::{Error, Result};
use crate::config::Config;
use crate::config::credentials::{self, Credential};
use crate::image::{self, Client};

pub use crate::config::credentials::Kept;

/// The registry that is meant where none is named.
pub const DEFAULT_SERVER: &str = "docker.io";

/// The host of a registry as users write it: `https://r.io/v1/` is `r.io`.
pub fn server(text: Option<&str>) -> Result<String> {
    let Some(text) = text else { return Ok(DEFAULT_SERVER.into()) };
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = bare.split('/').next().unwrap_or(bare);
    // What can be a registry of an image can be one here.
    match format!("{host}/x/y").parse::<crate::oci::Reference>() {
        Ok(reference) if reference.domain() == host => Ok(host.into()),
        Ok(reference) if credentials::key(host) == credentials::key(reference.domain()) => {
            Ok(DEFAULT_SERVER.into())
        }
        _ => {
            let reason = "HOST[:PORT] is expected".into();
            Err(Error::Invalid { what: "registry", value: text.into(), reason })
        }
    }
}

/// What is kept for the server already.
pub fn existing(config: &Config, server: &str) -> Result<Option<Credential>> {
    Ok(config.credentials.find(server, "")?)
}

/// Shows the credential to the registry, and keeps it when it is accepted.
pub fn login(config: &Config, server: &str, credential: Credential) -> Result<Kept> {
    Client::new(config).log_in(server, credential.clone()).map_err(image::Error::from)?;
    Ok(config.credentials.keep(server, &credential)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_in_all_their_spellings() {
        for (given, host) in [
            ("quay.io", "quay.io"),
            ("https://quay.io/v1/", "quay.io"),
            ("http://localhost:5000", "localhost:5000"),
            ("localhost", "localhost"),
            ("[::1]:5000", "[::1]:5000"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
        ] {
            assert_eq!(server(Some(given)).unwrap(), host, "{given}");
        }
        assert_eq!(server(None).unwrap(), "docker.io");
        for bad in ["", "a b", "host", "-x.io", "h.io:port"] {
            assert!(server(Some(bad)).is_err(), "{bad}");
        }
    }
}
