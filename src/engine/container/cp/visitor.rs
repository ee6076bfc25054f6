//! Who goes into a container for a copy: decided here, before the fork, from the container's record.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::engine::container::held::Held;
use crate::engine::container::inspect;
use crate::engine::request::MountRequest;
use crate::engine::{Engine, Result};
use crate::runtime::plan::Rootfs;
use crate::runtime::visit::{self, Bind, Origin};
use crate::snapshot::{self, MountPlan, Recipe, Snapshotter};

/// All that a job needs to see a container's files.
#[derive(Debug)]
pub(super) struct Visitor {
    /// The pidfd of the first process of one that runs.
    process: Option<OwnedFd>,
    rootfs: Option<Rootfs>,
    recursive: bool,
    binds: Vec<Bind>,
    read_only: bool,
    attach: PathBuf,
}

impl Visitor {
    pub(super) fn to(engine: &Engine, held: &Held, verb: &'static str) -> Result<Self> {
        let request = inspect::request(&held.record)?;
        let recipe = held.recipe()?;
        let process = match held.observed.pid.filter(|_| held.is_running()) {
            Some(pid) => {
                // Between the look at it and this it may have ended, and another have its number.
                let state = engine.store.read_state(&held.record.id)?.filter(|s| s.init_pid == pid);
                let process = state.and_then(|state| visit::process(pid, state.init_start));
                let ended = || held.cannot(verb, "it has just ended", Some("try again".into()));
                Some(process.ok_or_else(ended)?)
            }
            None => None,
        };
        let rootfs = match process {
            Some(_) => None,
            None => {
                let dir = engine.store.container_dir(&held.record.id);
                // Either driver reads and writes the other's layers, and the kernel's needs no server.
                let snapshotter = match recipe {
                    Recipe::Layers(_) => Snapshotter::Overlay,
                    Recipe::Directory { .. } => held.snapshotter()?,
                };
                // Never volatile: what is left of such a mount would keep the container from starting.
                let plan = snapshot::plan(engine.store.layout(), &recipe, &dir, snapshotter, false);
                let plan = plan.map_err(|e| held.refused(verb, &e))?;
                if matches!(plan, MountPlan::Fuse { .. }) {
                    let reason =
                        "its root file system is a FUSE overlay, which only a container that runs has";
                    return Err(held.cannot(verb, reason, Some("start it first".into())));
                }
                Some(crate::shim::rootfs_of(&plan))
            }
        };
        Ok(Self {
            process,
            rootfs,
            recursive: matches!(recipe, Recipe::Directory { .. }),
            binds: request.mounts.iter().filter_map(bind).collect(),
            read_only: request.read_only,
            attach: engine.store.staging_dir(),
        })
    }

    /// What the job must keep open.
    pub(super) fn kept(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.process.iter().map(AsFd::as_fd)
    }

    /// In the job: the container's root.
    pub(super) fn enter(&self) -> std::result::Result<OwnedFd, String> {
        let origin = match (&self.process, &self.rootfs) {
            (Some(process), _) => Origin::Running { process, recursive: self.recursive },
            (None, Some(rootfs)) => Origin::Mounted(rootfs),
            (None, None) => return Err("the container has no root".into()),
        };
        let entered = visit::enter(&origin, &self.binds, self.read_only, &self.attach);
        entered.map_err(|failure| match failure.hint {
            Some(hint) => format!("{} ({hint})", failure.message),
            None => failure.message,
        })
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
