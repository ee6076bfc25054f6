//! `info`: where things are kept, how many there are, and what the host can do. docker's names where docker has one.

use serde::Serialize;

use super::container::inspect;
use super::container::ps::{self, Query, Status};
use super::{Engine, Result};
use crate::snapshot::{self, Snapshotter};
use crate::store::userns;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    pub containers: usize,
    pub containers_running: usize,
    pub containers_paused: usize,
    pub containers_stopped: usize,
    pub images: usize,
    /// How layers and a writable layer become a root.
    pub driver: &'static str,
    /// Each snapshotter, and whether it works here or why not.
    pub driver_status: Vec<(&'static str, String)>,
    pub docker_root_dir: String,
    /// How ids are mapped: the kind of map, and how many user ids there are inside.
    pub user_namespace: String,
    pub security_options: Vec<String>,
    pub cgroup_driver: &'static str,
    pub cgroup_version: &'static str,
    pub kernel_version: String,
    pub operating_system: String,
    #[serde(rename = "OSType")]
    pub os_type: &'static str,
    /// The kernel's name of the architecture (`x86_64`), as docker has it here.
    pub architecture: &'static str,
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// Bytes.
    pub mem_total: u64,
    pub logging_driver: &'static str,
    pub default_runtime: &'static str,
    /// Of the store.
    #[serde(rename = "ID")]
    pub id: String,
    /// The host's name.
    pub name: String,
    pub server_version: &'static str,
    pub warnings: Vec<String>,
}

pub fn info(engine: &Engine) -> Result<Info> {
    let rows = ps::list(engine, &Query { all: true, ..Query::default() })?;
    let count = |wanted: fn(Status) -> bool| rows.iter().filter(|row| wanted(row.status)).count();
    let mut warnings = Vec::new();
    let user_namespace = match userns::id_map(&engine.store) {
        Ok(map) => {
            let ids: u64 = map.uids.iter().map(|extent| u64::from(extent.count)).sum();
            format!("{:?}, {ids} user ids", map.kind).to_lowercase()
        }
        Err(e) => {
            warnings.push(format!("user namespaces: {e}"));
            "unavailable".into()
        }
    };
    let (driver, driver_status) = snapshotters(engine, &mut warnings);
    Ok(Info {
        containers: rows.len(),
        containers_running: count(|s| s == Status::Running),
        containers_paused: count(|s| s == Status::Paused),
        containers_stopped: count(|s| !matches!(s, Status::Running | Status::Paused)),
        images: engine.store.images()?.len(),
        driver,
        driver_status,
        docker_root_dir: engine.config.store.display().to_string(),
        user_namespace,
        security_options: security_options(),
        cgroup_driver: "none",
        cgroup_version: cgroup_version(),
        kernel_version: kernel_version(),
        operating_system: operating_system(),
        os_type: "linux",
        architecture: std::env::consts::ARCH,
        ncpu: std::thread::available_parallelism().map_or(1, usize::from),
        mem_total: memory(),
        logging_driver: inspect::LOG_DRIVER,
        default_runtime: inspect::RUNTIME,
        id: engine.store.id()?,
        name: first_line("/proc/sys/kernel/hostname"),
        server_version: env!("CARGO_PKG_VERSION"),
        warnings,
    })
}

/// The one that new containers get, and what became of trying each.
fn snapshotters(engine: &Engine, warnings: &mut Vec<String>) -> (&'static str, Vec<(&'static str, String)>) {
    let survey = match snapshot::survey(&engine.store) {
        Ok(survey) => survey,
        Err(e) => {
            warnings.push(crate::error::chain(&e));
            return ("unavailable", Vec::new());
        }
    };
    let driver = super::fixed(engine.config.snapshotter).unwrap_or_else(|| survey.best());
    if let Some(why) = survey.refusal(driver) {
        warnings.push(format!(
            "the snapshotter {}, which the configuration asks for, does not work here: {why}",
            driver.name()
        ));
    }
    let status = [Snapshotter::Overlay, Snapshotter::Fuse, Snapshotter::Copy].map(|driver| {
        (driver.name(), survey.refusal(driver).map_or_else(|| "works".into(), |why| format!("no: {why}")))
    });
    (driver.name(), status.into())
}

/// What protects containers here, docker's words.
fn security_options() -> Vec<String> {
    let mut options = Vec::new();
    if std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        options.push("name=seccomp,profile=builtin".into());
    }
    options.push("name=rootless".into());
    options
}

fn cgroup_version() -> &'static str {
    let exists = |name: &str| std::path::Path::new("/sys/fs/cgroup").join(name).exists();
    match () {
        () if exists("cgroup.controllers") => "2",
        () if exists("systemd") || exists("memory") => "1",
        () => "none",
    }
}

/// A file of the kernel's or the administrator's; empty where it cannot be read.
fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

pub(super) fn kernel_version() -> String {
    first_line("/proc/sys/kernel/osrelease")
}

/// Go's name of this machine's architecture.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn operating_system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}

fn memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    kilobytes.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_host() {
        assert!(kernel_version().contains('.'));
        assert!(memory() > 1 << 20);
        assert!(!operating_system().is_empty());
        assert!(security_options().contains(&"name=rootless".to_owned()));
    }
}
