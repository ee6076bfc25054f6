//! Who goes into a container for a copy: decided here, before the fork, from the container's record.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::engine::container::held::Held;
use crate::engine::container::inspect;
use crate::engine::container::stored::Stored;
use crate::engine::request::MountRequest;
use crate::engine::{Engine, Result};
use crate::runtime::visit::{self, Bind, Origin};
use crate::shim;
use crate::snapshot::{self, MountPlan, Recipe};
use crate::store::container::Status;
use crate::store::userns::{self, IdMap, Nested};

/// All that a job needs to see a container's files.
#[derive(Debug)]
pub(super) struct Visitor {
    /// The pidfd of the first process of one that runs.
    process: Option<OwnedFd>,
    /// Its pid.
    running: Option<u32>,
    /// What is mounted of one that does not.
    mounts: Option<MountPlan>,
    recursive: bool,
    binds: Vec<Bind>,
    read_only: bool,
    attach: PathBuf,
    /// The ids of the user namespace that it has of its own.
    inner: Option<Nested>,
    /// The working directory of one that has never run: to docker it is there from the beginning.
    unmade: Option<PathBuf>,
}

impl Visitor {
    pub(super) fn to(engine: &Engine, held: &Held, verb: &'static str) -> Result<Self> {
        let request = inspect::request(&held.record)?;
        let recipe = held.recipe()?;
        let running = held.observed.pid.filter(|_| held.is_running());
        let process = match running {
            Some(pid) => {
                // Between the look at it and this it may have ended, and another have its number.
                let state = engine.store.read_state(&held.record.id)?.filter(|s| s.init_pid == pid);
                let process = state.and_then(|state| visit::process(pid, state.init_start));
                let ended = || held.cannot(verb, "it has just ended", Some("try again".into()));
                Some(process.ok_or_else(ended)?)
            }
            None => None,
        };
        let mounts = match process {
            Some(_) => None,
            None => {
                let dir = engine.store.container_dir(&held.record.id);
                // Never volatile: what is left of such a mount would keep the container from starting.
                let plan = snapshot::plan(engine.store.layout(), &recipe, &dir, held.snapshotter()?, false);
                Some(plan.map_err(|e| held.refused(verb, &e))?)
            }
        };
        let stored = Stored::of(&held.record)?;
        let never_ran = held.observed.status == Status::Created;
        Ok(Self {
            process,
            mounts,
            recursive: matches!(recipe, Recipe::Directory { .. }),
            binds: request.mounts.iter().filter_map(bind).collect(),
            read_only: request.read_only,
            attach: engine.store.staging_dir(),
            inner: stored.own_ids()?,
            unmade: if never_ran { stored.working_directory()? } else { None },
            running,
        })
    }

    /// The ids that the container's files have, as the host sees them.
    pub(super) fn ids(&self, engine: &Engine) -> Result<IdMap> {
        match (&self.inner, self.running) {
            (None, _) => Ok(userns::id_map(&engine.store)?),
            (Some(_), Some(pid)) => Ok(IdMap::of_process(pid).map_err(crate::store::Error::from)?),
            (Some(inner), None) => Ok(userns::id_map(&engine.store)?.within(inner)),
        }
    }

    /// Whether the container numbers ids in its own way.
    pub(super) fn has_own_ids(&self) -> bool {
        self.inner.is_some()
    }

    /// What the job must keep open.
    pub(super) fn kept(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.process.iter().map(AsFd::as_fd)
    }

    /// In the job: the container's root.
    pub(super) fn enter(&self) -> std::result::Result<Entered, String> {
        let told = |message: String, hint: Option<String>| match hint {
            Some(hint) => format!("{message} ({hint})"),
            None => message,
        };
        let go = |namespace: &OwnedFd| visit::follow(namespace).map_err(|e| told(e.message, e.hint));
        let apart = || visit::set_apart().map_err(|e| told(e.message, e.hint));
        let mut user = None;
        match (&self.inner, &self.process) {
            (Some(_), Some(process)) => go(process)?,
            (Some(ids), None) => {
                user = Some(shim::user_namespace(ids).map_err(|e| told(e.message, e.hint))?);
            }
            (None, _) => {}
        }
        apart()?;
        let rootfs = self.mounts.as_ref().map(shim::rootfs_of);
        let mut served = false;
        let origin = match (&self.process, &self.mounts, &rootfs) {
            (Some(process), _, _) => Origin::Running { process, recursive: self.recursive },
            (None, Some(plan), Some(rootfs)) => {
                let files = shim::files_of(plan, user.as_ref()).map_err(|e| told(e.message, e.hint))?;
                served = files.is_some();
                if let Some(user) = &user {
                    go(user)?;
                    apart()?;
                }
                Origin::Mounted(rootfs, files.map(|files| files.mount))
            }
            _ => return Err("the container has no root".into()),
        };
        let entered = visit::enter(origin, &self.binds, self.read_only, &self.attach, self.inner.is_some());
        let root = entered.map_err(|failure| told(failure.message, failure.hint))?;
        if let Some(path) = &self.unmade {
            visit::make_working_directory(&root, path);
        }
        Ok(Entered { root, served })
    }
}

/// A container's root, seen by a job.
#[derive(Debug)]
pub(super) struct Entered {
    pub root: OwnedFd,
    /// By a process that ends with the job.
    served: bool,
}

impl Entered {
    /// Hands over what the kernel still keeps of what was written, while somebody is there to take it.
    pub(super) fn finish(self) -> std::result::Result<(), String> {
        if self.served { visit::flush(&self.root).map_err(|e| e.to_string()) } else { Ok(()) }
    }
}

fn bind(mount: &MountRequest) -> Option<Bind> {
    let MountRequest::Bind { source, target, read_only, recursive, writable_submounts, .. } = mount else {
        return None;
    };
    // A source that is not there is made when the container starts.
    source.exists().then(|| Bind {
        source: source.clone(),
        target: target.clone(),
        recursive: *recursive,
        read_only: *read_only,
        read_only_below: *recursive && !writable_submounts,
    })
}
