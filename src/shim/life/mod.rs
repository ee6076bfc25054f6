//! A shim's life with its container, from root to exit record.
//!
//! The order at the end is a promise. The exit is written to `state.jsonl`, then the clients hear of it, then
//! the database, and only then is the life lock let go: whoever asks in between is told the truth by the state file.
//! What ended with `--rm` is not recorded any more: its state file and the free lock say that it is to be removed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::runtime::Spec;

use super::exec::{self, Execs};
use super::launch::{Bundle, Launch, Peer, Seccomp, Start};
use super::log::Writer;
use super::network;
use super::network::ahead::{self, Made};
use super::network::change::{Changes, member_state};
use super::network::member::{self, Membership};
use super::network::process::{Carrier, Given};
use super::network::way::Way;
use super::oom::Kills;
use super::protocol::{self, Failure, Reply};
use super::root;
use super::server::{self, FirstClient, Running, Stdio};
use super::spawn::{refused, refused_by_store};
use super::waiting::Ready;
use crate::runtime::from_spec::annotation;
use crate::runtime::from_spec::{Facts, Planned};
use crate::runtime::handshake::{News, ShimEnd};
use crate::runtime::init::{self, Joins, ProcessStdio, Surroundings};
use crate::runtime::plan::{Namespace, Plan};
use crate::runtime::seccomp;
use crate::snapshot::{self, MountPlan};
use crate::store::container::{Exit, Network, ShimState, ended};
use crate::store::events::Event;
use crate::store::id::ContainerId;
use crate::store::{Layout, Store};
use crate::sys::process::{self, Child, WaitStatus};
use crate::sys::{self, Context, tun};

type Result<T> = std::result::Result<T, Failure>;

/// How much a shim stands back when it clears up, see nice(2).
const CLEARING_UP: i32 = 10;
/// A shim and what it was given to start.
#[derive(Debug)]
pub(super) struct Shim {
    pub layout: Layout,
    pub id: ContainerId,
    pub dir: PathBuf,
    pub client: OwnedFd,
    /// Held until nothing is left to be done.
    pub life: OwnedFd,
    pub program: OwnedFd,
    pub ready: Ready,
}

/// A container that runs.
struct Started {
    child: Child,
    /// Who serves its files, where they are not the kernel's business.
    files: Option<Child>,
    /// Who carries its packets.
    carrier: Way,
    /// Its mount namespace: held, so that whoever waits for its end does not wait for all the unmounting.
    mounts: Option<OwnedFd>,
    stdio: Stdio,
    first: Option<FirstClient>,
    listener: OwnedFd,
    log: Writer,
    plan: Plan,
    spec: Spec,
    launch: Launch,
    filter: Option<Vec<u8>>,
    warnings: Vec<String>,
    state: ShimState,
}

impl Shim {
    /// Starts the container and stays with it to its end. `settings` is the file of a [`Bundle`].
    pub(super) fn run(mut self, settings: OwnedFd) {
        let bundle = match read_bundle(settings) {
            Ok(bundle) => bundle,
            Err(failure) => return self.give_up(failure, false),
        };
        let auto_remove = bundle.launch.auto_remove;
        match self.start_container(bundle) {
            Ok(started) => self.serve(started),
            Err(failure) => self.give_up(failure, auto_remove),
        }
    }

