//! From a container's settings to its running program.
//!
//! What can fail for want of something on the host is tried before there is a process. What no mount waits for is done
//! while the first process makes its mounts. A start that fails after that leaves no process behind.

use std::os::fd::OwnedFd;
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::runtime::Spec;

use super::end::Attendants;
use super::network::{Networked, network_state};
use super::{Result, Shim, explain_namespace, plain};
use crate::runtime::from_spec::{Facts, Planned, annotation};
use crate::runtime::handshake::{News, ShimEnd};
use crate::runtime::init::{self, Joins, ProcessStdio, Surroundings};
use crate::runtime::plan::{Namespace, Plan};
use crate::runtime::seccomp;
use crate::shim::exec;
use crate::shim::launch::{Bundle, Launch, Peer, Seccomp, Start};
use crate::shim::log::Writer;
use crate::shim::network::ahead;
use crate::shim::network::member::Membership;
use crate::shim::network::process::Carrier;
use crate::shim::network::way::Way;
use crate::shim::protocol::Failure;
use crate::shim::root;
use crate::shim::server::{self, FirstClient, Stdio};
use crate::shim::spawn::{refused, refused_by_store};
use crate::snapshot::{self, MountPlan};
use crate::store::container::{Network, ShimState};
use crate::store::events::Event;
use crate::sys::process::{self, Child};

/// What was decided of a container before there is a process.
pub(super) struct Settings {
    pub start: Start,
    pub launch: Launch,
    pub spec: Spec,
    pub plan: Plan,
    pub filter: Option<Vec<u8>>,
}

/// A container that runs.
pub(super) struct Started {
    pub child: Child,
    pub attendants: Attendants,
    pub stdio: Stdio,
    pub first: Option<FirstClient>,
    pub listener: OwnedFd,
    pub log: Writer,
    pub launch: Launch,
    pub spec: Spec,
    pub plan: Plan,
    pub filter: Option<Vec<u8>>,
    pub warnings: Vec<String>,
    pub state: ShimState,
}

/// What a container has around its first process.
struct Company {
    listener: OwnedFd,
    state: ShimState,
    carrier: Way,
    mounts: Option<OwnedFd>,
    log: Writer,
    /// Of its terminal, if it has one.
    master: Option<OwnedFd>,
}

impl Shim {
    pub(super) fn start_container(&mut self, bundle: Bundle) -> Result<Started> {
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
        let mut network = self.network(&plan, &launch, &start, user.as_ref())?;
        let (root, files) = root::files_of(&mounts, user.as_ref())?.map(|f| (f.mount, f.process)).unzip();
        // In the mount namespace of the first process nothing else is reached through this directory.
        let surroundings = Surroundings {
            user,
            attach: self.layout.staging_dir(),
            root,
            joins: joins(&start, network.made.take())?,
            stdio: theirs,
        };
        let settings = Settings { start, launch, spec, plan, filter };
        let (child, talk) = init::start(&settings.plan, surroundings).map_err(|e| explain_namespace(&e))?;
        let company = self.accompany(&child, &talk, &settings, network, &mut warnings);
        let begun = company.and_then(|mut company| {
            let stdio = ours.with(company.master.take(), settings.launch.stdin)?;
            Ok((company, stdio))
        });
        let (company, stdio) = begun.inspect_err(|_| child.kill())?;
        self.tell_start(&settings.start, &settings.launch);
        let first = self.first_client(&settings.start);
        let Company { listener, state, carrier, mounts, log, .. } = company;
        let Settings { launch, spec, plan, filter, .. } = settings;
        Ok(Started {
            child,
            attendants: Attendants { files, carrier, mounts },
            stdio,
            first,
            listener,
            log,
            launch,
            spec,
            plan,
            filter,
            warnings,
            state,
        })
    }

    /// While the first process makes its mounts: all that has to be there before its program runs. Then it runs.
    fn accompany(
        &self,
        child: &Child,
        talk: &ShimEnd,
        settings: &Settings,
        network: Networked,
        warnings: &mut Vec<String>,
    ) -> Result<Company> {
        // The socket is there before the state that says so: who reads of a running container and finds nobody
        // listening takes it for one that has just ended.
        let listener = server::listen(&self.dir).map_err(|e| refused("listen for clients", &e))?;
        let state = self.write_started(child, network_state(settings, &network))?;
        let own = network.carried.map(Carrier::start).transpose();
        let own = own.map_err(|e| refused("start the network", &e))?;
        let memberships = network.joining.into_iter().map(Membership::join).collect::<Result<_>>()?;
        let carrier = Way::new(own, memberships, network.kept);
        let mounts = process::namespace(child.pid, "mnt").ok();
        let log = Writer::open(&self.dir).map_err(|e| refused("open the log", &e))?;
        // Those whose pid namespace it joins can hold it up.
        let joined = settings.plan.namespaces.pid == Namespace::Joined;
        let master = await_exec(talk, warnings, joined.then_some(exec::PATIENCE))?;
        Ok(Company { listener, state, carrier, mounts, log, master })
    }

    /// The user namespace, where the container has one of its own.
    fn user_namespace(&mut self, plan: &Plan) -> Result<Option<OwnedFd>> {
        let Some(ids) = &plan.namespaces.user else { return Ok(None) };
        // What was guessed belongs to another one, and from here on this process must have one thread.
        ahead::forget(self.ready.network.take());
        root::user_namespace(ids).map(Some)
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

    fn first_client(&self, start: &Start) -> Option<FirstClient> {
        let attach = start.attach?;
        let socket = self.client.try_clone().ok()?;
        Some(FirstClient { socket, attach })
    }
}

/// Texts that are another one at this start.
fn replace_texts(spec: &mut Spec, start: &Start) {
    let Some(annotations) = spec.annotations_mut() else { return };
    for (path, text) in &start.texts {
        annotations.insert(format!("{}{path}", annotation::TEXT), text.clone());
    }
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

/// The shim's ends of the container's stdio, before there is a terminal.
enum OurStdio {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal,
}

impl OurStdio {
    /// `master`: of the terminal that the first process opened. `stdin`: what clients type is passed on to it.
    fn with(self, master: Option<OwnedFd>, stdin: bool) -> Result<Stdio> {
        match (self, master) {
            (Self::Pipes { stdin, stdout, stderr }, _) => Ok(Stdio::Pipes { stdin, stdout, stderr }),
            (Self::Terminal, Some(master)) => Ok(Stdio::Pty { master, stdin }),
            (Self::Terminal, None) => Err(plain("the container's terminal did not arrive")),
        }
    }
}

fn stdio(launch: &Launch, start: &Start) -> Result<(OurStdio, ProcessStdio)> {
    if launch.terminal {
        return Ok((OurStdio::Terminal, ProcessStdio::Terminal { size: start.size }));
    }
    let pipe = || process::pipe().map_err(|e| refused("make a pipe", &e));
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
