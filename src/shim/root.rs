//! What a container's root is mounted from, who serves it, and the user namespace whose ids it shows.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::files::{self, FileServer};
use super::life::explain_namespace;
use super::protocol::Failure;
use super::spawn::refused;
use crate::runtime::plan::{HostEntry, HostEntryKind, Rootfs};
use crate::snapshot::{EntryKind, MountPlan};
use crate::sys;
use crate::sys::process::{self, Child};
use crate::sys::userns::Nested;

type Result<T> = std::result::Result<T, Failure>;

/// How long what a container wrote may take to reach the disk after its end.
const FILES_PATIENCE: Duration = Duration::from_secs(30);

/// Makes the user namespace of a container that has one of its own. The calling process must have one thread.
pub fn user_namespace(ids: &Nested) -> Result<OwnedFd> {
    ids.make().map_err(|e| explain_inner(&e))
}

fn explain_inner(error: &sys::Error) -> Failure {
    let hint = match error.errno() {
        libc::EPERM | libc::EINVAL => Some(
            "your range of subordinate ids has become smaller than when the container was made: make it anew"
                .into(),
        ),
        _ => explain_namespace(error).hint,
    };
    Failure { hint, ..refused("make the container's user namespace", error) }
}

/// What a snapshot is mounted as.
pub fn rootfs_of(plan: &MountPlan) -> Rootfs {
    match plan.clone() {
        MountPlan::Overlay { lowers, upper, work, volatile } => {
            Rootfs::Overlay { lowers, upper, work, volatile }
        }
        MountPlan::Fuse { mut lowers, hidden, .. } => {
            Rootfs::HandedOver { source: lowers.swap_remove(0), hidden }
        }
        MountPlan::Directory { path } => Rootfs::Directory { path },
        MountPlan::HostTree { source, entries, upper, work, hidden, volatile } => {
            let entries = entries.into_iter().map(|e| HostEntry { name: e.name, kind: entry_kind(e.kind) });
            Rootfs::HostTree { source, entries: entries.collect(), upper, work, hidden, volatile }
        }
    }
}

/// The process that serves the root, where the plan wants one, for a container in `user`. The calling process must
/// have one thread.
pub fn files_of(plan: &MountPlan, user: Option<&OwnedFd>) -> Result<Option<FileServer>> {
    let MountPlan::Fuse { lowers, upper, work, volatile, .. } = plan else { return Ok(None) };
    let started = files::start(&files::Tree { user, lowers, upper, work, volatile: *volatile });
    started.map(Some).map_err(|e| Failure {
        // Other files can be missing, too: the error of the process that serves comes as text.
        hint: e
            .to_string()
            .contains("/dev/fuse")
            .then(|| "the fuse snapshotter needs /dev/fuse, readable and writable by you".to_owned()),
        ..refused("mount the root file system", &e)
    })
}

/// The last mount is gone, so it ends by itself; one that does not is in nobody's way.
pub(super) fn end_of(files: &Child) {
    if !matches!(process::readable_within(&files.pidfd, Some(FILES_PATIENCE)), Ok(true)) {
        let _ = process::signal(&files.pidfd, libc::SIGKILL);
    }
    // Perhaps reaped already, along with the container's stragglers.
    let _ = process::wait_pid(files.pid);
}

fn entry_kind(kind: EntryKind) -> HostEntryKind {
    match kind {
        EntryKind::Overlay => HostEntryKind::Overlay,
        EntryKind::ReadOnlyBind => HostEntryKind::ReadOnlyBind,
        EntryKind::Symlink(target) => HostEntryKind::Symlink(target),
        EntryKind::MountPoint => HostEntryKind::MountPoint,
    }
}
