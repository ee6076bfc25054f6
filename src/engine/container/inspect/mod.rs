//! `inspect`: everything that is known of a container, in docker's shape and order.
//!
//! Fields of docker's that mean nothing here are left out, never made up. Those of options that are not built say
//! that nothing was asked for ([`unset`]).

mod network;
mod unset;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use self::network::{HostPort, NetworkSettings};
use super::ps::{self, Size};
use super::stored::Stored;
use crate::engine::image::inspect::GraphDriver;
use crate::engine::request::{
    CreateRequest, MountRequest, NamespaceMode, NetworkMode, Propagation, RootfsSource, SeccompChoice,
};
use crate::engine::{Engine, Result};
use crate::oci::ImageConfig;
use crate::snapshot::{self, Snapshotter};
use crate::store::container::network::Protocol;
use crate::store::container::{ContainerRecord, Observed, Status};
use crate::store::userns;

/// podman's word for the log's format, that of CRI.
pub(in crate::engine) const LOG_DRIVER: &str = "k8s-file";
pub(in crate::engine) const RUNTIME: &str = "kelp";

/// One element of the list that `docker container inspect` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub id: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub state: State,
    pub image: String,
    pub resolv_conf_path: String,
    pub hostname_path: String,
    pub hosts_path: String,
    pub log_path: String,
    /// With docker's slash.
    pub name: String,
    pub restart_count: u32,
    pub driver: &'static str,
    pub platform: &'static str,
    #[serde(flatten)]
    unset: unset::Container,
    pub host_config: HostConfig,
    pub graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    #[serde(rename = "SizeRootFs", skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    pub mounts: Vec<Mount>,
    pub config: Config,
    pub network_settings: NetworkSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    pub status: &'static str,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    /// On the host; 0 when it does not run.
    pub pid: u32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    pub binds: Vec<String>,
    pub network_mode: String,
    pub auto_remove: bool,
    pub annotations: BTreeMap<String, String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    pub extra_hosts: Vec<String>,
    pub group_add: Vec<String>,
    pub ipc_mode: String,
    pub oom_score_adj: i32,
    pub pid_mode: String,
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub security_opt: Vec<String>,
    /// Options by target.
    pub tmpfs: BTreeMap<String, String>,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub userns_mode: String,
    /// Bytes.
    pub shm_size: u64,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    pub init: bool,
    pub port_bindings: BTreeMap<String, Vec<HostPort>>,
    pub publish_all_ports: bool,
    #[serde(flatten)]
    pub unset: unset::HostConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    pub name: String,
    /// -1 is unlimited, as docker prints it.
    pub hard: i64,
    pub soft: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    #[serde(rename = "Type")]
    pub kind: &'static str,
    pub source: String,
    pub destination: String,
    pub mode: String,
    #[serde(rename = "RW")]
    pub rw: bool,
    pub propagation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    pub hostname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Vec<String>,
    pub cmd: Option<Vec<String>>,
    pub image: String,
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, network::Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(flatten)]
    pub unset: unset::Config,
}

/// Everything about one container; `with_size` walks its writable layer.
pub fn container(engine: &Engine, name: &str, with_size: bool) -> Result<Container> {
    let row = engine.store.find_container(name)?;
    let seen = engine.store.observe(&row)?;
    let request = request(&row)?;
    let launch = Stored::of(&row)?.launch()?;
    let size = if with_size { Some(size(engine, &row)?) } else { None };
    let (path, args) =
        row.command.split_first().map_or_else(Default::default, |(p, a)| (p.clone(), a.to_vec()));
    Ok(Container {
        id: row.id.to_string(),
        created: row.created.to_string(),
        path,
        args,
        state: state(&seen),
        image: row.image_id.clone().unwrap_or_default(),
        // Files in the container's own memory: the host has no path to them.
        resolv_conf_path: String::new(),
        hostname_path: String::new(),
        hosts_path: String::new(),
        log_path: engine.store.container_dir(&row.id).join("log").display().to_string(),
        name: format!("/{}", row.name),
        restart_count: 0,
        driver: launch.snapshotter.name(),
        platform: "linux",
        unset: unset::Container::default(),
        host_config: host_config(&request),
        graph_driver: graph_driver(engine, &row, launch.snapshotter),
        size_rw: size.map(|s| s.writable),
        size_root_fs: size.map(|s| s.total),
        mounts: request.mounts.iter().map(mount).collect(),
        config: config(engine, &row, &request, &launch.expose),
        network_settings: network::settings(&row.id, &request, seen.network.as_ref()),
    })
}

