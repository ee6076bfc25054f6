//! An OCI runtime spec, checked and turned into a [`Plan`].
//!
//! Everything is decided and validated here: a field that kelp does not carry out is an error, a text too long for
//! the kernel is an error with its limit, never cut. What the OCI spec has no field for comes as annotations of
//! kelp's own ([`annotation`]), which neither images nor users can write: the one who builds specs refuses the
//! prefix `kelp.` from both.

mod mounts;
mod process;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};

use super::plan::{Account, Clock, ClockOffset, Namespace, Namespaces, Plan, Rootfs};
use super::sysctl;
use crate::sys::userns::{Extent, Nested};

pub use process::{ExecChanges, exec_process};

/// Annotations that carry what the OCI spec has no field for.
pub mod annotation {
    /// The user string, unresolved; without it `process.user` counts.
    pub const USER: &str = "kelp.user";
    /// Names or numbers of additional groups, a JSON array of strings.
    pub const GROUPS: &str = "kelp.groups";
    /// `true`: a reaper is PID 1.
    pub const INIT: &str = "kelp.init";
    /// `true`: a missing working directory is made.
    pub const CREATE_CWD: &str = "kelp.create-cwd";
    /// Followed by a path: the text of the file that a mount of type [`super::TEXT`] puts there.
    pub const TEXT: &str = "kelp.text:";
    /// A [`super::Account`] that the container's passwd has to know, as JSON.
    pub const ACCOUNT: &str = "kelp.account";
    /// Names of sysctls that nobody asked for, a JSON array of strings: one that cannot be set is left as it is.
    pub const OPTIONAL_SYSCTLS: &str = "kelp.optional-sysctls";
    /// `true`: nobody asked for the host name, which stays what it is where it cannot be set.
    pub const OPTIONAL_HOSTNAME: &str = "kelp.optional-hostname";
    /// What all of them begin with.
    pub const PREFIX: &str = "kelp.";
}

/// A mount's type: a file in memory, whose text comes as an annotation.
pub const TEXT: &str = "kelp.text";

/// Bytes of a path, without the final NUL: the kernel's `PATH_MAX`.
const PATH_LIMIT: usize = 4095;
/// Bytes of one argument or environment entry, without the final NUL: the kernel's `MAX_ARG_STRLEN`.
const STRING_LIMIT: usize = 131_071;

/// Lines of an id map: the kernel's `UID_GID_MAP_MAX_EXTENTS`.
const MAP_LIMIT: usize = 340;

/// What the spec does not say.
#[derive(Debug, Clone)]
pub struct Facts {
    pub rootfs: Rootfs,
    /// See [`Plan::tty_gid`].
    pub tty_gid: u32,
    /// Assembled filter from [`super::seccomp::cached`]; `None` is unconfined.
    pub seccomp: Option<Vec<u8>>,
}

/// Why a spec cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that makes no sense or that the kernel would not take.
    #[error("{what}: {reason}")]
    Invalid { what: String, reason: String },
    /// A field of the OCI spec that kelp does not carry out.
    #[error("{0} is not built yet")]
    NotBuilt(String),
}

pub type Result<T> = std::result::Result<T, Error>;

fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Invalid { what: what.into(), reason: reason.into() }
}

/// A plan, and what the user should be told about it (one line each).
#[derive(Debug)]
pub struct Planned {
    pub plan: Plan,
    pub warnings: Vec<String>,
}

impl Plan {
    /// Validates the whole spec and decides everything. `root` of the spec says only whether the root is
    /// read-only; what it is made of is [`Facts::rootfs`].
    pub fn from_spec(spec: &Spec, facts: Facts) -> Result<Planned> {
        let linux = spec.linux().as_ref().ok_or_else(|| invalid("linux", "the section is missing"))?;
        refuse_unbuilt(spec, linux)?;
        let namespaces = namespaces(linux)?;
        let mut warnings = Vec::new();
        let process = process::process(spec, facts.seccomp, &mut warnings)?;
        let mut mounts = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            mounts.push(mounts::mount(mount, spec)?);
        }
        let hostname = spec.hostname().clone();
        if let Some(name) = &hostname {
            if namespaces.uts == Namespace::Host {
                return Err(invalid("hostname", "it would be the host's: the UTS namespace is shared"));
            }
            if name.is_empty() || name.len() > 64 || name.contains('\0') {
                return Err(invalid("hostname", "1 to 64 bytes are allowed"));
            }
        }
        let plan = Plan {
            hostname,
            optional_hostname: flag(spec, annotation::OPTIONAL_HOSTNAME)?,
            clock_offsets: clock_offsets(linux, &namespaces)?,
            rootfs: facts.rootfs,
            rootfs_read_only: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
            mounts,
            masked_paths: system_paths("maskedPaths", linux.masked_paths().as_deref())?,
            readonly_paths: system_paths("readonlyPaths", linux.readonly_paths().as_deref())?,
            sysctls: sysctls(linux, &namespaces)?,
            optional_sysctls: names(spec, annotation::OPTIONAL_SYSCTLS)?,
            tty_gid: tty_gid(facts.tty_gid, namespaces.user.as_ref()),
            account: account(spec)?,
            process,
            init: flag(spec, annotation::INIT)?,
            namespaces,
        };
        Ok(Planned { plan, warnings })
    }
}