    fn start_container(&mut self, bundle: Bundle) -> Result<Started> {
        let Bundle { start, launch, mut spec } = bundle;
        replace_texts(&mut spec, &start);
        let mounts = self.mount_plan(&launch)?;
        let facts = Facts { rootfs: root::rootfs_of(&mounts), tty_gid: self.ready.tty_gid, seccomp: None };
        let Planned { mut plan, mut warnings } =
            Plan::from_spec(&spec, facts).map_err(|e| refused("carry out the container's settings", &e))?;
        let filter = filter(&launch, plan.process.capabilities.permitted)?;
        plan.process.seccomp.clone_from(&filter);
        if plan.namespaces.pid == Namespace::Host {
            process::adopt_orphans().map_err(|e| refused("adopt orphans", &e))?;
        }
        let (ours, theirs) = stdio(&launch, &start)?;
        let user = self.user_namespace(&plan)?;
        let Networked { made, kept, carried, joining } =
            self.network(&plan, &launch, &start, user.as_ref())?;
        let (root, files) = root::files_of(&mounts, user.as_ref())?.map(|f| (f.mount, f.process)).unzip();
        // In the mount namespace of the first process nothing else is reached through this directory.
        let surroundings = Surroundings {
            user,
            attach: self.layout.staging_dir(),
            root,
            joins: joins(&start, made)?,
            stdio: theirs,
        };
        let (child, talk) = init::start(&plan, surroundings).map_err(|e| explain_namespace(&e))?;
        // What no mount waits for is done while the first process makes them. The socket is there before the state that
        // says so: who reads of a running container and finds nobody listening takes it for one that has just ended.
        let listener = server::listen(&self.dir).map_err(|e| refused("listen for clients", &e))?;
        let state =
            self.write_started(&child, network_state(&plan, &launch, &start, carried.as_ref(), &joining))?;
        let kill = || {
            let _ = process::signal(&child.pidfd, libc::SIGKILL);
            let _ = process::wait_pid(child.pid);
        };
        let way = || -> Result<Way> {
            let own =
                carried.map(|given| Carrier::start(given).map_err(|e| refused("start the network", &e)));
            let own = own.transpose()?;
            let memberships = joining.into_iter().map(Membership::join).collect::<Result<_>>()?;
            Ok(Way::new(own, memberships, kept))
        };
        let carrier = way().inspect_err(|_| kill())?;
        let mounts = process::namespace(child.pid, "mnt").ok();
        let log = Writer::open(&self.dir).map_err(|e| refused("open the log", &e))?;
        // Those whose pid namespace it joins can hold it up.
        let joined = plan.namespaces.pid == Namespace::Joined;
        let master =
            await_exec(&talk, &mut warnings, joined.then_some(exec::PATIENCE)).inspect_err(|_| kill())?;
        let stdio = match (ours, master) {
            (OurStdio::Pipes { stdin, stdout, stderr }, _) => Stdio::Pipes { stdin, stdout, stderr },
            (OurStdio::Terminal, Some(master)) => Stdio::Pty { master, stdin: launch.stdin },
            (OurStdio::Terminal, None) => return Err(plain("the container's terminal did not arrive")),
        };
        self.tell_start(&start, &launch);
        let first = self.first_client(&start);
        Ok(Started {
            child,
            files,
            carrier,
            mounts,
            stdio,
            first,
            listener,
            log,
            plan,
            spec,
            launch,
            filter,
            warnings,
            state,
        })
    }

    /// The user namespace, where the container has one of its own.
    fn user_namespace(&mut self, plan: &Plan) -> Result<Option<OwnedFd>> {
        let Some(ids) = &plan.namespaces.user else { return Ok(None) };
        // What was guessed belongs to another one, and from here on this process must have one thread.
        ahead::forget(self.ready.network.take());
        root::user_namespace(ids).map(Some)
    }

    /// The network namespace, and what is needed to carry its packets.
    fn network(
        &mut self,
        plan: &Plan,
        launch: &Launch,
        start: &Start,
        user: Option<&OwnedFd>,
    ) -> Result<Networked> {
        let guessed = self.ready.network.take();
        if plan.namespaces.network != Namespace::New {
            ahead::forget(guessed);
            return Ok(Networked { made: None, kept: None, carried: None, joining: Vec::new() });
        }
        let slirp = launch.network.as_ref().filter(|_| !start.without_own);
        let addresses = slirp.map(|slirp| start.addresses.unwrap_or_else(|| network::choose(slirp)));
        let open = slirp.is_some() || start.members.iter().any(|m| !m.network.internal);
        let mut ports = if open { network::open(&launch.publish)? } else { Vec::new() };
        let wanted = slirp.zip(addresses.as_ref());
        let Made { namespace, tun } =
            ahead::settle(guessed, wanted, user).map_err(|e| explain_network(&e))?;
        let keep = |fd: &OwnedFd| fd.try_clone().map_err(|e| refused("keep the network namespace", &e));
        let kept = keep(&namespace)?;
        let mut joining = Vec::with_capacity(start.members.len());
        for member in &start.members {
            // They are the first network's that leads out, where the container has none of its own.
            let others = slirp.is_some() || member.network.internal;
            joining.push(member::Given {
                layout: self.layout.clone(),
                program: keep(&self.program)?,
                namespace: keep(&kept)?,
                ports: if others { Vec::new() } else { std::mem::take(&mut ports) },
                member: member.clone(),
            });
        }
        let carried = match tun.zip(slirp.zip(addresses)) {
            Some((tun, (slirp, addresses))) => Some(Given {
                tun,
                namespace: keep(&kept)?,
                slirp: slirp.clone(),
                addresses,
                hostname: plan.hostname.clone().unwrap_or_default(),
                ports,
            }),
            None => None,
        };
        Ok(Networked { made: Some(namespace), kept: Some(kept), carried, joining })
    }

