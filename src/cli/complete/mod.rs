//! What the TAB key offers. Runs at every TAB: reads the store without making, repairs or records anything, and
//! says nothing when it cannot.

mod named;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;

use clap::Arg;
use clap::builder::StyledStr;
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Bash, EnvCompleter, Fish, Shells, Zsh};

use super::{escape, tree};
use crate::config::{self, Config};
use crate::engine::Engine;
use crate::engine::container::ps::{self, Query, Status, Summary};
use crate::engine::image::images::{self as listing, ImagesQuery};

/// Answers the shell that set the variable.
pub(super) fn answer(_shell: &str) {
    let cwd = std::env::current_dir().ok();
    let _ = CompleteEnv::with_factory(tree_for_completion)
        .var(config::COMPLETION_VARIABLE)
        .bin("kelp")
        .completer("kelp")
        .shells(Shells(&[&Asked(Bash), &Asked(Zsh), &Asked(Fish)]))
        .try_complete(std::env::args_os(), cwd.as_deref());
    let _ = std::io::stdout().flush();
}

/// A shell that is offered flags only where one was begun, as docker does it: names are what is mostly wanted.
struct Asked<S>(S);

impl<S: EnvCompleter> EnvCompleter for Asked<S> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is(&self, name: &str) -> bool {
        self.0.is(name)
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        binary: &str,
        completer: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.0.write_registration(variable, name, binary, completer, out)
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let index = config::completion_index().unwrap_or(words.len().saturating_sub(1));
        let flag_begun = words.get(index).is_some_and(|w| w.as_encoded_bytes().starts_with(b"-"));
        named::leave_out(command, words.get(1..index).unwrap_or_default());
        let mut all = Vec::new();
        self.0.write_complete(command, words, directory, &mut all)?;
        if flag_begun {
            return out.write_all(&all);
        }
        // What stands between two candidates is the script's choice: a line feed, or bash's vertical tab.
        let mut separator: &[u8] = b"";
        for candidate in all.split_inclusive(|b| matches!(b, b'\n' | b'\x0b')) {
            let (text, end) = match candidate.split_last() {
                Some((b'\n' | b'\x0b', text)) => (text, &candidate[text.len()..]),
                _ => (candidate, &b""[..]),
            };
            if !text.starts_with(b"-") {
                out.write_all(separator)?;
                out.write_all(text)?;
                separator = if end.is_empty() { b"\n" } else { end };
            }
        }
        Ok(())
    }
}

/// The tree, with the image (or container) and the command behind it told apart: only the former has candidates.
fn tree_for_completion() -> clap::Command {
    fn split(command: clap::Command) -> clap::Command {
        let mut command = command.mut_subcommands(split);
        if command.get_arguments().any(|a| a.get_id() == "words") {
            command = command
                .mut_arg("words", |a| a.num_args(1).trailing_var_arg(false).action(clap::ArgAction::Set))
                .arg(Arg::new("command").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true));
        }
        command
    }
    split(tree::full())
}

fn engine() -> Option<Engine> {
    Engine::open_read_only(Config::load().ok()?).ok()?
}

fn containers_that(wanted: impl Fn(&Summary) -> bool) -> Vec<CompletionCandidate> {
    candidates(true, wanted)
}

/// Without `all` only those that run.
fn candidates(all: bool, wanted: impl Fn(&Summary) -> bool) -> Vec<CompletionCandidate> {
    let query = Query { all, ..Query::default() };
    let rows = engine().and_then(|engine| ps::list(&engine, &query).ok()).unwrap_or_default();
    rows.iter().filter(|row| wanted(row)).map(candidate).collect()
}

fn candidate(row: &Summary) -> CompletionCandidate {
    let help = escape::line(&row.image).into_owned();
    CompletionCandidate::new(row.name.as_str()).help(Some(StyledStr::from(help)))
}

pub(super) fn containers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| containers_that(|_| true))
}

pub(super) fn running() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(false, |row| row.status == Status::Running))
}

