//! The options that `run` and `create` share, and the request they add up to.
//!
//! Values are kept as typed here; what they mean is read by `engine::options`, flag by flag.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::command::without_signatures;
use super::complete;
use super::context::Context;
use super::failure::Failure;
use super::pull;
use crate::config::Snapshotter;
use crate::engine::image::pull::PullPolicy;
use crate::engine::options::Asked;
use crate::engine::request::{CreateRequest, RootfsSource};
use crate::engine::{self, options};

/// Flags of docker's, in the order of its help. Lists may be given several times.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ContainerOptions {
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Add an annotation to the container's OCI spec
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    pub(super) attach: Vec<String>,
    /// Add a Linux capability
    #[arg(long, value_name = "CAP", add = complete::capabilities())]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAP", add = complete::capabilities())]
    cap_drop: Vec<String>,
    /// Write the container's id to a file, which must not exist yet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) cidfile: Option<PathBuf>,
    /// Ask this name server in place of the host's; one on loopback or in its own network the container asks
    /// itself, and finds no neighbours by name then
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// Set an option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Search this domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Replace the image's entry point; an empty text drops it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set an environment variable, or hand on the caller's
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,
    /// Say that a port is served: PORT[-PORT][/PROTOCOL]
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Add the process to one more group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Set the container's host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep stdin open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// IPv4 address in the user-defined network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address in the user-defined network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// IPC namespace: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE", add = complete::ipc())]
    ipc: Option<String>,
    /// Ethernet address in the user-defined network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    label_file: Vec<PathBuf>,
    /// Call another container of the network by a name of one's own: NAME[:ALIAS]
    #[arg(long, value_name = "CONTAINER", add = complete::containers())]
    link: Vec<String>,
    /// Mount a directory of the host, or a tmpfs: type=bind,src=…,dst=…[,ro] or type=tmpfs,dst=…
    #[arg(long, value_name = "OPTIONS")]
    mount: Vec<String>,
    /// Name the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Network: slirp[:OPTIONS] (default), none, host, container:NAME, or NAME[:OPTIONS] of one or more
    #[arg(long, visible_alias = "net", value_name = "NETWORK", add = complete::networks())]
    network: Vec<String>,
    /// Another name of the container in its network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Change the preference of the kernel's OOM killer, -1000 to 1000
    #[arg(long, value_name = "N")]
    oom_score_adj: Option<String>,
    /// PID namespace: host or container:NAME
    #[arg(long, value_name = "MODE", add = complete::pid())]
    pid: Option<String>,
    /// Platform of the image: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Give all capabilities that the user namespace has, and unmask /proc and /sys
    #[arg(long)]
    privileged: bool,
    /// Publish a port: [[IP:][HOSTPORT]:]PORT[/PROTOCOL], or ranges of them
    #[arg(short, long, value_name = "PORTS")]
    publish: Vec<String>,
    /// Publish all exposed ports, each at some port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// When to ask the registry for the image: always, missing (default), never, or newer
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "missing",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pull: PullWhen,
    /// Do without signatures of Docker Content Trust: always so, digests are verified all the same
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = without_signatures)]
    disable_content_trust: bool,
    /// Show no progress while the image is pulled
    #[arg(short, long)]
    quiet: bool,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Restart policy: `no`, the default; others are not built yet
    #[arg(long, value_name = "POLICY", value_parser = no_restart)]
    restart: Option<String>,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Take the first word as a directory to run in, not as an image; what is written there goes away again, but for
    /// PATH:rw
    #[arg(long)]
    rootfs: bool,
    /// seccomp=FILE|unconfined, no-new-privileges, systempaths=unconfined
    #[arg(long, value_name = "OPTION", add = complete::security_options())]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Who makes the root file system: the kernel (overlay), kelp (fuse), nobody (copy: a copy of the image for each
    /// container), or whichever works (auto)
    #[arg(long, value_name = "NAME", hide_possible_values = true)]
    snapshotter: Option<Snapshots>,
    /// Signal that `stop` sends
    #[arg(long, value_name = "SIGNAL", add = complete::signals())]
    stop_signal: Option<String>,
    /// Seconds that `stop` waits before it kills; -1 waits for ever
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64))]
    stop_timeout: Option<i64>,
    /// Set a kernel parameter of the container's own namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Mount a tmpfs: PATH[:OPTIONS]
    #[arg(long, value_name = "PATH")]
    tmpfs: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Set a resource limit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", add = complete::ulimits())]
    ulimit: Vec<String>,
    /// Run as this user: NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// User namespace: host (default, the one that all of your containers share), keep-id[:uid=N,gid=N,size=N], nomap
    #[arg(long, value_name = "MODE", add = complete::userns())]
    userns: Option<String>,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE", add = complete::uts())]
    uts: Option<String>,
    /// Mount a directory or file of the host: SOURCE:TARGET[:OPTIONS]
    #[arg(short, long, value_name = "MOUNT", value_hint = ValueHint::AnyPath)]
    volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Image (or directory, with --rootfs), then the command and its arguments
    #[arg(
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_name = "IMAGE",
        add = complete::image_or_root()
    )]
    words: Vec<String>,
}

