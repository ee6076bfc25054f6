//! `create`: a container exists and has never run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::image::Config as ImageConfig;

use super::origin::Origin;
use super::stored::Parts;
use super::{find, network};
use crate::config;
use crate::engine::request::{CreateRequest, NamespaceMode, NetworkMode, SeccompChoice, UsernsMode};
use crate::engine::spec::{self, Place};
use crate::engine::{Engine, Error, Result};
use crate::shim::launch::{Launch, Seccomp};
use crate::snapshot::{self, Recipe, Snapshotter};
use crate::store;
use crate::store::container::network::Addresses;
use crate::store::container::{ContainerRecord, Phase, Status};
use crate::store::id::{ContainerId, Name};
use crate::store::names;
use crate::store::userns;

/// How long a name is waited for whose `--rm` container is just going.
const PATIENCE: Duration = Duration::from_secs(5);
/// Generated names that are taken before giving up.
const NAME_TRIES: usize = 20;
/// Times that an image may vanish and come back while a container is made from it.
const IMAGE_TRIES: usize = 5;

/// A new container, and what the user should be told about it (one line each, for stderr).
#[derive(Debug)]
pub struct Created {
    pub id: ContainerId,
    pub warnings: Vec<String>,
}

/// Makes the record, the directory and the writable layer. Nothing is left behind on failure.
pub fn create(engine: &Engine, request: CreateRequest) -> Result<Created> {
    let draft = Draft::new(engine, new_id()?, request)?;
    let (record, ()) = draft.commit(engine, Phase::Created, |_| Ok(()))?;
    Ok(Created { id: record.id, warnings: draft.warnings })
}

/// The id of a container to be.
pub(super) fn new_id() -> Result<ContainerId> {
    ContainerId::random().ok_or_else(|| no_randomness("a container id"))
}

/// A container decided and checked, of which nothing exists yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub request: CreateRequest,
    record: ContainerRecord,
    named: bool,
    recipe: Recipe,
    snapshotter: Snapshotter,
    /// Chosen just now, so the start need not do it again.
    pub addresses: Option<Addresses>,
    pub warnings: Vec<String>,
}

impl Draft {
    pub(super) fn new(engine: &Engine, id: ContainerId, request: CreateRequest) -> Result<Self> {
        let leases = matches!(request.network, NetworkMode::Networks(_)).then(|| id.clone());
        Self::decide(engine, id, request).inspect_err(|_| {
            if let Some(id) = &leases {
                let _ = engine.store.release_unmade(id);
            }
        })
    }

    fn decide(engine: &Engine, id: ContainerId, mut request: CreateRequest) -> Result<Self> {
        written_down(engine)?;
        let named = request.name.is_some();
        let name = match &request.name {
            Some(name) => name.parse().map_err(store::Error::from)?,
            None => random_name()?,
        };
        let origin = Origin::find(engine, &request)?;
        let config = origin.config.as_ref();
        let ids = userns::id_map(&engine.store)?;
        let mut place = place(&id, &ids, &request)?;
        join_later(engine, &mut request, &mut place)?;
        network::refuse_strange_outbound(&request)?;
        network::refuse_routed(&request)?;
        let about_links = network::linked(engine, name.as_str(), &request)?;
        let members = network::members(engine, &id, name.as_str(), &request)?;
        place.addresses = place.addresses.or_else(|| network::way_out(&members).map(network::addresses_of));
        place.others = network::others(place.addresses, &members);
        let built = spec::build(&request, config, &place)?;
        let command = spec::command(&request, config)?;
        let mut record = origin.record(id, name, command, &request);
        let recipe = origin.recipe(&request);
        let shifted = place.ids.as_ref().is_some_and(spec::ids::Ids::are_shifted);
        let snapshotter = snapshotter(engine, &request, &recipe, shifted)?;
        let launch = launch_of(engine, &request, &record, (recipe.clone(), snapshotter), config)?;
        let image = config.filter(|_| joins(&request));
        record.request = json(&Parts { request: &request, launch: &launch, spec: &built, image })?;
        let mut warnings = weakness(&ids, &request)?;
        warnings.extend(makeshift(engine, &request, snapshotter, &origin.layers));
        warnings.extend(network::unpublished(&request, &members));
        warnings.extend(network::hostless(&request, place.addresses.is_some()));
        warnings.extend(about_links);
        warnings.extend(origin.foreign());
        Ok(Self { named, recipe, snapshotter, addresses: place.addresses, warnings, record, request })
    }

    /// Makes the container exist in `phase`; `last` has the last word on its directory while nobody sees it.
    pub(super) fn commit<T>(
        &self,
        engine: &Engine,
        phase: Phase,
        last: impl Fn(&Path) -> store::Result<T>,
    ) -> Result<(ContainerRecord, T)> {
        self.record_it(engine, phase, last).inspect_err(|_| {
            if matches!(self.request.network, NetworkMode::Networks(_)) {
                let _ = engine.store.release_unmade(&self.record.id);
            }
        })
    }

