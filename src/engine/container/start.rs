//! `start`: a created or exited container runs (again).

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oci_spec::image::Config as ImageConfig;
use oci_spec::runtime::Spec;

use super::attach::{self, Attach, Ending};
use super::rm::{self, RmOptions};
use super::stored::Stored;
use super::{create, find, holder, network};
use crate::engine::request::{CreateRequest, MountRequest, NamespaceMode, UsernsMode};
use crate::engine::{Engine, Error, Result, spec};
use crate::runtime::handshake::UNMAPPED;
use crate::shim::launch::{Peer, Start};
use crate::shim::{self, client, protocol, terminal};
use crate::store::container::network::Addresses;
use crate::store::container::{ContainerRecord, Observed, REBOOTED, Status};
use crate::store::id::ContainerId;
use crate::store::lock::LifeLock;
use crate::store::{Error as StoreError, Layout, container, userns};

/// How long a shim may take to clear up after its container's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether what holds the lock is ending or starting.
const GLANCE: Duration = Duration::from_millis(50);

/// Starts, and stays attached if asked to. Starting a running container succeeds and does nothing, as with docker;
/// attached, it joins. `warn` hears what the user should be told.
pub fn start(
    engine: &Engine,
    container: &str,
    attach: Option<&Attach>,
    warn: &mut dyn FnMut(&[String]),
) -> Result<Ending> {
    let join = |record: &ContainerRecord| match attach {
        Some(attach) => attach::attach(engine, record.id.as_str(), attach),
        None => Ok(Ending::Detached),
    };
    let (record, observed) = find::find(engine, container)?;
    if observed.status == Status::Running {
        return join(&record);
    }
    let lock = engine.store.operation_lock(&record.id).map_err(|e| without_files(engine, &record, e))?;
    // Whoever held the lock before may have started it.
    let (record, observed) = find::find(engine, record.id.as_str())?;
    if observed.status == Status::Running {
        return join(&record);
    }
    refuse_torn(&record, &observed)?;
    let launched = launch(engine, &record, attach);
    drop(lock);
    let Some(started) = launched.inspect_err(|e| forget(engine, &record, e))? else { return join(&record) };
    warn(&started.warnings);
    started.follow(engine, &record, attach)
}

/// What a throw-away container wrote was not meant to survive, and nobody knows what of it the disk has.
fn refuse_torn(record: &ContainerRecord, observed: &Observed) -> Result<()> {
    if !record.auto_remove || observed.error != REBOOTED {
        return Ok(());
    }
    Err(Error::Conflict {
        verb: "start",
        container: record.name.to_string(),
        reason: format!("{REBOOTED} while it ran, and with --rm what it wrote is not kept for that"),
        hint: Some(format!("`kelp rm {}` removes what is left of it", record.name)),
    })
}

/// A container that is in the records still, and whose directory somebody took away.
fn without_files(engine: &Engine, record: &ContainerRecord, error: StoreError) -> Error {
    let dir = engine.store.container_dir(&record.id);
    let is_known = || find::find(engine, record.id.as_str()).is_ok();
    if !matches!(error, StoreError::NoSuchContainer(_)) || dir.exists() || !is_known() {
        return error.into();
    }
    Error::Conflict {
        verb: "start",
        container: record.name.to_string(),
        reason: format!("its directory {} is gone, and all that it had written", dir.display()),
        hint: Some(format!("`kelp rm {}` removes what is left of it", record.name)),
    }
}

/// A container whose program runs.
pub(super) struct Started {
    socket: OwnedFd,
    terminal: bool,
    pub warnings: Vec<String>,
}

impl Started {
    /// Stays until the end, where `attach` says so.
    pub(super) fn follow(
        self,
        engine: &Engine,
        record: &ContainerRecord,
        attach: Option<&Attach>,
    ) -> Result<Ending> {
        let Some(attach) = attach else { return Ok(Ending::Detached) };
        let options = attach::options(engine, record, attach, self.terminal)?;
        match client::attach_session(self.socket, &options) {
            // The shim was killed, and its container with it.
            Err(shim::Error::Gone) => super::wait::ending(engine, &record.id),
            other => Ok(attach::ending(other?)),
        }
    }
}