pub(super) fn stopped() -> ArgValueCandidates {
    ArgValueCandidates::new(|| containers_that(|row| matches!(row.status, Status::Created | Status::Exited)))
}

fn image_names() -> Vec<String> {
    let rows = engine().and_then(|engine| listing::images(&engine, &ImagesQuery::default()).ok());
    rows.unwrap_or_default()
        .into_iter()
        .filter_map(|row| Some(format!("{}:{}", row.repository?, row.tag?)))
        .collect()
}

/// Lists that `manifest` has made.
pub(super) fn lists() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let lists = engine().and_then(|engine| engine.store.image_lists().ok()).unwrap_or_default();
        let familiar = |name: String| name.parse::<crate::oci::Reference>().map_or(name, |r| r.familiar());
        lists.into_iter().map(|name| CompletionCandidate::new(familiar(name))).collect()
    })
}

pub(super) fn images() -> ArgValueCandidates {
    ArgValueCandidates::new(|| image_names().into_iter().map(CompletionCandidate::new).collect())
}

fn hosts() -> Vec<String> {
    Config::load().map(|config| config.known_registries()).unwrap_or_default()
}

/// Registries that are set up or have credentials.
pub(super) fn registries() -> ArgValueCandidates {
    ArgValueCandidates::new(|| hosts().into_iter().map(CompletionCandidate::new).collect())
}

/// Registries that there are credentials for.
pub(super) fn logged_in() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let known = Config::load().map(|config| config.credentials.hosts()).unwrap_or_default();
        known.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// How the name of something in a registry begins.
pub(super) fn repositories() -> ArgValueCandidates {
    ArgValueCandidates::new(|| hosts().into_iter().map(|host| CompletionCandidate::new(host + "/")).collect())
}

/// Images, then registries that they can come from or go to.
pub(super) fn images_and_registries() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let beginnings = hosts().into_iter().map(|host| host + "/");
        image_names().into_iter().chain(beginnings).map(CompletionCandidate::new).collect()
    })
}

/// What a container is made from: an image, or, where a path was begun, the directory that `--rootfs` wants.
pub(super) fn image_or_root() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let text = begun.to_string_lossy();
        if text.starts_with(['/', '.', '~']) {
            return PathCompleter::dir().complete(begun);
        }
        let names = image_names().into_iter().filter(|name| name.starts_with(text.as_ref()));
        names.map(CompletionCandidate::new).collect()
    })
}

/// Containers first, then images.
pub(super) fn objects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut all = containers_that(|_| true);
        all.extend(image_names().into_iter().map(CompletionCandidate::new));
        all.extend(network_names(true).into_iter().map(CompletionCandidate::new));
        all
    })
}

/// What `inspect --type` takes.
pub(super) fn kinds() -> ArgValueCandidates {
    words(&["container", "image", "network"])
}

fn words(words: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || words.iter().map(|w| CompletionCandidate::new(*w)).collect())
}

/// What `--network` takes.
pub(super) fn networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let running = candidates(false, |row| row.status == Status::Running);
        let joined = running.into_iter().map(|c| c.add_prefix("container:"));
        network_names(true).into_iter().map(CompletionCandidate::new).chain(joined).collect()
    })
}

fn network_names(builtin: bool) -> Vec<String> {
    engine().map(|engine| crate::engine::network::names(&engine, builtin)).unwrap_or_default()
}

pub(super) fn all_networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| network_names(true).into_iter().map(CompletionCandidate::new).collect())
}

/// Those that can be removed.
pub(super) fn made_networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| network_names(false).into_iter().map(CompletionCandidate::new).collect())
}

/// Those that containers are connected to.
pub(super) fn joinable_networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let joinable =
            network_names(true).into_iter().filter(|n| !["host", "none", "slirp"].contains(&n.as_str()));
        joinable.map(CompletionCandidate::new).collect()
    })
}