    fn record_it<T>(
        &self,
        engine: &Engine,
        phase: Phase,
        last: impl Fn(&Path) -> store::Result<T>,
    ) -> Result<(ContainerRecord, T)> {
        let mut record = ContainerRecord { phase, ..self.record.clone() };
        let fill = |dir: &Path| self.fill(engine, dir).and_then(|()| last(dir));
        // A copy is worth making only for a name that is free.
        if self.snapshotter == Snapshotter::Copy && self.named {
            refuse_taken(engine, &self.record.name)?;
        }
        let mut overtaken = 0;
        for _ in 0..NAME_TRIES {
            match engine.store.create_container(&record, fill) {
                Err(store::Error::NameTaken { .. }) if !self.named => record.name = random_name()?,
                Err(store::Error::NameTaken { holder, .. }) if about_to_go(engine, &holder)? => {}
                // The image was removed since it was looked up, and perhaps brought back by now.
                Err(e @ store::Error::MissingContent { .. }) => {
                    let id = record.image_id.as_deref().unwrap_or_default();
                    match engine.store.find_image(id) {
                        Err(store::Error::NoSuchImage(_)) => return Err(Error::NoSuchImage(record.image)),
                        Ok(_) if overtaken < IMAGE_TRIES => overtaken += 1,
                        _ => return Err(e.into()),
                    }
                }
                Err(e) => return Err(e.into()),
                Ok(filled) => return Ok((record, filled)),
            }
        }
        let holder = engine.store.find_container(record.name.as_str())?.id;
        Err(store::Error::NameTaken { name: record.name.to_string(), holder }.into())
    }

    fn fill(&self, engine: &Engine, dir: &Path) -> store::Result<()> {
        snapshot::create(&engine.store, &self.recipe, self.snapshotter, dir).map_err(snapshot_refused)
    }
}

fn snapshot_refused(error: snapshot::Error) -> store::Error {
    match error {
        snapshot::Error::Sys(e) => e.into(),
        snapshot::Error::MissingLayer(digest) => store::Error::MissingContent { what: "layer", digest },
        other => {
            use crate::error::Hint;
            store::Error::Job { message: crate::error::chain(&other), hint: other.hint() }
        }
    }
}

/// Refuses a name that another container has, and keeps.
pub(super) fn refuse_taken(engine: &Engine, name: &Name) -> Result<()> {
    match engine.store.find_container(name.as_str()) {
        Ok(other) if other.name == *name && !about_to_go(engine, &other.id)? => {
            Err(store::Error::NameTaken { name: name.to_string(), holder: other.id }.into())
        }
        _ => Ok(()),
    }
}

/// A `--rm` container that has ended keeps its name and its image until it is removed, which is done for several
/// at a time. Here it is wanted now: removed or waited for. `true` once it is gone.
pub(in crate::engine) fn about_to_go(engine: &Engine, holder: &ContainerId) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let record = match engine.store.find_container(holder.as_str()) {
            Err(store::Error::NoSuchContainer(_)) => return Ok(true),
            other => other?,
        };
        let ended = match engine.store.observe(&record) {
            Err(store::Error::NoSuchContainer(_)) => true,
            // Its shim was killed before it could tell the end.
            other => record.auto_remove && other?.status == Status::Exited,
        };
        if !ended || Instant::now() > deadline {
            return Ok(false);
        }
        match super::rm::remove(engine, &record) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Somebody is at it.
            Err(e) if e.is_missing() => std::thread::sleep(Duration::from_millis(1)),
            Err(e) => return Err(e),
        }
    }
}

fn launch_of(
    engine: &Engine,
    request: &CreateRequest,
    record: &ContainerRecord,
    (recipe, snapshotter): (Recipe, Snapshotter),
    config: Option<&ImageConfig>,
) -> Result<Launch> {
    let seccomp = match &request.seccomp {
        _ if request.privileged => Seccomp::Unconfined,
        SeccompChoice::Default => Seccomp::Default,
        SeccompChoice::Unconfined => Seccomp::Unconfined,
        SeccompChoice::Profile(text) => Seccomp::Profile(text.clone()),
    };
    Ok(Launch {
        recipe,
        snapshotter,
        terminal: request.tty,
        stdin: request.interactive,
        stdin_once: request.stdin_once,
        auto_remove: request.auto_remove,
        seccomp,
        cache: engine.config.cache.clone(),
        stop_signal: spec::stop_signal(request, config)?,
        stop_timeout: request.stop_timeout,
        image: record.image.clone(),
        labels: record.labels.clone(),
        host_pids: request.pid == NamespaceMode::Host,
        network: match &request.network {
            NetworkMode::Slirp(slirp) => Some(slirp.clone()),
            _ => None,
        },
        publish: network::publish(request, config)?,
        expose: network::exposed(request, config),
    })
}

