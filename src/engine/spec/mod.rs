//! The one function that turns a request and an image's config into an OCI runtime spec.
//!
//! Trust: the request is the user's word. From an image come `Env`, `Entrypoint`, `Cmd`, `WorkingDir` and `User`,
//! and nothing else reaches the spec; its labels reach the record only, its `StopSignal` only the shim. `Volumes`
//! make no volumes yet: those paths stay ordinary directories of the writable layer, so their data goes with the
//! container. `ExposedPorts` are port numbers for `-P` and for what is shown, `Healthcheck` is shown by `inspect` and
//! does nothing.
//!
//! What the OCI spec has no field for travels as annotations under `kelp.` (see [`annotation`]); an annotation of
//! the user's with that prefix is refused, and an image's annotations are never read. The seccomp filter is not
//! part of the spec: whoever starts the container compiles it from the request.

mod files;
pub mod ids;
mod mounts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use oci_spec::image::Config;
use oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::request::{CreateRequest, NamespaceMode, NetworkMode};
use super::{Error, Result, options};
use crate::runtime::capabilities;
use crate::runtime::from_spec::annotation;
use crate::store::container::network::Addresses;

pub use files::texts;

/// docker's PATH where neither image nor user sets one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What docker hides.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What docker makes read-only.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the spec needs to know of the container besides the request.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// 64 hex digits; the first twelve are the default host name.
    pub id: String,
    /// The host's own `/etc/hosts` and `/etc/resolv.conf`, as text.
    pub host_hosts: String,
    pub host_resolv_conf: String,
    /// The host's own name, for containers that share it.
    pub host_name: String,
    /// `/proc/PID/ns/pid` of the container that `--pid container:X` named.
    pub join_pid: Option<PathBuf>,
    /// `/proc/PID/ns/ipc`; the mount of `/dev/shm` comes from `/proc/PID/root/dev/shm`.
    pub join_ipc: Option<PathBuf>,
    pub join_uts: Option<PathBuf>,
    /// `/proc/PID/ns/net` of the container that `--network container:X` named.
    pub join_network: Option<PathBuf>,
    /// What that container's network files say.
    pub shared: Option<Shared>,
    /// Of the network that is the way out, and of all others.
    pub addresses: Option<Addresses>,
    pub others: Vec<Addresses>,
    /// The largest group id of the user's map: all up to it may `ping`.
    pub largest_gid: Option<u32>,
    /// Of a user namespace of the container's own.
    pub ids: Option<ids::Ids>,
}

/// What a container has from the one whose network it shares.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    pub hostname: String,
    pub hosts: String,
    pub resolv_conf: String,
}

impl Place {
    /// A container that joins nothing, on this host.
    pub fn new(id: impl Into<String>) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            id: id.into(),
            host_name: text("/proc/sys/kernel/hostname").trim_end().to_owned(),
            host_hosts: text("/etc/hosts"),
            host_resolv_conf: text("/etc/resolv.conf"),
            ..Self::default()
        }
    }
}

/// Merges request and image config; see the top of this file for what an image may say.
pub fn build(request: &CreateRequest, image: Option<&Config>, place: &Place) -> Result<Spec> {
    options::check(request)?;
    let mut builder = SpecBuilder::default()
        .version("1.2.0".to_owned())
        .root(built(RootBuilder::default().path("rootfs").readonly(request.read_only).build())?)
        .mounts(mounts::mounts(request, place)?)
        .process(process(request, image, place)?)
        .annotations(annotations(request, image, place)?)
        .linux(linux(request, place)?);
    if request.uts == NamespaceMode::Private {
        builder = builder.hostname(hostname(request, place));
    }
    let mut spec = built(builder.build())?;
    if request.uts != NamespaceMode::Private {
        spec.set_hostname(None);
    }
    Ok(spec)
}

/// A builder of oci-spec fails only where a field without default is missing.
fn built<T>(result: std::result::Result<T, oci_spec::OciSpecError>) -> Result<T> {
    result.map_err(|e| Error::Invalid { what: "OCI spec", value: String::new(), reason: e.to_string() })
}

/// Entry point and arguments after docker's merge rules; `no command specified` when nothing is left.
pub fn command(request: &CreateRequest, image: Option<&Config>) -> Result<Vec<String>> {
    let from_image =
        |field: fn(&Config) -> &Option<Vec<String>>| image.and_then(|c| field(c).clone()).unwrap_or_default();
    let (mut words, arguments) = match &request.entrypoint {
        // A new entry point drops the image's arguments too: they were meant for the old one.
        Some(entrypoint) => (entrypoint.clone(), request.command.clone()),
        None if request.command.is_empty() => (from_image(Config::entrypoint), from_image(Config::cmd)),
        None => (from_image(Config::entrypoint), request.command.clone()),
    };
    // `--entrypoint ""` is the empty list; images write it as one empty word.
    if words == [""] {
        words.clear();
    }
    words.extend(arguments);
    if words.is_empty() {
        return Err(Error::NoCommand);
    }
    Ok(words)
}

