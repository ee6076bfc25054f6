//! docker's credential helpers: a program `docker-credential-NAME` that is told a verb and reads from its stdin.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{Credential, Error, Result};

/// Bytes that a helper may answer.
const MAX_ANSWER: u64 = 1 << 20;
/// What helpers print when they know nothing of a server.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What the helper has for the server.
pub(super) fn get(name: &str, path: Option<&OsStr>, server: &str) -> Result<Option<Credential>> {
    let Some(bytes) = call(name, path, "get", server.as_bytes())? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| Error::Helper { name: name.into(), reason: "its answer is not understood".into() })?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credential::IdentityToken(answer.secret),
        _ => Credential::Password { user: answer.username, password: answer.secret },
    }))
}

pub(super) fn store(name: &str, path: Option<&OsStr>, server: &str, credential: &Credential) -> Result<()> {
    let (username, secret) = match credential {
        Credential::Password { user, password } => (user.clone(), password.clone()),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
            (TOKEN_USER.into(), token.clone())
        }
    };
    let question = Answer { server_url: server.into(), username, secret };
    let bytes = serde_json::to_vec(&question).unwrap_or_default();
    call(name, path, "store", &bytes).map(|_| ())
}

/// Whether there was anything.
pub(super) fn erase(name: &str, path: Option<&OsStr>, server: &str) -> Result<bool> {
    Ok(call(name, path, "erase", server.as_bytes())?.is_some())
}

/// Runs the helper. `None`: it knows nothing of the server. Its stderr is the user's, for what it has to ask or say.
fn call(name: &str, path: Option<&OsStr>, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let failed = |source| Error::NoHelper { name: name.into(), source };
    if name.contains('/') || name.is_empty() {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "its name has a slash in it",
        )));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says why by its status.
        let _ = stdin.write_all(input);
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(Some(answer));
    }
    let text = String::from_utf8_lossy(&answer);
    if text.contains(NOT_FOUND) {
        return Ok(None);
    }
    // Helpers print their error where the secret would stand: only the first line, and not what looks like JSON.
    let line = text.lines().next().unwrap_or_default().trim();
    let reason = if line.is_empty() || line.starts_with('{') {
        status.to_string()
    } else {
        line.chars().take(300).collect()
    };
    Err(Error::Helper { name: name.into(), reason })
}
