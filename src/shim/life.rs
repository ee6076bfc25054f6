//! A shim's life, from its first instruction to its last: one container, from root to exit record.
//!
//! The order at the end is a promise. The exit is written to `state.json`, then the clients hear of it, then
//! the database, and only then is anything removed and the life lock let go: whoever asks in between is told
//! the truth by the state file.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::runtime::Spec;

use super::exec::{self, Execs};
use super::launch::{self, Launch, Peer, Seccomp, Start};
use super::log::Writer;
use super::protocol::{self, Failure, Reply};
use super::server::{self, FirstClient, Running, Stdio};
use super::spawn::{self, refused, refused_by_store};
use crate::runtime::from_spec::{Facts, Planned};
use crate::runtime::handshake::{News, ShimEnd};
use crate::runtime::init::{self, Joins, ProcessStdio, Surroundings};
use crate::runtime::plan::{HostEntry, HostEntryKind, Plan, Rootfs};
use crate::runtime::seccomp;
use crate::snapshot::{self, EntryKind, MountPlan};
use crate::store::container::{Exit, ShimState, boot_id};
use crate::store::id::ContainerId;
use crate::store::userns::Pending;
use crate::store::{Layout, Store};
use crate::sys::process::{self, Child};
use crate::sys::{self, Context};

type Result<T> = std::result::Result<T, Failure>;

/// What a shim knows from birth.
#[derive(Debug)]
pub(super) struct Shim {
    layout: Layout,
    id: ContainerId,
    dir: PathBuf,
    start: Start,
    client: OwnedFd,
    /// Held until this process ends.
    _life: OwnedFd,
}

/// A container that runs.
struct Started {
    child: Child,
    stdio: Stdio,
    plan: Plan,
    spec: Spec,
    launch: Launch,
    filter: Option<Vec<u8>>,
    warnings: Vec<String>,
    state: ShimState,
}

impl Shim {
    /// Takes over what the spawning command placed. `None`: this is no shim that kelp started.
    pub(super) fn from_args(mut args: impl Iterator<Item = std::ffi::OsString>) -> Option<Self> {
        let root = PathBuf::from(args.next()?);
        let id: ContainerId = args.next()?.into_string().ok()?.parse().ok()?;
        let start: Start = serde_json::from_str(args.next()?.to_str()?).ok()?;
        let client = process::inherited(spawn::FIRST_CLIENT)?;
        let life = process::inherited(spawn::LIFE_LOCK)?;
        let layout = Layout::new(root);
        let dir = layout.container_dir(&id);
        Some(Self { layout, id, dir, start, client, _life: life })
    }

    /// The whole life.
    pub(super) fn run(self) {
        let _ = rustix::thread::set_name(c"kelp-shim");
        process::ignore_sigpipe();
        let _ = crate::sys::signal::ignore_file_size_signal();
        match self.bring_up() {
            Ok((started, listener)) => self.serve(started, listener),
            Err(failure) => self.give_up(failure),
        }
    }

    fn bring_up(&self) -> Result<(Started, OwnedFd)> {
        process::undumpable().map_err(|e| refused("protect the shim", &e))?;
        self.settle_namespace()?;
        let listener = server::listen(&self.dir).map_err(|e| refused("listen for clients", &e))?;
        Ok((self.start_container()?, listener))
    }

    /// A fresh user namespace has its maps from here on, and is there for others to join.
    fn settle_namespace(&self) -> Result<()> {
        // The lock tells, not the writers: a map of a single id has none, and waits to be published all the same.
        let Some(lock) = process::inherited(spawn::USERNS_LOCK) else { return Ok(()) };
        let pending = Pending { writers: self.start.writers.clone(), lock: Some(lock) };
        pending.finish(self.layout.root()).map_err(|e| refused_by_store(&e))?;
        spawn::settle_capabilities().map_err(|e| refused("settle capabilities", &e))
    }