/// Nothing is accepted and ignored: every section that is not carried out is named.
fn refuse_unbuilt(spec: &Spec, linux: &Linux) -> Result<()> {
    let present = [
        ("hooks", spec.hooks().is_some()),
        ("domainname", spec.domainname().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
        ("linux.netDevices", linux.net_devices().is_some()),
        ("linux.resources", linux.resources().is_some()),
        ("linux.cgroupsPath", linux.cgroups_path().is_some()),
        ("linux.devices", linux.devices().is_some()),
        ("linux.seccomp", linux.seccomp().is_some()),
        ("linux.rootfsPropagation", linux.rootfs_propagation().is_some()),
        ("linux.mountLabel", linux.mount_label().is_some()),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.personality", linux.personality().is_some()),
    ];
    match present.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(Error::NotBuilt(format!("`{name}` of the OCI spec"))),
        None => Ok(()),
    }
}

fn namespaces(linux: &Linux) -> Result<Namespaces> {
    let host = Namespace::Host;
    let mut found =
        Namespaces { user: None, network: host, pid: host, ipc: host, uts: host, cgroup: host, time: host };
    let mut seen = Vec::new();
    let mut own_user = false;
    let mut own_mounts = false;
    for namespace in linux.namespaces().iter().flatten() {
        let kind = namespace.typ();
        if seen.contains(&kind) {
            return Err(invalid("linux.namespaces", format!("{kind:?} is listed twice")));
        }
        seen.push(kind);
        let from = match namespace.path() {
            None => Namespace::New,
            Some(_) => Namespace::Joined,
        };
        match kind {
            LinuxNamespaceType::Network => found.network = from,
            LinuxNamespaceType::Pid => found.pid = from,
            LinuxNamespaceType::Ipc => found.ipc = from,
            LinuxNamespaceType::Uts => found.uts = from,
            LinuxNamespaceType::Cgroup => found.cgroup = from,
            LinuxNamespaceType::Mount => own_mounts = from == Namespace::New,
            LinuxNamespaceType::User if from == Namespace::New => own_user = true,
            LinuxNamespaceType::User => {
                return Err(Error::NotBuilt("joining a user namespace".to_owned()));
            }
            LinuxNamespaceType::Time if from == Namespace::New => found.time = from,
            LinuxNamespaceType::Time => {
                return Err(Error::NotBuilt("joining a time namespace".to_owned()));
            }
        }
    }
    if !own_mounts {
        return Err(invalid("linux.namespaces", "a new mount namespace is needed"));
    }
    found.user = nested(linux, own_user)?;
    if found.user.is_some() && (found.pid == Namespace::Joined || found.ipc == Namespace::Joined) {
        return Err(Error::NotBuilt(
            "joining a pid or ipc namespace from a user namespace of the container's own".to_owned(),
        ));
    }
    Ok(found)
}

/// The ids of the container's own user namespace. Without maps it shares the one that the plan runs in.
fn nested(linux: &Linux, own: bool) -> Result<Option<Nested>> {
    let list = |what: &str, mappings: &Option<Vec<LinuxIdMapping>>| -> Result<Vec<Extent>> {
        let mappings = mappings.as_deref().unwrap_or_default();
        let extent = |m: &LinuxIdMapping| {
            let (inside, outside, count) = (m.container_id(), m.host_id(), m.size());
            let fits = |first: u32| first.checked_add(count).is_some();
            let right = count > 0 && fits(inside) && fits(outside);
            right
                .then_some(Extent { inside, outside, count })
                .ok_or_else(|| invalid(what, "ids out of range"))
        };
        if mappings.len() > MAP_LIMIT {
            return Err(invalid(what, format!("at most {MAP_LIMIT} lines are allowed")));
        }
        mappings.iter().map(extent).collect()
    };
    let uids = list("linux.uidMappings", linux.uid_mappings())?;
    let gids = list("linux.gidMappings", linux.gid_mappings())?;
    match (own, uids.is_empty(), gids.is_empty()) {
        (_, true, true) => Ok(None),
        (true, false, false) => Ok(Some(Nested { uids, gids })),
        _ => Err(invalid("linux.uidMappings", "a user namespace has maps of both uids and gids")),
    }
}

