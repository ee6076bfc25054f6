//! What is set for single registries: `[registries."HOST"]` of config.toml, and the `certs.d` directories that docker,
//! podman and containerd's tools share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Config, Error, Result};

/// One table `[registries."HOST[:PORT]"]`, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryTable {
    /// URLs, or hosts that are spoken to over https.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_http: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
}

/// How one host is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Whether plain HTTP is allowed, and used, for this host. `None` leaves it to the host's name.
    pub plain_http: Option<bool>,
    /// Certificates in PEM that are trusted beside the system's.
    pub authorities: Vec<Vec<u8>>,
    /// Certificate and key in PEM.
    pub client: Option<ClientCertificate>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Bytes of one certificate file.
const MAX_PEM: u64 = 1 << 20;

impl Config {
    /// The registries that the user has anything set up for, and those with credentials, sorted.
    pub fn known_registries(&self) -> Vec<String> {
        let mut hosts = self.credentials.hosts();
        hosts.extend(self.registries.keys().cloned());
        hosts.into_iter().collect()
    }

    /// The mirrors of a registry, in the order in which they are asked.
    pub fn mirrors(&self, host: &str) -> &[String] {
        self.registries.get(host).map_or(&[], |table| &table.mirrors)
    }

    /// Everything that is set for `HOST[:PORT]`. Reads certificates.
    pub fn host_settings(&self, host: &str) -> Result<HostSettings> {
        let mut settings = HostSettings::default();
        if let Some(table) = self.registries.get(host) {
            settings.plain_http = table.plain_http;
            settings.authorities.extend(table.ca.as_deref().map(read).transpose()?);
            settings.client = match (&table.client_certificate, &table.client_key) {
                (Some(certificate), Some(key)) => {
                    Some(ClientCertificate { certificate: read(certificate)?, key: read(key)? })
                }
                (None, None) => None,
                _ => return Err(Error::HalfPair { place: format!("registries.\"{host}\" of config.toml") }),
            };
        }
        // A host name becomes one component of a path.
        if !host.contains('/') && !host.starts_with('.') && !host.is_empty() {
            for dir in &self.certificates {
                read_directory(&dir.join(host), &mut settings)?;
            }
        }
        Ok(settings)
    }
}

/// docker's rules: every `*.crt` is trusted, a `NAME.cert` and the `NAME.key` beside it are the client's.
fn read_directory(dir: &Path, settings: &mut HostSettings) -> Result<()> {
    let failed = |source| Error::Read { path: dir.into(), source };
    let entries = match fs::read_dir(dir) {
        // Directories of other users' are as good as absent: /etc/docker is often root's alone.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        other => other.map_err(failed)?,
    };
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    for path in paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => settings.authorities.push(read(&path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(Error::HalfPair { place: path.display().to_string() });
                }
                if settings.client.is_none() {
                    settings.client = Some(ClientCertificate { certificate: read(&path)?, key: read(&key)? });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes));
    read.map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(bytes)
}