/// Who makes the root. Other owners than those on disk are shown by our own overlay alone, which is therefore taken
/// unless the user chose another for this container.
fn snapshotter(
    engine: &Engine,
    request: &CreateRequest,
    recipe: &Recipe,
    shifted: bool,
) -> Result<Snapshotter> {
    if !shifted || spec::ids::is_hosts_own(request) {
        return engine.snapshotter(request.snapshotter, recipe);
    }
    let refused = |reason: &str| {
        Err(Error::Invalid { what: "USER mode", value: request.userns.words(), reason: reason.into() })
    };
    match request.snapshotter {
        Some(config::Snapshotter::Overlay | config::Snapshotter::Copy) => refused(
            "only --snapshotter fuse can show an image's files under other ids: leave --snapshotter out",
        ),
        _ if !fuse_is_there() => refused(
            "an image's files are shown under other ids by way of /dev/fuse, which you may not read and write (as root: \
             modprobe fuse; chmod 666 /dev/fuse); without --userns they need no other ids",
        ),
        _ => {
            snapshot::require(&engine.store, Snapshotter::Fuse)?;
            Ok(Snapshotter::Fuse)
        }
    }
}

fn fuse_is_there() -> bool {
    use rustix::fs::Access;
    rustix::fs::access("/dev/fuse", Access::READ_OK | Access::WRITE_OK).is_ok()
}

pub(super) fn place(id: &ContainerId, ids: &userns::IdMap, request: &CreateRequest) -> Result<Place> {
    let mut place = Place::new(id.as_str());
    place.addresses = network::addresses(request);
    place.largest_gid = ids.gids.iter().map(|e| e.inside.saturating_add(e.count - 1)).max();
    place.ids = spec::ids::of(request, ids)?;
    Ok(place)
}

/// Whether the spec depends on a process that only `start` knows.
pub(super) fn joins(request: &CreateRequest) -> bool {
    let modes = [&request.pid, &request.ipc, &request.uts];
    matches!(request.network, NetworkMode::Container(_))
        || modes.iter().any(|mode| matches!(mode, NamespaceMode::Container(_)))
}

/// Says which namespaces are those of other containers. The request has their ids from here on, as with docker: a name
/// may be another's when the container starts.
fn join_later(engine: &Engine, request: &mut CreateRequest, place: &mut Place) -> Result<()> {
    for (mode, path) in [
        (&mut request.pid, &mut place.join_pid),
        (&mut request.ipc, &mut place.join_ipc),
        (&mut request.uts, &mut place.join_uts),
    ] {
        if let NamespaceMode::Container(word) = mode {
            *path = Some(joined(engine, word)?);
        }
    }
    if let NetworkMode::Container(word) = &mut request.network {
        place.join_network = Some(joined(engine, word)?);
    }
    Ok(())
}

/// The container must exist; whose process it is then, `start` finds out and writes into the spec.
fn joined(engine: &Engine, word: &mut String) -> Result<PathBuf> {
    let (other, _) = find::find(engine, word)?;
    *word = other.id.to_string();
    Ok(PathBuf::from("/proc/0/ns/later"))
}

/// What the user should know about the ids that containers get.
fn weakness(ids: &userns::IdMap, request: &CreateRequest) -> Result<Vec<String>> {
    if ids.has_real_root() {
        return Ok(vec![
            "/etc/subuid has no range for root: root in the container is root of this machine, held by capabilities \
             and seccomp alone (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root)"
                .into(),
        ]);
    }
    Ok(if ids.is_single() { vec![single_id_notice(request)?] } else { Vec::new() })
}

/// What it costs that nothing better than the copy driver works here, which nobody asked for.
fn makeshift(
    engine: &Engine,
    request: &CreateRequest,
    snapshotter: Snapshotter,
    layers: &[String],
) -> Option<String> {
    let asked = request.snapshotter.unwrap_or(engine.config.snapshotter);
    if snapshotter != Snapshotter::Copy || asked != config::Snapshotter::Auto {
        return None;
    }
    let cost = snapshot::cost_of_copying(&engine.store, layers);
    Some(format!(
        "neither the kernel's overlay nor the one over FUSE works here, as `kelp info` explains: {cost} (--snapshotter copy says \
         that this is meant)"
    ))
}

fn single_id_notice(request: &CreateRequest) -> Result<String> {
    let why =
        userns::lacking_range()?.map_or("the running containers have no more".into(), |why| why.to_string());
    let (who, missing) = match request.userns {
        UsernsMode::Host => ("root exists", ""),
        _ => ("you exist", ", not even root, and all files of the image are yours"),
    };
    Ok(format!(
        "{why}: containers get a single id, so only {who} in them{missing} (Debian, Ubuntu: apt install uidmap, and a \
         range in /etc/subuid and /etc/subgid)"
    ))
}

fn random_name() -> Result<Name> {
    names::random().ok_or_else(|| no_randomness("a container name"))
}

fn no_randomness(what: &'static str) -> Error {
    Error::Invalid { what, value: String::new(), reason: "the kernel gives no random numbers".into() }
}

/// An OCI runtime spec is JSON, and names paths of the store.
fn written_down(engine: &Engine) -> Result<()> {
    let root = engine.store.root();
    if root.to_str().is_some() {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "store",
        value: root.display().to_string(),
        reason:
            "its path is not UTF-8, which that of containers has to be: set `store` in config.toml to another"
                .into(),
    })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Invalid {
        what: "request",
        value: String::new(),
        reason: format!("cannot be written down: {e}"),
    })
}