    fn mount_plan(&self, launch: &Launch) -> Result<MountPlan> {
        let (recipe, snapshotter) = (&launch.recipe, launch.snapshotter);
        let plan = snapshot::plan(&self.layout, recipe, &self.dir, snapshotter, launch.auto_remove);
        plan.map_err(|e| {
            use crate::error::Hint;
            Failure { hint: e.hint(), ..refused("find the root file system", &e) }
        })
    }

    /// Written before the program may run, so that no running program is unknown.
    fn write_started(&self, child: &Child, network: Option<Network>) -> Result<ShimState> {
        let own = std::process::id();
        let state = ShimState {
            boot_id: self.ready.boot_id.clone(),
            shim_pid: own,
            shim_start: self.ready.started,
            init_pid: child.pid,
            init_start: process::start_time(child.pid).unwrap_or_default(),
            started: Some(Timestamp::now()),
            exit: None,
            network,
        };
        self.layout.write_state(&self.id, &state).map_err(|e| refused_by_store(&e))?;
        Ok(state)
    }

    /// An event that cannot be written does not undo what happened.
    fn tell_start(&self, start: &Start, launch: &Launch) {
        let event = Event::about(&self.id, &start.name, &launch.image, launch.labels.clone(), "start");
        let _ = self.layout.append_event(&event);
    }

    fn serve(self, started: Started) {
        let Started {
            child,
            files,
            mut carrier,
            mounts,
            stdio,
            first,
            listener,
            log,
            plan,
            spec,
            launch,
            filter,
            warnings,
            mut state,
        } = started;
        let reply = Reply::Started { pid: child.pid, warnings };
        let _ = protocol::send_reply(self.client.as_fd(), &reply);
        let kills = Kills::begin();
        let changes = Changes {
            layout: &self.layout,
            id: &self.id,
            program: &self.program,
            mounts: mounts.as_ref(),
            state: &mut state,
            publish: &launch.publish,
        };
        let mut execs =
            Execs { init: &child.pidfd, namespaces: plan.namespaces.clone(), spec, filter, changes };
        let init = plan.init;
        drop(plan);
        let ended = child.pidfd.try_clone().map_err(|e| refused("keep the pidfd", &e)).and_then(|pidfd| {
            let stdin_once = launch.stdin_once;
            let needs = files.as_ref().map(|f| f.pidfd.try_clone()).transpose();
            let needs = needs.map_err(|e| refused("keep the pidfd", &e))?;
            let running = Running {
                pidfd,
                needs,
                carrier: &mut carrier,
                stdio,
                listener,
                first,
                log,
                handler: &mut execs,
                stdin_once,
            };
            server::serve(running).map_err(|e| refused("serve the container", &e))
        });
        if ended.is_err() {
            // Without its shim's loop the container has neither log nor clients; it does not go on unseen.
            let _ = process::signal(&child.pidfd, libc::SIGKILL);
            let _ = process::wait_pid(child.pid);
        }
        let code = ended.as_ref().map_or(137, |ended| i32::from(ended.status.code()));
        let served: Vec<u32> = files.iter().map(|f| f.pid).chain(carrier.pid()).collect();
        end_stragglers(&execs, &served);
        // Whoever hears of the end may have its ports.
        if carrier.holds_ports() {
            std::mem::take(&mut carrier).end();
        }
        let exit = Exit {
            code,
            signal: ended.as_ref().ok().and_then(|e| e.status.signal()),
            oom_killed: ended.as_ref().is_ok_and(|e| ran_out_of_memory(e, init, kills.as_ref())),
            finished: Timestamp::now(),
            error: ended.as_ref().err().map(|f| f.message.clone()).unwrap_or_default(),
        };
        state.exit = Some(exit.clone());
        // A full disk can refuse this; the database is asked next, and the lock says the rest.
        let told = self.layout.write_state(&self.id, &state).is_ok();
        if let Ok(ended) = ended {
            ended.tell(u8::try_from(code).unwrap_or(255));
            // A woken client is put on this processor, and its turn is before all that follows, as is everybody's.
            let _ = rustix::process::nice(CLEARING_UP);
            rustix::thread::sched_yield();
        }
        carrier.end();
        drop(mounts);
        if let Some(files) = files {
            root::end_of(&files);
        }
        match (launch.auto_remove, told) {
            (true, true) => self.leave(),
            (auto_remove, _) => self.record_end(&exit, state.started, auto_remove),
        }
    }