/// What a start hands over to the shim that waits for it.
#[derive(Debug)]
pub(super) struct Handover {
    pub waiting: shim::Waiting,
    pub life: LifeLock,
}

/// The shim for a container of this request.
pub(super) fn spawn(layout: &Layout, id: &ContainerId, request: &CreateRequest) -> Result<shim::Waiting> {
    Ok(shim::spawn(layout, id, request.guess())?)
}

/// Starts a container that exists, and waits until its program runs. `None`: somebody else's shim has it. The caller
/// holds the operation lock.
fn launch(engine: &Engine, record: &ContainerRecord, attach: Option<&Attach>) -> Result<Option<Started>> {
    let request = Stored::of(record)?.request()?;
    let waiting = spawn(engine.store.layout(), &record.id, &request)?;
    // Whoever has just ended may still be clearing up; whoever runs holds the lock for good.
    let Some(life) =
        engine.store.life_lock(&record.id)?.map_or_else(|| wait_for_end(engine, record), |l| Ok(Some(l)))?
    else {
        return Ok(None);
    };
    // With the lock: from now on nobody is given the addresses that the container has.
    let bundle = begin(engine, record, &request, attach, None)?;
    engine.store.mark_launched(&record.id)?;
    hand_over(engine, record, &request, Handover { waiting, life }, &bundle).map(Some)
}

/// The same for a container that this process has just made, and recorded as launched.
pub(super) fn launch_new(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CreateRequest,
    shim: Handover,
    attach: Option<&Attach>,
    addresses: Option<Addresses>,
) -> Result<Started> {
    let bundle = match begin(engine, record, request, attach, Some(addresses)) {
        Ok(bundle) => bundle,
        Err(error) => {
            let _ = engine.store.record_failed_start(&record.id, None, &crate::error::chain(&error));
            return Err(error);
        }
    };
    hand_over(engine, record, request, shim, &bundle)
}

fn hand_over(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CreateRequest,
    shim: Handover,
    bundle: &[u8],
) -> Result<Started> {
    let socket = shim.waiting.launch(shim.life, bundle)?;
    match protocol::receive_started(socket.as_fd()) {
        Ok((_, warnings)) => Ok(Started { socket, terminal: request.tty, warnings }),
        Err(shim::Error::Refused { status, message, hint, taken }) => {
            let message = holder::named(engine, message, taken);
            let hint = why_unmapped(&message).or(hint);
            // Why it does not start is what the user has to know; the rest is found by the next command.
            let _ = engine.store.record_failed_start(&record.id, Some(i32::from(status.code())), &message);
            Err(Error::Start { status, message, hint })
        }
        Err(e) => Err(e.into()),
    }
}

/// The hint for an id that is not mapped, where the user's containers have a single id for a reason of the machine's.
fn why_unmapped(message: &str) -> Option<String> {
    let why = message.ends_with(UNMAPPED).then(userns::lacking_range)?.ok()??;
    Some(format!(
        "{why}, so your containers have a single id: it takes newuidmap and newgidmap, set-uid root (Debian, Ubuntu: apt \
         install uidmap), and a range in /etc/subuid and /etc/subgid; then stop all containers"
    ))
}

/// A `--rm` container that does not start goes; mostly its shim has seen to that. Without the operation lock.
pub(super) fn forget(engine: &Engine, record: &ContainerRecord, error: &Error) {
    // After any other error the shim may live.
    let started_nothing = matches!(
        error,
        Error::Start { .. } | Error::Invalid { .. } | Error::Conflict { .. } | Error::NoSuchContainer(_)
    );
    if record.auto_remove && started_nothing {
        let _ = rm::rm(engine, record.id.as_str(), RmOptions { force: true });
    }
}

/// The life lock once the shim that has it is gone; `None` when that one has just started the container.
fn wait_for_end(engine: &Engine, record: &ContainerRecord) -> Result<Option<LifeLock>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, observed) = find::find(engine, record.id.as_str())?;
        if observed.status == Status::Running {
            return Ok(None);
        }
        let lock = engine.store.wait_life_lock(&record.id, GLANCE)?;
        if lock.is_some() || Instant::now() > deadline {
            return Ok(lock);
        }
    }
}

