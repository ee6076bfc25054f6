//! `config.json` of docker and `auth.json` of podman: one format. What is not understood is kept when it is written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Credential, Error, Result, key};

/// Bytes of one file.
const MAX_SIZE: u64 = 4 << 20;

/// A file of credentials, read.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl AuthFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.into(), content: Map::new() }
    }

    /// `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let failed = |source| Error::Io { doing: "read", path: path.into(), source };
        let file = match File::open(path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.map_err(failed)?,
        };
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).map_err(failed)?;
        if text.trim().is_empty() {
            return Ok(Some(Self::new(path)));
        }
        match serde_json::from_str(&text) {
            Ok(Value::Object(content)) => Ok(Some(Self { path: path.into(), content })),
            Ok(_) => Err(Error::Malformed { path: path.into(), reason: "an object is expected".into() }),
            // serde's message would not quote content, but position is enough.
            Err(e) => Err(Error::Malformed {
                path: path.into(),
                reason: format!("JSON error in line {}, column {}", e.line(), e.column()),
            }),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.content.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
    }

    /// `credsStore`: the helper of every registry.
    pub(super) fn store(&self) -> Option<String> {
        self.text("credsStore")
    }

    /// `credHelpers`: the helper of this one.
    pub(super) fn helper_of(&self, host: &str) -> Option<String> {
        let helpers = self.content.get("credHelpers")?.as_object()?;
        let found = helpers.iter().find(|(k, _)| host_of(k) == host_of(key(host)));
        found.and_then(|(_, name)| name.as_str()).filter(|s| !s.is_empty()).map(str::to_owned)
    }

    /// The hosts of all entries, docker's own as images are named.
    pub(super) fn hosts(&self) -> Vec<String> {
        let tables =
            ["auths", "credHelpers"].into_iter().filter_map(|name| self.content.get(name)?.as_object());
        let hosts = tables.flat_map(Map::keys).map(|name| host_of(name));
        let is_host = |host: &&str| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
        };
        let named = |host| if key(host) == key("docker.io") { "docker.io" } else { host };
        hosts.filter(is_host).map(|host| named(host).to_owned()).collect()
    }

    /// The entry for `HOST/PATH`: podman's most specific namespace, else the host in any of docker's spellings.
    pub(super) fn find(&self, host: &str, path: &str) -> Result<Option<Credential>> {
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let mut name = format!("{host}/{path}");
        while let Some((shorter, _)) = name.rsplit_once('/') {
            let exact = if name.ends_with('/') { None } else { auths.get(&name) };
            if let Some(found) = exact.map(|entry| self.credential(entry)).transpose()?.flatten() {
                return Ok(Some(found));
            }
            name = shorter.to_owned();
        }
        for (name, entry) in auths {
            if is_host(name, host)
                && let Some(found) = self.credential(entry)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn credential(&self, entry: &Value) -> Result<Option<Credential>> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|s| !s.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credential::IdentityToken(token.into())));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credential::RegistryToken(token.into())));
        }
        if let Some(auth) = text("auth") {
            let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
            let Some((user, password)) = pair else {
                let reason = "an `auth` is not NAME:PASSWORD in base64".into();
                return Err(Error::Malformed { path: self.path.clone(), reason });
            };
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Password { user: user.into(), password }));
        }
        Ok(text("username")
            .zip(text("password"))
            .map(|(user, password)| Credential::Password { user: user.into(), password: password.into() }))
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths.as_object_mut().expect("made one above")
    }

    pub(super) fn set(&mut self, key: &str, credential: &Credential) {
        let entry = match credential {
            Credential::Password { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            Credential::IdentityToken(token) => json!({ "identitytoken": token }),
            Credential::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        self.auths().insert(key.into(), entry);
    }

    pub(super) fn set_empty(&mut self, key: &str) {
        self.auths().insert(key.into(), json!({}));
    }

    /// Whether there was an entry for the host.
    pub(super) fn remove(&mut self, host: &str) -> bool {
        let auths = self.auths();
        let before = auths.len();
        auths.retain(|name, _| !is_host(name, host));
        auths.len() < before
    }

    /// Replaces the file, mode 0600, whole or not at all. A link (many keep their dot files elsewhere) is written
    /// through.
    pub(super) fn write(&self) -> Result<()> {
        let failed = |source| Error::Io { doing: "write", path: self.path.clone(), source };
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("/"));
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let temporary = dir.join(format!(".kelp-auth.{}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let mut text = serde_json::to_vec_pretty(&self.content).unwrap_or_default();
        text.push(b'\n');
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(failed)
    }
}

/// The host that a key of docker's means: `https://r.io/v1/` is `r.io`.
fn host_of(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next().unwrap_or(name)
}

/// Whether the key stands for the host as a whole. A podman key with a namespace does not.
fn is_host(name: &str, host: &str) -> bool {
    let is_url = name.starts_with("https://") || name.starts_with("http://");
    if !is_url && name.contains('/') {
        return false;
    }
    host_of(name) == host || key(host_of(name)) == key(host)
}