    fn start_container(&self) -> Result<Started> {
        let launch: Launch = read_json(&launch::launch_path(&self.dir))?;
        let spec: Spec = read_json(&launch::spec_path(&self.dir))?;
        let facts = Facts { rootfs: self.rootfs(&launch)?, tty_gid: tty_gid(), seccomp: None };
        let Planned { mut plan, mut warnings } =
            Plan::from_spec(&spec, facts).map_err(|e| refused("carry out the container's settings", &e))?;
        let filter = filter(&launch, plan.process.capabilities.permitted)?;
        plan.process.seccomp.clone_from(&filter);
        if plan.namespaces.pid == crate::runtime::plan::Namespace::Host {
            process::adopt_orphans().map_err(|e| refused("adopt orphans", &e))?;
        }
        let (ours, theirs) = self.stdio(&launch)?;
        let surroundings =
            Surroundings { attach: self.dir.join(snapshot::MERGED), joins: self.joins()?, stdio: theirs };
        let (child, talk) = init::start(&plan, surroundings).map_err(|e| explain_clone(&e))?;
        let state = self.write_started(&child)?;
        // Those whose pid namespace it joins can hold it up.
        let joined = plan.namespaces.pid == crate::runtime::plan::Namespace::Joined;
        let master =
            await_exec(&talk, &mut warnings, joined.then_some(exec::PATIENCE)).inspect_err(|_| {
                let _ = process::signal(&child.pidfd, libc::SIGKILL);
                let _ = process::wait_pid(child.pid);
            })?;
        let stdio = match (ours, master) {
            (OurStdio::Pipes { stdin, stdout, stderr }, _) => Stdio::Pipes { stdin, stdout, stderr },
            (OurStdio::Terminal, Some(master)) => Stdio::Pty { master, stdin: launch.stdin },
            (OurStdio::Terminal, None) => return Err(plain("the container's terminal did not arrive")),
        };
        Ok(Started { child, stdio, plan, spec, launch, filter, warnings, state })
    }

    fn rootfs(&self, launch: &Launch) -> Result<Rootfs> {
        let plan = snapshot::plan(&self.layout, &launch.recipe, &self.dir, launch.auto_remove);
        plan.map(rootfs_of).map_err(|e| {
            use crate::error::Hint;
            Failure { hint: e.hint(), ..refused("find the root file system", &e) }
        })
    }

    fn joins(&self) -> Result<Joins> {
        let open = |peer: &Option<Peer>, name: &str| -> Result<Option<OwnedFd>> {
            let Some(peer) = peer else { return Ok(None) };
            let fd =
                process::namespace(peer.pid, name).map_err(|e| refused("join the other container", &e))?;
            if process::start_time(peer.pid) == Some(peer.start) {
                Ok(Some(fd))
            } else {
                Err(plain("the container to join has ended"))
            }
        };
        let start = &self.start;
        Ok(Joins {
            network: open(&start.join_network, "net")?,
            pid: open(&start.join_pid, "pid")?,
            ipc: open(&start.join_ipc, "ipc")?,
            uts: open(&start.join_uts, "uts")?,
            shm: open(&start.join_ipc, "mnt")?,
        })
    }