/// Containers that are not in the network that was typed already, and may be.
pub(super) fn connectable() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let network = typed_network("connect");
        containers_by_network(|networks| {
            let mode = networks.is_empty() || networks.iter().any(|n| *n == "host" || *n == "none");
            !mode && network.as_deref().is_none_or(|name| !networks.contains(&name))
        })
    })
}

/// Containers that are in the network that was typed.
pub(super) fn connected() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let network = typed_network("disconnect");
        containers_by_network(|networks| network.as_deref().is_none_or(|name| networks.contains(&name)))
    })
}

fn containers_by_network(wanted: impl Fn(&[&str]) -> bool) -> Vec<CompletionCandidate> {
    let query = Query { all: true, details: true, ..Query::default() };
    let rows = engine().and_then(|engine| ps::list(&engine, &query).ok()).unwrap_or_default();
    let networks =
        |row: &Summary| row.network.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
    rows.iter()
        .filter(|row| {
            let networks: Vec<String> = networks(row);
            wanted(&networks.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .map(candidate)
        .collect()
}

/// The network among the words before the one that is completed, which stand behind `--` and the command.
fn typed_network(command: &str) -> Option<String> {
    const WITH_VALUE: [&str; 6] = ["--alias", "--driver-opt", "--gw-priority", "--ip", "--ip6", "--link"];
    let mut words = std::env::args_os().skip_while(|w| w != command).skip(1);
    while let Some(word) = words.next() {
        let word = word.into_string().ok()?;
        if WITH_VALUE.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word).filter(|word| !word.is_empty());
        }
    }
    None
}

pub(super) fn network_filters() -> ArgValueCandidates {
    words(&["dangling=true", "driver=bridge", "id=", "label=", "name=", "type=builtin", "type=custom"])
}

pub(super) fn userns() -> ArgValueCandidates {
    words(&["host", "keep-id", "nomap"])
}

pub(super) fn uts() -> ArgValueCandidates {
    words(&["host"])
}

fn modes(fixed: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let running = candidates(false, |row| row.status == Status::Running);
        let joined = running.into_iter().map(|c| c.add_prefix("container:"));
        fixed.iter().map(|w| CompletionCandidate::new(*w)).chain(joined).collect()
    })
}

pub(super) fn pid() -> ArgValueCandidates {
    modes(&["host"])
}

pub(super) fn ipc() -> ArgValueCandidates {
    modes(&["private", "shareable", "none", "host"])
}

pub(super) fn security_options() -> ArgValueCandidates {
    words(&["no-new-privileges", "seccomp=unconfined", "seccomp=", "systempaths=unconfined"])
}

pub(super) fn ulimits() -> ArgValueCandidates {
    words(&[
        "as=",
        "core=",
        "cpu=",
        "data=",
        "fsize=",
        "locks=",
        "memlock=",
        "msgqueue=",
        "nice=",
        "nofile=",
        "nproc=",
        "rss=",
        "rtprio=",
        "rttime=",
        "sigpending=",
        "stack=",
    ])
}

pub(super) fn container_filters() -> ArgValueCandidates {
    words(&[
        "ancestor=",
        "before=",
        "exited=",
        "expose=",
        "health=none",
        "id=",
        "is-task=false",
        "label=",
        "name=",
        "network=",
        "publish=",
        "since=",
        "status=created",
        "status=exited",
        "status=running",
        "volume=",
    ])
}

pub(super) fn image_filters() -> ArgValueCandidates {
    words(&["before=", "dangling=false", "dangling=true", "label=", "reference=", "since=", "until="])
}

pub(super) fn prune_filters() -> ArgValueCandidates {
    words(&["label=", "label!=", "until="])
}

pub(super) fn signals() -> ArgValueCandidates {
    words(&[
        "TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH", "ABRT", "ALRM",
        "CHLD", "PIPE", "TSTP", "TTIN", "TTOU",
    ])
}

pub(super) fn capabilities() -> ArgValueCandidates {
    words(&[
        "ALL",
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "SYSLOG",
        "WAKE_ALARM",
    ])
}