/// The create request of a full record.
pub(super) fn request(row: &ContainerRecord) -> Result<CreateRequest> {
    Stored::of(row)?.request()
}

/// What the container wrote, and what that stands on. Walked as root of the user namespace: its files belong to the
/// container's ids.
pub(super) fn size(engine: &Engine, row: &ContainerRecord) -> Result<Size> {
    let whole = engine.store.find_container(row.id.as_str())?;
    let launch = Stored::of(&whole)?.launch()?;
    let dir = engine.store.container_dir(&row.id);
    let writable = match snapshot::layers(engine.store.layout(), &launch.recipe, &dir, launch.snapshotter) {
        Ok(layers) => {
            userns::run_inside(&engine.store, || layers.written_bytes().map_err(|e| e.to_string()))?
        }
        // A directory of the host's that is gone since: nothing can be said of it.
        Err(error) => {
            tracing::debug!(%error, "not measured");
            0
        }
    };
    let image = match &row.image_id {
        Some(id) => engine.store.find_image(id).map_or(0, |image| image.size),
        None => 0,
    };
    Ok(Size { writable, total: writable + image })
}

/// Where the layers lie, the writable one on top. A copy stands on none.
fn graph_driver(engine: &Engine, row: &ContainerRecord, driver: Snapshotter) -> GraphDriver {
    let dir = engine.store.container_dir(&row.id);
    let own = |name: &str| dir.join(name).display().to_string();
    let layer = |layer: &String| engine.store.layer_dir(layer).display().to_string();
    let data = (driver != Snapshotter::Copy).then(|| {
        let mut data = BTreeMap::from([("UpperDir", own("upper")), ("WorkDir", own("work"))]);
        if !row.layers.is_empty() {
            data.insert("LowerDir", row.layers.iter().rev().map(layer).collect::<Vec<_>>().join(":"));
        }
        data
    });
    GraphDriver { data, name: driver.name() }
}

fn state(seen: &Observed) -> State {
    let status = seen.status;
    // docker writes its zero time where there is none.
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| "0001-01-01T00:00:00Z".into(), |t| t.to_string());
    State {
        status: match status {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Dead => "dead",
        },
        running: matches!(status, Status::Running | Status::Paused | Status::Restarting),
        paused: status == Status::Paused,
        restarting: status == Status::Restarting,
        oom_killed: seen.oom_killed,
        dead: status == Status::Dead,
        pid: seen.pid.unwrap_or_default(),
        exit_code: seen.exit_code.unwrap_or_default(),
        error: seen.error.clone(),
        started_at: time(seen.started),
        finished_at: time(seen.finished),
    }
}

fn host_config(request: &CreateRequest) -> HostConfig {
    HostConfig {
        binds: request.mounts.iter().filter_map(bind).collect(),
        network_mode: match &request.network {
            NetworkMode::Container(name) => format!("container:{name}"),
            NetworkMode::Networks(joins) => joins.first().map(|j| j.network.clone()).unwrap_or_default(),
            own => ps::network(own),
        },
        port_bindings: network::bindings(request),
        publish_all_ports: request.publish_all,
        auto_remove: request.auto_remove,
        annotations: request.annotations.clone(),
        cap_add: request.cap_add.clone(),
        cap_drop: request.cap_drop.clone(),
        dns: request.dns.clone(),
        dns_options: request.dns_options.clone(),
        dns_search: request.dns_search.clone(),
        extra_hosts: request.add_hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect(),
        group_add: request.group_add.clone(),
        ipc_mode: mode(&request.ipc, "private"),
        oom_score_adj: request.oom_score_adj.unwrap_or_default(),
        pid_mode: mode(&request.pid, ""),
        privileged: request.privileged,
        readonly_rootfs: request.read_only,
        security_opt: security_opt(request),
        tmpfs: request.mounts.iter().filter_map(tmpfs).collect(),
        uts_mode: mode(&request.uts, ""),
        userns_mode: request.userns.words(),
        shm_size: request.shm_size.unwrap_or(64 << 20),
        sysctls: request.sysctls.clone(),
        ulimits: request
            .ulimits
            .iter()
            .map(|u| Ulimit { name: u.name.clone(), hard: limit(u.hard), soft: limit(u.soft) })
            .collect(),
        init: request.init,
        unset: unset::HostConfig::default(),
    }
}