    fn stdio(&self, launch: &Launch) -> Result<(OurStdio, ProcessStdio)> {
        if launch.terminal {
            return Ok((OurStdio::Terminal, ProcessStdio::Terminal { size: self.start.size }));
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

    /// Written before the program may run, so that no running program is unknown.
    fn write_started(&self, child: &Child) -> Result<ShimState> {
        let own = std::process::id();
        let state = ShimState {
            boot_id: boot_id().map_err(|e| refused_by_store(&e))?,
            shim_pid: own,
            shim_start: process::start_time(own).unwrap_or_default(),
            init_pid: child.pid,
            init_start: process::start_time(child.pid).unwrap_or_default(),
            started: Some(Timestamp::now()),
            exit: None,
        };
        self.layout.write_state(&self.id, &state).map_err(|e| refused_by_store(&e))?;
        Ok(state)
    }

    fn serve(&self, started: Started, listener: OwnedFd) {
        let Started { child, stdio, plan, spec, launch, filter, warnings, mut state } = started;
        let reply = Reply::Started { pid: child.pid, warnings };
        let _ = protocol::send_reply(self.client.as_fd(), &reply);
        let first = self.first_client();
        let mut execs = Execs { init: &child.pidfd, namespaces: plan.namespaces.clone(), spec, filter };
        drop(plan);
        let ended = Writer::open(&self.dir).map_err(|e| refused("open the log", &e)).and_then(|log| {
            let pidfd = child.pidfd.try_clone().map_err(|e| refused("keep the pidfd", &e))?;
            let stdin_once = launch.stdin_once;
            let running = Running { pidfd, stdio, listener, first, log, handler: &mut execs, stdin_once };
            server::serve(running).map_err(|e| refused("serve the container", &e))
        });
        if ended.is_err() {
            // Without its shim's loop the container has neither log nor clients; it does not go on unseen.
            let _ = process::signal(&child.pidfd, libc::SIGKILL);
            let _ = process::wait_pid(child.pid);
        }
        let code = ended.as_ref().map_or(137, |ended| i32::from(ended.status.code()));
        end_stragglers(&execs);
        let exit = Exit {
            code,
            signal: ended.as_ref().ok().and_then(|e| e.status.signal()),
            oom_killed: false,
            finished: Timestamp::now(),
            error: ended.as_ref().err().map(|f| f.message.clone()).unwrap_or_default(),
        };
        state.exit = Some(exit.clone());
        // A full disk can refuse this; the database is asked next, and the lock says the rest.
        let _ = self.layout.write_state(&self.id, &state);
        if let Ok(ended) = ended {
            ended.tell(u8::try_from(code).unwrap_or(255));
        }
        self.record_end(&exit, state.started, launch.auto_remove);
    }

    fn first_client(&self) -> Option<FirstClient> {
        let attach = self.start.attach?;
        let socket = self.client.try_clone().ok()?;
        Some(FirstClient { socket, attach })
    }

    fn record_end(&self, exit: &Exit, started: Option<Timestamp>, auto_remove: bool) {
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        // Without the database the next command finds state.json and records the end itself.
        let Ok(store) = Store::open(self.layout.root()) else { return };
        if store.record_exit(&self.id, exit, started).is_ok() && auto_remove {
            self.remove(&store);
        }
        // Nobody waits for this process any more; the next command is spared a long log.
        let _ = store.tidy();
    }

    fn remove(&self, store: &Store) {
        let _ = store.remove_container(&self.id, |staged| store.delete_tree(staged));
    }

    /// The start failed: the record says why, or there is none any more, and then the command hears of it.
    fn give_up(&self, failure: Failure) {
        let _ = std::fs::remove_file(self.dir.join("shim.sock"));
        if let Ok(store) = Store::open(self.layout.root()) {
            let recorded =
                store.record_failed_start(&self.id, Some(i32::from(failure.status)), &failure.message);
            let auto_remove =
                read_json::<Launch>(&launch::launch_path(&self.dir)).is_ok_and(|l| l.auto_remove);
            if recorded.is_ok() && auto_remove {
                self.remove(&store);
            }
        }
        let _ = protocol::send_reply(self.client.as_fd(), &Reply::Failed(failure));
    }
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

enum OurStdio {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal,
}

/// With the host's pid namespace the first process's end is not that of the others: they became our children.
fn end_stragglers(execs: &Execs<'_>) {
    if execs.namespaces.pid != crate::runtime::plan::Namespace::Host {
        return;
    }
    while let Ok(children) = process::children() {
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

fn explain_clone(error: &sys::Error) -> Failure {
    let hint = match error.errno() {
        libc::ENOSPC | libc::EUSERS => {
            Some("a limit in /proc/sys/user (max_*_namespaces) is reached".to_string())
        }
        libc::EAGAIN => Some("your limit of processes (ulimit -u) is reached".to_string()),
        _ => None,
    };
    Failure { hint, ..refused("make the container's namespaces", error) }
}

fn rootfs_of(plan: MountPlan) -> Rootfs {
    match plan {
        MountPlan::Overlay { lowers, upper, work, volatile } => {
            Rootfs::Overlay { lowers, upper, work, volatile }
        }
        MountPlan::Directory { path } => Rootfs::Directory { path },
        MountPlan::HostTree { source, entries, upper, work, hidden, volatile } => {
            let entries = entries.into_iter().map(|e| HostEntry { name: e.name, kind: entry_kind(e.kind) });
            Rootfs::HostTree { source, entries: entries.collect(), upper, work, hidden, volatile }
        }
    }
}

fn entry_kind(kind: EntryKind) -> HostEntryKind {
    match kind {
        EntryKind::Overlay => HostEntryKind::Overlay,
        EntryKind::ReadOnlyBind => HostEntryKind::ReadOnlyBind,
        EntryKind::Symlink(target) => HostEntryKind::Symlink(target),
        EntryKind::MountPoint => HostEntryKind::MountPoint,
    }
}

/// docker's terminals belong to group 5, tty, where the map has one.
fn tty_gid() -> u32 {
    match sys::userns::IdMap::of_process(std::process::id()) {
        Ok(map) if map.has_gid(5) => 5,
        _ => 0,
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T> {
    let bytes =
        std::fs::read(path).op_on("read", path).map_err(|e| refused("read the container's settings", &e))?;
    serde_json::from_slice(&bytes).map_err(|e| plain(&format!("{} is damaged: {e}", path.display())))
}

fn plain(message: &str) -> Failure {
    Failure { status: 125, message: message.into(), hint: None }
}