/// What the shim is handed. `fresh`: the container has just been made, with these addresses.
fn begin(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CreateRequest,
    attach: Option<&Attach>,
    fresh: Option<Option<Addresses>>,
) -> Result<Vec<u8>> {
    let stored = Stored::of(record)?;
    let mut start = Start {
        attach: attach.map(attach::streams),
        size: request.tty.then(terminal::size).flatten(),
        name: record.name.to_string(),
        ..Start::default()
    };
    make_sources(request)?;
    start.members = network::members(engine, &record.id, record.name.as_str(), request)?;
    start.without_own = request.left_slirp;
    start.dns = request.name_servers();
    start.addresses = fresh
        .unwrap_or_else(|| network::addresses(request))
        .or_else(|| network::way_out(&start.members).map(network::addresses_of));
    if !create::joins(request) {
        if fresh.is_none() {
            start.texts = network::texts(record, request, start.addresses, &start.members);
        }
        return stored.bundle(&start, None);
    }
    start.join_pid = peer(engine, &request.pid)?;
    refuse_inner(engine, &request.ipc)?;
    start.join_ipc = peer(engine, &request.ipc)?;
    start.join_uts = peer(engine, &request.uts)?;
    let sharing = network::sharing(engine, record, request)?;
    start.join_network = sharing.as_ref().map(|s| s.peer);
    let spec = joined_spec(engine, record, request, stored.image()?.as_ref(), &start, sharing)?;
    stored.bundle(&start, Some(&spec))
}

/// `-v` makes a source directory that does not exist, as docker does; it is the user's own.
fn make_sources(request: &CreateRequest) -> Result<()> {
    for mount in &request.mounts {
        let MountRequest::Bind { source, create_source: true, .. } = mount else { continue };
        if !source.exists() {
            std::fs::create_dir_all(source).map_err(|e| Error::Invalid {
                what: "bind source",
                value: source.display().to_string(),
                reason: format!("it does not exist and cannot be made: {e}"),
            })?;
        }
    }
    Ok(())
}

/// The first process of the container that a namespace is shared with, which must run.
fn peer(engine: &Engine, mode: &NamespaceMode) -> Result<Option<Peer>> {
    let NamespaceMode::Container(name) = mode else { return Ok(None) };
    let (other, observed) = find::running(engine, name, "join the namespaces of")?;
    process_of(&observed).map(Some).ok_or_else(|| find::not_running(&other, "join the namespaces of"))
}

/// `/dev/shm` comes along with the IPC namespace, and a container with a user namespace of its own shows none of its
/// files to others.
fn refuse_inner(engine: &Engine, ipc: &NamespaceMode) -> Result<()> {
    let NamespaceMode::Container(name) = ipc else { return Ok(()) };
    let (other, _) = find::find(engine, name)?;
    match Stored::of(&other)?.request()?.userns {
        UsernsMode::Host => Ok(()),
        own => Err(Error::Invalid {
            what: "IPC mode",
            value: format!("container:{}", other.name),
            reason: format!(
                "{} was made with --userns {}, and only its own processes see its /dev/shm",
                other.name,
                own.words()
            ),
        }),
    }
}

pub(super) fn process_of(observed: &Observed) -> Option<Peer> {
    let pid = observed.pid?;
    Some(Peer { pid, start: container::process_start(pid)? })
}

/// The spec names the namespaces that are joined by the pid that their owner has this time.
fn joined_spec(
    engine: &Engine,
    record: &ContainerRecord,
    request: &CreateRequest,
    image: Option<&ImageConfig>,
    start: &Start,
    sharing: Option<network::Sharing>,
) -> Result<Spec> {
    let ids = crate::store::userns::id_map(&engine.store)?;
    let mut place = create::place(&record.id, &ids, request)?;
    place.addresses = start.addresses;
    place.others = network::others(start.addresses, &start.members);
    place.shared = sharing.map(|s| s.texts);
    let path = |peer: &Option<Peer>, name: &str| peer.map(|p| format!("/proc/{}/ns/{name}", p.pid).into());
    place.join_pid = path(&start.join_pid, "pid");
    place.join_ipc = path(&start.join_ipc, "ipc");
    place.join_uts = path(&start.join_uts, "uts");
    place.join_network = path(&start.join_network, "net");
    spec::build(request, image, &place)
}