    fn first_client(&self, start: &Start) -> Option<FirstClient> {
        let attach = start.attach?;
        let socket = self.client.try_clone().ok()?;
        Some(FirstClient { socket, attach })
    }

    /// The container goes, by this shim's hands or by another's.
    fn leave(self) {
        drop(self.life);
        // Whatever is left, the next one takes.
        let _ = ended::remove_ended(&self.layout);
    }

    fn record_end(&self, exit: &Exit, started: Option<Timestamp>, auto_remove: bool) {
        // Without the database the next command finds state.jsonl and records the end itself.
        let Ok(store) = Store::reopen(self.layout.clone()) else { return };
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        let _ = store.record_exit(&self.id, exit, started);
        if auto_remove {
            self.remove(&store);
        }
        // Nobody waits for this process any more; the next command is spared a long log.
        let _ = store.tidy();
    }

    fn remove(&self, store: &Store) {
        let _ = store.remove_container(&self.id, |staged| store.delete_tree(staged));
    }

    /// The start failed: the record says why, or there is none any more, and then the command hears of it.
    fn give_up(&self, failure: Failure, auto_remove: bool) {
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        if let Ok(store) = Store::reopen(self.layout.clone()) {
            let recorded =
                store.record_failed_start(&self.id, Some(i32::from(failure.status)), &failure.message);
            if recorded.is_ok() && auto_remove {
                self.remove(&store);
            }
        }
        let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
    }
}

/// Takes the file: it is memory.
fn read_bundle(settings: OwnedFd) -> Result<Bundle> {
    let doing = "read the container's settings";
    let json = protocol::read_file(&settings).map_err(|e| refused(doing, &e))?;
    drop(settings);
    serde_json::from_slice(&json).map_err(|e| refused(doing, &e))
}

fn joins(start: &Start, network: Option<OwnedFd>) -> Result<Joins> {
    let open = |peer: &Option<Peer>, name: &str| -> Result<Option<OwnedFd>> {
        let Some(peer) = peer else { return Ok(None) };
        let fd = process::namespace(peer.pid, name).map_err(|e| refused("join the other container", &e))?;
        if process::start_time(peer.pid) == Some(peer.start) {
            Ok(Some(fd))
        } else {
            Err(plain("the container to join has ended"))
        }
    };
    Ok(Joins {
        network: open(&start.join_network, "net")?,
        made_network: network,
        pid: open(&start.join_pid, "pid")?,
        ipc: open(&start.join_ipc, "ipc")?,
        uts: open(&start.join_uts, "uts")?,
        shm: open(&start.join_ipc, "mnt")?,
    })
}

fn stdio(launch: &Launch, start: &Start) -> Result<(OurStdio, ProcessStdio)> {
    if launch.terminal {
        return Ok((OurStdio::Terminal, ProcessStdio::Terminal { size: start.size }));
    }
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .op("pipe")
            .map_err(|e| refused("make a pipe", &e))
    };
    let (stdout, their_stdout) = pipe()?;
    let (stderr, their_stderr) = pipe()?;
    let (their_stdin, stdin) =
        if launch.stdin { pipe().map(|(r, w)| (Some(r), Some(w)))? } else { (None, None) };
    Ok((
        OurStdio::Pipes { stdin, stdout, stderr },
        ProcessStdio::Pipes { stdin: their_stdin, stdout: their_stdout, stderr: their_stderr },
    ))
}

