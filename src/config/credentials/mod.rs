//! Names and passwords for registries: the files of docker and podman, and docker's credential helpers.
//!
//! Read in the order in which [`Places`] names them; written to docker's `config.json` (or `$REGISTRY_AUTH_FILE`), or
//! handed to the helper that it names. Secrets never stand in an error, a log line or a `Debug` output.

mod file;
mod program;

use std::path::{Path, PathBuf};

use crate::error::Hint;

/// Files that hold credentials.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Where `login` writes; read first.
    pub main: PathBuf,
    /// Read when `main` knows nothing of a registry.
    pub others: Vec<PathBuf>,
    /// Where helpers are looked for: `$PATH`.
    pub path: Option<std::ffi::OsString>,
}

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// An OAuth2 refresh token, as `docker login` gets from some registries.
    IdentityToken(String),
    /// A bearer token, to be sent as it is.
    RegistryToken(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// Where a credential came to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this file, in a form that whoever reads it can use.
    File(PathBuf),
    /// With `docker-credential-NAME`.
    Helper(String),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is not valid: {reason}", .path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("cannot run the credential helper docker-credential-{name}")]
    NoHelper { name: String, source: std::io::Error },
    #[error("the credential helper docker-credential-{name} failed: {reason}")]
    Helper { name: String, reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoHelper { .. } => Some(
                "install it, or take `credsStore` and `credHelpers` out of the config.json that names it"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// docker's key for its own registry.
const DOCKER_IO: &str = "https://index.docker.io/v1/";

/// The key under which docker keeps the credentials of a registry host.
pub fn key(host: &str) -> &str {
    if matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io") { DOCKER_IO } else { host }
}

impl Places {
    /// The credential for a repository, `HOST/PATH`. `None`: go anonymously.
    pub fn find(&self, host: &str, path: &str) -> Result<Option<Credential>> {
        for place in std::iter::once(&self.main).chain(&self.others) {
            let Some(file) = file::AuthFile::read(place)? else { continue };
            if let Some(found) = self.find_in(&file, host, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The hosts that the files name, sorted. No helper is asked; a file that cannot be read names none.
    pub fn hosts(&self) -> std::collections::BTreeSet<String> {
        let places = std::iter::once(&self.main).chain(&self.others);
        places.filter_map(|place| file::AuthFile::read(place).ok()?).flat_map(|file| file.hosts()).collect()
    }

    fn find_in(&self, file: &file::AuthFile, host: &str, path: &str) -> Result<Option<Credential>> {
        if let Some(name) = file.helper_of(host) {
            return program::get(&name, self.path.as_deref(), key(host));
        }
        if let Some(found) = file.find(host, path)? {
            return Ok(Some(found));
        }
        match file.store() {
            Some(name) => program::get(&name, self.path.as_deref(), key(host)),
            None => Ok(None),
        }
    }

    /// Keeps a credential for the host.
    pub fn keep(&self, host: &str, credential: &Credential) -> Result<Kept> {
        let mut file = file::AuthFile::read(&self.main)?.unwrap_or_else(|| file::AuthFile::new(&self.main));
        if let Some(name) = file.helper_of(host).or_else(|| file.store()) {
            program::store(&name, self.path.as_deref(), key(host), credential)?;
            // docker leaves an empty entry, by which `logout` knows that there is one.
            file.set_empty(key(host));
            file.write()?;
            return Ok(Kept::Helper(name));
        }
        file.set(key(host), credential);
        file.write()?;
        Ok(Kept::File(self.main.clone()))
    }

    /// Forgets what `login` kept for the host; whether there was anything. Other files are not written to.
    pub fn forget(&self, host: &str) -> Result<bool> {
        let Some(mut file) = file::AuthFile::read(&self.main)? else { return Ok(false) };
        let mut found = false;
        if let Some(name) = file.helper_of(host).or_else(|| file.store()) {
            found |= program::erase(&name, self.path.as_deref(), key(host))?;
        }
        if file.remove(host) {
            file.write()?;
            found = true;
        }
        Ok(found)
    }

    /// A file besides the one that `login` writes which has a credential for the host.
    pub fn also_in(&self, host: &str) -> Option<&Path> {
        let has = |place: &&PathBuf| {
            file::AuthFile::read(place).ok().flatten().is_some_and(|file| {
                file.helper_of(host).is_some() || file.find(host, "").ok().flatten().is_some()
            })
        };
        self.others.iter().find(has).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: password.into() }
    }

    fn places(dir: &Path) -> Places {
        Places { main: dir.join("docker/config.json"), others: vec![dir.join("auth.json")], path: None }
    }

    #[test]
    fn keeps_finds_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        assert_eq!(places.find("quay.io", "a/b").unwrap(), None);
        let kept = places.keep("quay.io", &password("me", "s:cret")).unwrap();
        assert_eq!(kept, Kept::File(places.main.clone()));
        places.keep("docker.io", &Credential::IdentityToken("tok".into())).unwrap();
        assert_eq!(places.find("quay.io", "a/b").unwrap(), Some(password("me", "s:cret")));
        assert_eq!(
            places.find("docker.io", "library/x").unwrap(),
            Some(Credential::IdentityToken("tok".into()))
        );
        assert_eq!(places.find("evil.io", "a").unwrap(), None);
        let mode = std::fs::metadata(&places.main).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(places.forget("quay.io").unwrap());
        assert!(!places.forget("quay.io").unwrap());
        assert_eq!(places.find("quay.io", "a/b").unwrap(), None);
    }

    #[test]
    fn what_others_wrote_is_read_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        std::fs::create_dir(dir.path().join("docker")).unwrap();
        let text =
            r#"{"auths":{"https://r.io/v1/":{"auth":"bWU6b25l"},"empty.io":{}},"HttpHeaders":{"a":"b"}}"#;
        std::fs::File::create(&places.main).unwrap();
        std::io::Write::write_all(
            &mut std::fs::File::options().write(true).open(&places.main).unwrap(),
            text.as_bytes(),
        )
        .unwrap();
        let other = r#"{"auths":{"q.io":{"auth":"bWU6d2hvbGU="},"q.io/team":{"auth":"bWU6dGVhbQ=="}}}"#;
        std::io::Write::write_all(
            &mut std::fs::File::create(dir.path().join("auth.json")).unwrap(),
            other.as_bytes(),
        )
        .unwrap();
        assert_eq!(places.find("r.io", "x").unwrap(), Some(password("me", "one")));
        assert_eq!(places.find("q.io", "x").unwrap(), Some(password("me", "whole")));
        assert_eq!(places.find("q.io", "team/x").unwrap(), Some(password("me", "team")));
        assert_eq!(places.find("q.io", "teams/x").unwrap(), Some(password("me", "whole")));
        assert_eq!(places.find("empty.io", "x").unwrap(), None);
        places.keep("n.io", &password("a", "b")).unwrap();
        assert!(std::fs::read_to_string(&places.main).unwrap().contains("HttpHeaders"));
        let hosts: Vec<String> = places.hosts().into_iter().collect();
        assert_eq!(hosts, ["empty.io", "n.io", "q.io", "r.io"]);
        assert_eq!(places.also_in("q.io"), Some(dir.path().join("auth.json").as_path()));
    }

    /// T-credleak: a helper that is named and cannot be run ends the attempt.
    #[test]
    fn a_missing_helper_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        std::fs::create_dir(dir.path().join("docker")).unwrap();
        for text in [r#"{"credsStore":"no-such"}"#, r#"{"credHelpers":{"r.io":"../../bin/sh"}}"#] {
            std::io::Write::write_all(&mut std::fs::File::create(&places.main).unwrap(), text.as_bytes())
                .unwrap();
            assert!(places.find("r.io", "x").is_err(), "{text}");
        }
    }
}