/// `--pull`.
fn no_restart(policy: &str) -> Result<String, String> {
    match policy {
        "" | "no" => Ok(policy.to_owned()),
        _ => Err("restart policies other than `no` are not built yet".into()),
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum PullWhen {
    Always,
    #[default]
    Missing,
    Never,
    Newer,
}

/// `--snapshotter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Snapshots {
    Auto,
    Overlay,
    Fuse,
    Copy,
}

impl From<Snapshots> for Snapshotter {
    fn from(asked: Snapshots) -> Self {
        match asked {
            Snapshots::Auto => Self::Auto,
            Snapshots::Overlay => Self::Overlay,
            Snapshots::Fuse => Self::Fuse,
            Snapshots::Copy => Self::Copy,
        }
    }
}

impl ContainerOptions {
    fn pull_policy(&self) -> PullPolicy {
        match self.pull {
            PullWhen::Always => PullPolicy::Always,
            PullWhen::Missing => PullPolicy::Missing,
            PullWhen::Never => PullPolicy::Never,
            PullWhen::Newer => PullPolicy::Newer,
        }
    }

    /// Whether a registry has to be asked, with a look into the store.
    pub(super) fn pulls(&self, context: &Context, request: &CreateRequest) -> Result<bool, Failure> {
        let RootfsSource::Image(name) = &request.rootfs else { return Ok(false) };
        let (engine, platform) = (context.engine()?, request.platform.as_deref());
        Ok(engine::image::pull::is_wanted(engine, name, platform, self.pull_policy())?)
    }

    /// Brings the image in, as `--pull` says.
    pub(super) fn pull_image(&self, context: &Context, request: &CreateRequest) -> Result<(), Failure> {
        let RootfsSource::Image(name) = &request.rootfs else { return Ok(()) };
        pull::ensure(context, name, request.platform.as_deref(), self.pull_policy(), self.quiet)
    }

    /// What the engine is asked for. `detach_keys` were checked by the caller.
    pub(super) fn request(&self, context: &Context) -> Result<CreateRequest, Failure> {
        let config = context.config()?;
        let cwd = context.cwd()?;
        let lookup = |name: &str| config.variable(name);
        let (image, command) =
            self.words.split_first().ok_or_else(|| Failure::Usage("an image is needed".into()))?;
        let security = options::security_opts(&self.security_opt)?;

        let mut mounts = Vec::with_capacity(self.volume.len() + self.mount.len() + self.tmpfs.len());
        for spec in &self.volume {
            mounts.push(options::volume(spec, &cwd)?);
        }
        for spec in &self.mount {
            mounts.push(options::mount(spec, &cwd)?);
        }
        for spec in &self.tmpfs {
            mounts.push(options::tmpfs(spec)?);
        }

        Ok(CreateRequest {
            name: given(&self.name).map(str::to_owned),
            rootfs: if self.rootfs {
                options::rootfs(image, &cwd)?
            } else {
                RootfsSource::Image(image.clone())
            },
            command: command.to_vec(),
            entrypoint: self.entrypoint.as_ref().map(|e| if e.is_empty() { vec![] } else { vec![e.clone()] }),
            env: options::env(&self.env_file, &self.env, &lookup)?,
            workdir: given(&self.workdir).map(options::workdir).transpose()?,
            user: given(&self.user).map(options::user).transpose()?,
            group_add: self.group_add.clone(),
            hostname: given(&self.hostname).map(options::hostname).transpose()?,
            labels: options::labels(&self.label_file, &self.label)?,
            annotations: options::annotations(&self.annotation)?,
            mounts,
            read_only: self.read_only,
            cap_add: options::capabilities(&self.cap_add)?,
            cap_drop: options::capabilities(&self.cap_drop)?,
            seccomp: security.seccomp,
            no_new_privileges: security.no_new_privileges,
            unmask_system_paths: security.unmask_system_paths,
            privileged: self.privileged,
            ulimits: all(&self.ulimit, options::ulimit)?,
            sysctls: options::sysctls(&self.sysctl)?,
            shm_size: self.shm_size.as_deref().map(options::shm_size).transpose()?,
            init: self.init,
            network: options::networks(&Asked {
                networks: &self.network,
                ip: given(&self.ip),
                ip6: given(&self.ip6),
                mac: given(&self.mac_address),
                aliases: &self.network_alias,
                links: &self.link,
            })?,
            publish: all(&self.publish, options::publish)?.into_iter().flatten().collect(),
            publish_all: self.publish_all,
            expose: all(&self.expose, options::expose)?.into_iter().flatten().collect(),
            pid: option(given(&self.pid), options::pid)?,
            ipc: option(given(&self.ipc), options::ipc)?,
            uts: option(given(&self.uts), options::uts)?,
            userns: option(given(&self.userns), options::userns)?,
            stop_signal: given(&self.stop_signal).map(options::stop_signal).transpose()?,
            stop_timeout: self.stop_timeout,
            snapshotter: self.snapshotter.map(Snapshotter::from),
            platform: given(&self.platform).map(options::platform).transpose()?,
            add_hosts: all(&self.add_host, options::add_host)?,
            dns: all(&self.dns, options::dns)?,
            dns_search: all(&self.dns_search, options::dns_search)?,
            dns_options: all(&self.dns_option, options::dns_option)?,
            oom_score_adj: self.oom_score_adj.as_deref().map(options::oom_score_adj).transpose()?,
            tty: self.tty,
            interactive: self.interactive,
            auto_remove: self.rm,
            ..CreateRequest::default()
        })
    }

    /// Whether `--attach` names the stream; `default` when there is no `--attach` at all.
    pub(super) fn attaches(&self, stream: &str, default: bool) -> bool {
        if self.attach.is_empty() {
            default
        } else {
            self.attach.iter().any(|a| a.eq_ignore_ascii_case(stream))
        }
    }
}

/// An empty value is none, as with docker: scripts write `--name "$NAME"`.
pub(super) fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

fn all<T>(values: &[String], read: fn(&str) -> crate::engine::Result<T>) -> crate::engine::Result<Vec<T>> {
    values.iter().map(|v| read(v)).collect()
}

fn option<T: Default>(
    value: Option<&str>,
    read: fn(&str) -> crate::engine::Result<T>,
) -> crate::engine::Result<T> {
    value.map_or_else(|| Ok(T::default()), read)
}
