//! `config.toml`, the environment and the defaults, resolved once into one immutable [`Config`].
//!
//! The only reader of the environment. A key that is not known is an error with file and line: a setting that is
//! misspelt must not be a setting that is ignored. `config/config.toml` documents every key; a test holds it
//! against [`File`].

pub mod credentials;
mod error;
mod file;
mod registries;
mod zone;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::{Error, Result};
pub use file::{File, Snapshotter};
pub use registries::{ClientCertificate, HostSettings, RegistryTable};
pub use zone::time_zone;

/// Everything that can be set, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store: `$XDG_DATA_HOME/kelp` unless the file says otherwise. Absolute.
    pub store: PathBuf,
    /// `$XDG_CACHE_HOME/kelp`; may be deleted at any time. Absolute.
    pub cache: PathBuf,
    /// `ctrl-p,ctrl-q` unless set.
    pub detach_keys: String,
    /// Seconds that `stop` waits unless the container says otherwise; negative waits for ever.
    pub stop_timeout: i64,
    pub snapshotter: Snapshotter,
    /// Tables of the file, by `HOST[:PORT]`.
    pub registries: BTreeMap<String, RegistryTable>,
    /// The `certs.d` directories, the user's own first.
    pub certificates: Vec<PathBuf>,
    /// Where credentials for registries are kept.
    pub credentials: credentials::Places,
}

/// Set by the completion scripts of [`crate::cli`], to the name of the shell that asks.
pub const COMPLETION_VARIABLE: &str = "COMPLETE";

impl Config {
    /// Reads `config.toml`, if there is one, and the environment.
    pub fn load() -> Result<Self> {
        let home = Home::default();
        let path = home.base("XDG_CONFIG_HOME", ".config")?.join("kelp/config.toml");
        let file = File::read(&path)?;
        let store = match file.store {
            Some(store) => home.expand(&path, &store)?,
            None => home.base("XDG_DATA_HOME", ".local/share")?.join("kelp"),
        };
        let mut registries = file.registries;
        for table in registries.values_mut() {
            let paths = [&mut table.ca, &mut table.client_certificate, &mut table.client_key];
            for given in paths.into_iter().flatten() {
                *given = home.expand(&path, &given.to_string_lossy())?;
            }
        }
        Ok(Self {
            registries,
            certificates: certificates(&home)?,
            credentials: credential_places(&home)?,
            store,
            cache: home.base("XDG_CACHE_HOME", ".cache")?.join("kelp"),
            detach_keys: file.detach_keys,
            stop_timeout: file.stop_timeout,
            snapshotter: file.snapshotter,
        })
    }

    /// A variable of the caller's environment, for `-e NAME`. One that is no UTF-8 is as good as unset: a container's
    /// environment is kept as text.
    pub fn variable(&self, name: &str) -> Option<String> {
        variable(name).and_then(|value| value.into_string().ok())
    }
}

fn certificates(home: &Home) -> Result<Vec<PathBuf>> {
    let configuration = home.base("XDG_CONFIG_HOME", ".config")?;
    let mut dirs = vec![configuration.join("containers/certs.d"), configuration.join("docker/certs.d")];
    dirs.extend(home.path().map(|home| home.join(".docker/certs.d")));
    dirs.extend(["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()]);
    Ok(dirs)
}

/// `$REGISTRY_AUTH_FILE` stands alone, as with podman; else docker's file, then podman's two.
fn credential_places(home: &Home) -> Result<credentials::Places> {
    let path = variable("PATH");
    if let Some(file) = variable("REGISTRY_AUTH_FILE").filter(|v| !v.is_empty()) {
        return Ok(credentials::Places { main: file.into(), others: Vec::new(), path });
    }
    let docker = match variable("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        // Without a home, everything is below the directories that the caller has named.
        None => home
            .path()
            .map(|home| home.join(".docker"))
            .or_else(|_| home.base("XDG_CONFIG_HOME", "docker"))?,
    };
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let mut others: Vec<PathBuf> = runtime.iter().map(|dir| dir.join("containers/auth.json")).collect();
    others.push(home.base("XDG_CONFIG_HOME", ".config")?.join("containers/auth.json"));
    Ok(credentials::Places { main: docker.join("config.json"), others, path })
}

/// The shell that asks for completions, if this is such a call. A `COMPLETE` that means something to somebody else
/// is left alone.
pub fn completion_shell() -> Option<String> {
    let value = variable(COMPLETION_VARIABLE)?;
    let shell = Path::new(&value).file_stem()?.to_str()?.to_owned();
    matches!(shell.as_str(), "bash" | "zsh" | "fish").then_some(shell)
}

/// Which word of the command line is being completed, counted from 0; bash and zsh say so, fish means the last one.
pub fn completion_index() -> Option<usize> {
    variable("_CLAP_COMPLETE_INDEX")?.to_str()?.parse().ok()
}

/// `KELP_LOG`: how much kelp tells of its own doings on stderr.
pub fn log_level() -> Result<Option<tracing::Level>> {
    match variable("KELP_LOG").filter(|v| !v.is_empty()) {
        None => Ok(None),
        Some(value) => value
            .to_str()
            .and_then(|v| v.parse().ok())
            .map(Some)
            .ok_or_else(|| Error::LogLevel { value: value.to_string_lossy().into_owned() }),
    }
}

#[allow(clippy::disallowed_methods, reason = "this room is the reader of the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The home directory, looked up only when something depends on it.
#[derive(Debug, Default)]
struct Home(std::cell::OnceCell<PathBuf>);

impl Home {
    fn path(&self) -> Result<&Path> {
        match self.0.get() {
            Some(home) => Ok(home),
            None => {
                let home = variable("HOME")
                    .map(PathBuf::from)
                    .filter(|home| home.is_absolute())
                    .or_else(passwd_home)
                    .ok_or(Error::NoHome)?;
                Ok(self.0.get_or_init(|| home))
            }
        }
    }

    /// A base directory of the XDG specification: relative values are to be ignored, it says.
    fn base(&self, name: &str, default: &str) -> Result<PathBuf> {
        match variable(name).map(PathBuf::from).filter(|path| path.is_absolute()) {
            Some(path) => Ok(path),
            None => Ok(self.path()?.join(default)),
        }
    }

    /// A path of the file: absolute, or below `~`.
    fn expand(&self, file: &Path, path: &str) -> Result<PathBuf> {
        if let Some(rest) = path.strip_prefix("~/") {
            return Ok(self.path()?.join(rest));
        }
        if Path::new(path).is_absolute() {
            return Ok(path.into());
        }
        Err(Error::RelativePath { file: file.into(), key: "store", value: path.into() })
    }
}

/// The home of this user as `/etc/passwd` has it.
fn passwd_home() -> Option<PathBuf> {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?).to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').nth(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_home_of_this_user_in_passwd() {
        assert!(passwd_home().is_some_and(|home| home.is_absolute()));
    }

    #[test]
    fn takes_absolute_paths_and_those_below_home() {
        let home = Home::default();
        home.0.set("/home/x".into()).unwrap();
        let file = Path::new("config.toml");
        assert_eq!(home.expand(file, "~/k").unwrap(), Path::new("/home/x/k"));
        assert_eq!(home.expand(file, "/srv/k").unwrap(), Path::new("/srv/k"));
        assert!(home.expand(file, "k").is_err());
        assert!(home.expand(file, "~root/k").is_err());
    }
}