/// The group of terminals, where the container has it.
fn tty_gid(wanted: u32, user: Option<&Nested>) -> u32 {
    match user {
        Some(user) if !user.has_gid(wanted) => user.gids.first().map_or(0, |e| e.inside),
        _ => wanted,
    }
}

fn account(spec: &Spec) -> Result<Option<Account>> {
    let Some(json) = annotations(spec).and_then(|a| a.get(annotation::ACCOUNT)) else { return Ok(None) };
    let account: Account =
        serde_json::from_str(json).map_err(|_| invalid(annotation::ACCOUNT, "not an account"))?;
    let plain = |text: &String| !text.chars().any(|c| c == ':' || c.is_control());
    if [&account.name, &account.group, &account.home].into_iter().all(plain) {
        return Ok(Some(account));
    }
    Err(invalid(annotation::ACCOUNT, "no field may have a colon or a line break in it"))
}

fn clock_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<ClockOffset>> {
    let Some(wanted) = linux.time_offsets() else { return Ok(Vec::new()) };
    if namespaces.time != Namespace::New {
        return Err(invalid("linux.timeOffsets", "they need a time namespace"));
    }
    let mut offsets = Vec::with_capacity(wanted.len());
    for (name, offset) in wanted {
        let clock = [Clock::Monotonic, Clock::Boottime].into_iter().find(|c| c.name() == name);
        let clock =
            clock.ok_or_else(|| invalid("linux.timeOffsets", "the clocks are monotonic and boottime"))?;
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(invalid(format!("linux.timeOffsets.{name}"), "a second has 1000000000 nanoseconds"));
        }
        offsets.push(ClockOffset { clock, seconds: offset.secs().unwrap_or(0), nanoseconds });
    }
    // The spec's map has no order; two starts of one container must do the same.
    offsets.sort_by_key(|o| o.clock);
    Ok(offsets)
}

fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    // Joined is shared, yet it is a container's, not the host's: setting it there harms no one outside.
    let own = sysctl::Own {
        network: namespaces.network != Namespace::Host,
        ipc: namespaces.ipc != Namespace::Host,
        uts: namespaces.uts != Namespace::Host,
    };
    let mut list = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let name =
            sysctl::check(name, own).map_err(|e| invalid(format!("sysctl `{name}`"), e.to_string()))?;
        if value.len() > PATH_LIMIT || value.contains('\0') {
            return Err(invalid(format!("sysctl `{name}`"), format!("at most {PATH_LIMIT} bytes, no NUL")));
        }
        list.push((name, value.clone()));
    }
    // The spec's map has no order; two starts of one container must do the same.
    list.sort();
    Ok(list)
}

fn system_paths(what: &str, paths: Option<&[String]>) -> Result<Vec<PathBuf>> {
    paths.unwrap_or_default().iter().map(|p| checked_path(what, Path::new(p))).collect()
}

/// A path inside the root: absolute, without `..`, within the kernel's limit.
fn checked_path(what: &str, path: &Path) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let shown = || {
        let text: String = path.to_string_lossy().chars().take(80).collect();
        format!("{what} `{text}`")
    };
    if bytes.len() > PATH_LIMIT {
        let reason = format!("{} bytes, the limit is {PATH_LIMIT}", bytes.len());
        return Err(invalid(format!("{}…", shown()), reason));
    }
    if bytes.contains(&0) {
        return Err(invalid(shown(), "a path cannot contain a NUL byte"));
    }
    if !path.is_absolute() {
        return Err(invalid(shown(), "the path must be absolute"));
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(invalid(shown(), "the path must not contain `..`"));
    }
    Ok(path.to_owned())
}

fn annotations(spec: &Spec) -> Option<&HashMap<String, String>> {
    spec.annotations().as_ref()
}

/// An annotation that is a JSON array of strings; empty without it.
fn names(spec: &Spec, annotation: &str) -> Result<Vec<String>> {
    match annotations(spec).and_then(|a| a.get(annotation)) {
        None => Ok(Vec::new()),
        Some(json) => {
            serde_json::from_str(json).map_err(|_| invalid(annotation, "not a JSON array of strings"))
        }
    }
}

fn flag(spec: &Spec, name: &str) -> Result<bool> {
    match annotations(spec).and_then(|a| a.get(name)).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(invalid(name, format!("`{other}` is neither true nor false"))),
    }
}