/// docker prints unlimited, the largest value, as -1.
fn limit(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

fn mode(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.into(),
        NamespaceMode::None => "none".into(),
        NamespaceMode::Host => "host".into(),
        NamespaceMode::Container(name) => format!("container:{name}"),
    }
}

fn security_opt(request: &CreateRequest) -> Vec<String> {
    let mut options = Vec::new();
    match &request.seccomp {
        SeccompChoice::Default => {}
        SeccompChoice::Unconfined => options.push("seccomp=unconfined".into()),
        SeccompChoice::Profile(text) => options.push(format!("seccomp={text}")),
    }
    if request.no_new_privileges {
        options.push("no-new-privileges".into());
    }
    if request.unmask_system_paths {
        options.push("systempaths=unconfined".into());
    }
    options
}

fn bind(mount: &MountRequest) -> Option<String> {
    match mount {
        MountRequest::Bind { source, target, read_only, .. } => {
            Some(format!("{}:{}{}", source.display(), target.display(), if *read_only { ":ro" } else { "" }))
        }
        MountRequest::Tmpfs { .. } => None,
    }
}

fn tmpfs(mount: &MountRequest) -> Option<(String, String)> {
    match mount {
        MountRequest::Tmpfs { target, size, mode, uid, gid, inodes, read_only, exec, suid, dev, data } => {
            let words = [("ro", read_only), ("exec", exec), ("suid", suid), ("dev", dev)];
            let words = words.into_iter().filter(|(_, set)| **set).map(|(word, _)| word.to_owned());
            let size = size.map(|bytes| format!("size={bytes}"));
            let mode = mode.map(|bits| format!("mode={bits:o}"));
            let owner = [("uid", uid), ("gid", gid)].map(|(key, id)| id.map(|id| format!("{key}={id}")));
            let inodes = inodes.map(|count| format!("nr_inodes={count}"));
            let owner = owner.into_iter().flatten();
            let options: Vec<String> = words
                .chain(size)
                .chain(mode)
                .chain(owner)
                .chain(inodes)
                .chain(data.iter().cloned())
                .collect();
            Some((target.display().to_string(), options.join(",")))
        }
        MountRequest::Bind { .. } => None,
    }
}

fn mount(mount: &MountRequest) -> Mount {
    match mount {
        MountRequest::Bind { source, target, read_only, propagation, .. } => Mount {
            kind: "bind",
            source: source.display().to_string(),
            destination: target.display().to_string(),
            mode: if *read_only { "ro".into() } else { String::new() },
            rw: !read_only,
            propagation: match propagation {
                Propagation::RPrivate => "rprivate",
                Propagation::Private => "private",
                Propagation::RSlave => "rslave",
                Propagation::Slave => "slave",
                Propagation::RShared => "rshared",
                Propagation::Shared => "shared",
            },
        },
        MountRequest::Tmpfs { target, read_only, .. } => Mount {
            kind: "tmpfs",
            source: String::new(),
            destination: target.display().to_string(),
            mode: String::new(),
            rw: !read_only,
            propagation: "",
        },
    }
}

/// The part of the configuration that image and request make together. The image may be gone: then its part is too.
fn config(
    engine: &Engine,
    row: &ContainerRecord,
    request: &CreateRequest,
    exposed: &[(u16, Protocol)],
) -> Config {
    let image = row.image_id.as_ref().and_then(|id| engine.store.find_image(id).ok());
    let image = image.and_then(|image| ImageConfig::parse(image.config.as_bytes()).ok());
    let made = super::config::of(&image.map(|image| image.config).unwrap_or_default(), request);
    let some = |words: Vec<String>| (!words.is_empty()).then_some(words);
    Config {
        hostname: request.hostname.clone().unwrap_or_else(|| row.id.short().to_owned()),
        user: made.user,
        attach_stdin: request.stdin_once,
        tty: request.tty,
        open_stdin: request.interactive,
        stdin_once: request.stdin_once,
        env: made.env,
        cmd: some(made.cmd),
        image: match &request.rootfs {
            RootfsSource::Image(name) => name.clone(),
            RootfsSource::Directory { path, .. } => path.display().to_string(),
        },
        working_dir: made.working_dir,
        entrypoint: some(made.entrypoint),
        labels: row.labels.clone(),
        exposed_ports: network::exposed_ports(exposed),
        stop_signal: Some(made.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: request.stop_timeout,
        unset: unset::Config::default(),
    }
}