/// The container's host name: the one asked for; the host's where UTS namespace or network are shared; else the
/// short id.
pub fn hostname(request: &CreateRequest, place: &Place) -> String {
    match &request.hostname {
        Some(name) => name.clone(),
        None if let Some(shared) = &place.shared => shared.hostname.clone(),
        None if request.uts == NamespaceMode::Host || request.network == NetworkMode::Host => {
            place.host_name.clone()
        }
        None => place.id.chars().take(12).collect(),
    }
}

/// The number of the signal that `stop` sends: the user's, else the image's if it is one, else SIGTERM.
pub fn stop_signal(request: &CreateRequest, image: Option<&Config>) -> Result<i32> {
    if let Some(text) = &request.stop_signal {
        return options::signal(text);
    }
    let from_image = image.and_then(|c| c.stop_signal().as_deref());
    Ok(from_image.and_then(|text| options::signal(text).ok()).unwrap_or(15))
}

/// The labels of the record: the image's, overridden by the user's. They reach nothing else.
pub fn labels(request: &CreateRequest, image: Option<&Config>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    labels.extend(image.and_then(|c| c.labels().clone()).unwrap_or_default());
    labels.extend(request.labels.clone());
    labels
}

fn process(request: &CreateRequest, image: Option<&Config>, place: &Place) -> Result<Process> {
    let mask =
        capabilities::choose(&request.cap_add, &request.cap_drop, request.privileged).map_err(|e| {
            Error::Invalid {
                what: "capability",
                value: e.0,
                reason: "this kernel has none of that name".into(),
            }
        })?;
    let set = capability_set(mask)?;
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .permitted(set.clone())
        .effective(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new());
    let mut builder = ProcessBuilder::default()
        .terminal(request.tty)
        // The user is looked up in the finished root; see `annotation::USER`.
        .user(built(UserBuilder::default().uid(0u32).gid(0u32).build())?)
        .args(command(request, image)?)
        .env(environment(request, image, place))
        .cwd(working_directory(request, image))
        .capabilities(built(capabilities.build())?)
        .rlimits(request.ulimits.iter().map(rlimit).collect::<Result<Vec<_>>>()?)
        .no_new_privileges(request.no_new_privileges);
    if let Some(adjustment) = request.oom_score_adj {
        builder = builder.oom_score_adj(adjustment);
    }
    built(builder.build())
}

fn capability_set(mask: u64) -> Result<HashSet<Capability>> {
    let names = (0..64).filter(|n| mask & (1 << n) != 0).filter_map(capabilities::name);
    names
        .map(|name| {
            // oci-spec parses the names without `CAP_`.
            name[4..].parse().map_err(|_| Error::Invalid {
                what: "capability",
                value: name.to_owned(),
                reason: "the OCI spec has no such name".to_owned(),
            })
        })
        .collect()
}

fn rlimit(ulimit: &super::request::Ulimit) -> Result<PosixRlimit> {
    let name = format!("\"RLIMIT_{}\"", ulimit.name.to_ascii_uppercase());
    let kind: PosixRlimitType = serde_json::from_str(&name).map_err(|_| Error::Invalid {
        what: "ulimit",
        value: ulimit.name.clone(),
        reason: "no such limit".to_owned(),
    })?;
    built(PosixRlimitBuilder::default().typ(kind).soft(ulimit.soft).hard(ulimit.hard).build())
}

/// docker's order: its own defaults, then the user's entries, then those of the image that the user did not touch;
/// a later entry takes the place of an earlier one of its name. `HOME` is the first process's to add.
fn environment(request: &CreateRequest, image: Option<&Config>, place: &Place) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut list: Vec<String> =
        vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(request, place))];
    if request.tty {
        list.push("TERM=xterm".to_owned());
    }
    let users: HashSet<String> = request.env.iter().map(|e| key(e)).collect();
    let images = image.and_then(|c| c.env().clone()).unwrap_or_default();
    let images = images.into_iter().filter(|e| !users.contains(&key(e)) && !e.starts_with('='));
    for entry in request.env.iter().cloned().chain(images) {
        let name = key(&entry);
        let old = list.iter().position(|e| key(e) == name);
        match (old, entry.contains('=')) {
            (Some(at), true) => list[at] = entry,
            (Some(at), false) => drop(list.remove(at)),
            (None, true) => list.push(entry),
            (None, false) => {}
        }
    }
    list
}

/// The user's, else the image's, else `/`; cleaned as text, since docker's images say `app` and `/app/../x` too.
fn working_directory(request: &CreateRequest, image: Option<&Config>) -> PathBuf {
    let from_image = || image.and_then(|c| c.working_dir().clone());
    clean(Path::new(&request.workdir.clone().or_else(from_image).unwrap_or_default()))
}

/// Absolute, without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