/// The compiled filter; it depends on the capabilities because some calls are for their holders only.
fn filter(launch: &Launch, capabilities: u64) -> Result<Option<Vec<u8>>> {
    let text = match &launch.seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => seccomp::DEFAULT_PROFILE,
        Seccomp::Profile(text) => text,
    };
    let filter = seccomp::cached(&launch.cache, text, capabilities);
    filter.map(Some).map_err(|e| refused("prepare the seccomp filter", &e))
}

/// Whether it died as the kernel's victim, see [`super::oom`]. `init`: the first process is kelp's own, and ends as the
/// program did.
fn ran_out_of_memory(ended: &server::Ended, init: bool, kills: Option<&Kills>) -> bool {
    let died = match ended.status {
        WaitStatus::Signaled(signal) => signal == libc::SIGKILL,
        WaitStatus::Exited(code) => init && code == WaitStatus::Signaled(libc::SIGKILL).code(),
    };
    died && !ended.killed && kills.is_some_and(Kills::any)
}

enum OurStdio {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal,
}

/// With the host's pid namespace the first process's end is not that of the others: they became our children.
fn end_stragglers(execs: &Execs<'_>, served: &[u32]) {
    if execs.namespaces.pid != Namespace::Host {
        return;
    }
    while let Ok(mut children) = process::children() {
        // They have still to write, and to send, what the kernel has not handed over.
        children.retain(|child| !served.contains(child));
        for child in &children {
            let _ = process::kill(*child, libc::SIGKILL);
        }
        if children.is_empty() || process::wait_any().is_err() {
            break;
        }
    }
}

/// Lets the process go and listens to it until its program runs. Returns the terminal's master, if there is one.
/// `patience` is for each of its words.
fn await_exec(
    talk: &ShimEnd,
    warnings: &mut Vec<String>,
    patience: Option<Duration>,
) -> Result<Option<OwnedFd>> {
    let mut master = None;
    talk.go().map_err(|e| refused("start the program", &e))?;
    loop {
        match talk.next(patience).map_err(|e| refused("start the program", &e))? {
            News::Warning(text) => warnings.push(text),
            News::Terminal(fd) => master = Some(fd),
            News::Failed(failure) => return Err(failure.into()),
            News::Running => return Ok(master),
        }
    }
}

/// What a start has of a network of the container's own.
struct Networked {
    made: Option<OwnedFd>,
    /// The same namespace, for networks to come.
    kept: Option<OwnedFd>,
    carried: Option<Given>,
    joining: Vec<member::Given>,
}

fn network_state(
    plan: &Plan,
    launch: &Launch,
    start: &Start,
    carried: Option<&Given>,
    joining: &[member::Given],
) -> Option<Network> {
    let own = plan.namespaces.network == Namespace::New;
    let ports = carried.iter().flat_map(|c| &c.ports).chain(joining.iter().flat_map(|g| &g.ports));
    own.then(|| Network {
        addresses: carried.map(|c| c.addresses).or(start.addresses.filter(|_| !joining.is_empty())),
        ports: ports.map(|p| p.published).collect(),
        members: joining.iter().map(|g| member_state(&g.member)).collect(),
        exposed: launch.expose.clone(),
    })
}

/// Texts that are another one at this start.
fn replace_texts(spec: &mut Spec, start: &Start) {
    let Some(annotations) = spec.annotations_mut() else { return };
    for (path, text) in &start.texts {
        annotations.insert(format!("{}{path}", annotation::TEXT), text.clone());
    }
}

/// Without TUN devices there is no network in user space.
fn explain_network(error: &sys::Error) -> Failure {
    if error.op() != tun::OPEN {
        return explain_namespace(error);
    }
    Failure {
        hint: Some(format!(
            "the default network needs {}, readable and writable by you (as root: modprobe tun); --network none \
             starts the container without a network, --network host with yours",
            tun::DEVICE
        )),
        ..refused("make the container's network", error)
    }
}

pub(super) fn explain_namespace(error: &sys::Error) -> Failure {
    let hint = match error.errno() {
        libc::ENOSPC | libc::EUSERS => {
            Some("a limit in /proc/sys/user (max_*_namespaces) is reached".to_string())
        }
        libc::EAGAIN => Some("your limit of processes (ulimit -u) is reached".to_string()),
        _ => None,
    };
    Failure { hint, ..refused("make the container's namespaces", error) }
}

fn plain(message: &str) -> Failure {
    Failure { status: 125, message: message.into(), hint: None, taken: None }
}