fn annotations(
    request: &CreateRequest,
    image: Option<&Config>,
    place: &Place,
) -> Result<HashMap<String, String>> {
    let mut all: HashMap<String, String> =
        request.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(name) = all.keys().find(|k| k.starts_with(annotation::PREFIX)) {
        let reason = format!("names that begin with `{}` are kelp's own", annotation::PREFIX);
        return Err(Error::Invalid { what: "annotation", value: name.clone(), reason });
    }
    let user = ids::user_of(request, image, place.ids.as_ref());
    let cwd = working_directory(request, image);
    if let Some(account) = place.ids.as_ref().and_then(|ids| ids.account(request, &cwd)) {
        all.insert(annotation::ACCOUNT.to_owned(), serde_json::json!(account).to_string());
    }
    let groups = serde_json::Value::from(request.group_add.clone()).to_string();
    all.insert(annotation::USER.to_owned(), user);
    all.insert(annotation::GROUPS.to_owned(), groups);
    all.insert(annotation::INIT.to_owned(), request.init.to_string());
    all.insert(annotation::CREATE_CWD.to_owned(), true.to_string());
    all.insert(annotation::OPTIONAL_HOSTNAME.to_owned(), request.hostname.is_none().to_string());
    for (path, text) in files::texts(request, place) {
        all.insert(format!("{}{path}", annotation::TEXT), text);
    }
    let optional: Vec<&str> =
        CONVENIENT_SYSCTLS.into_iter().filter(|name| !request.sysctls.contains_key(*name)).collect();
    all.insert(annotation::OPTIONAL_SYSCTLS.to_owned(), serde_json::json!(optional).to_string());
    Ok(all)
}

fn linux(request: &CreateRequest, place: &Place) -> Result<Linux> {
    let bare = request.privileged || request.unmask_system_paths;
    let paths = |list: &[&str]| -> Vec<String> {
        if bare { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() }
    };
    let mut linux = built(
        LinuxBuilder::default()
            .namespaces(namespaces(request, place)?)
            .sysctl(sysctls(request, place))
            .masked_paths(paths(&MASKED_PATHS))
            .readonly_paths(paths(&READONLY_PATHS))
            .build(),
    )?;
    // The builder fills in sections of its own invention; what is not meant must not be there.
    linux.set_resources(None).set_rootfs_propagation(None).set_devices(None).set_cgroups_path(None);
    linux.set_seccomp(None).set_personality(None);
    let (uids, gids) = place.ids.as_ref().map(|ids| (ids.uids.clone(), ids.gids.clone())).unzip();
    linux.set_uid_mappings(uids).set_gid_mappings(gids);
    Ok(linux)
}

const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";
const PING_GROUPS: &str = "net.ipv4.ping_group_range";
/// Set unless the user sets them.
const CONVENIENT_SYSCTLS: [&str; 2] = [PORT_START, PING_GROUPS];

/// docker's two defaults, where the network is the container's own, below what the user set.
fn sysctls(request: &CreateRequest, place: &Place) -> HashMap<String, String> {
    let mut all = HashMap::new();
    // A joined one has been set up by whom it belongs to.
    if request.network.is_own() {
        all.insert(PORT_START.to_owned(), "0".to_owned());
        let shared = place.largest_gid.map(|largest| (0, largest));
        if let Some((first, last)) = place.ids.as_ref().map_or(shared, ids::Ids::pingers) {
            all.insert(PING_GROUPS.to_owned(), format!("{first} {last}"));
        }
    }
    all.extend(request.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())));
    all
}

fn namespaces(request: &CreateRequest, place: &Place) -> Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType as T;
    let mut list = Vec::new();
    let mut push = |kind: T, path: Option<PathBuf>| -> Result<()> {
        let mut builder = LinuxNamespaceBuilder::default().typ(kind);
        if let Some(path) = path {
            builder = builder.path(path);
        }
        list.push(built(builder.build())?);
        Ok(())
    };
    push(T::Mount, None)?;
    if place.ids.is_some() {
        push(T::User, None)?;
    }
    push(T::Cgroup, None)?;
    match &request.network {
        NetworkMode::Slirp(_) | NetworkMode::None | NetworkMode::Networks(_) => push(T::Network, None)?,
        NetworkMode::Host => {}
        NetworkMode::Container(name) => {
            let path = place.join_network.clone().ok_or_else(|| Error::NoSuchContainer(name.clone()))?;
            push(T::Network, Some(path))?;
        }
    }
    let modes = [
        (T::Pid, &request.pid, &place.join_pid),
        (T::Ipc, &request.ipc, &place.join_ipc),
        (T::Uts, &request.uts, &place.join_uts),
    ];
    for (kind, mode, join) in modes {
        match mode {
            NamespaceMode::Private | NamespaceMode::None => push(kind, None)?,
            NamespaceMode::Host => {}
            NamespaceMode::Container(name) => {
                let path = join.clone().ok_or_else(|| Error::NoSuchContainer(name.clone()))?;
                push(kind, Some(path))?;
            }
        }
    }
    Ok(list)
}
