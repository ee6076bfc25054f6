//! The one user namespace that all of a user's containers and storage jobs share.
//!
//! There is no process whose job it is to keep it: any live shim does, and [`super::holders`] knows them. When there is
//! none, a fresh namespace is made.
//!
//! Storage jobs join what is there, and otherwise run in a namespace of their own with the same map, which they
//! do not publish: it would end with them.

use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::holders::{self, Hold};
use super::{Error, Result, Store};
use crate::error::Hint;
use crate::sys::process::{self, Fork};
use crate::sys::userns::{self, Wanted, WhyNoRange, Writers};
pub use crate::sys::userns::{Account, Extent, IdMap, MapKind, Nested, account};
use crate::sys::{self, Context};

/// What a storage job may hand back, in bytes of JSON.
const MAX_RESULT: u64 = 64 << 20;

/// How the calling process came into the namespace.
#[derive(Debug)]
pub enum Entered {
    /// Others of this user hold it as well; nothing is pending.
    Joined,
    /// It is new. The maps are being written; until [`Pending::finish`] ids cannot be changed.
    Created(Pending),
}

/// A namespace whose maps are being written. Survives an exec as numbers.
#[derive(Debug)]
pub struct Pending {
    /// Processes of `sys::userns::Writers`, children of this one.
    pub writers: Vec<u32>,
    /// Held until the namespace is published; `None` for a private one.
    pub lock: Option<OwnedFd>,
}

impl Pending {
    /// Waits for the maps; publishes the namespace when it is meant to be shared.
    pub fn finish(self, root: &Path) -> Result<()> {
        for pid in &self.writers {
            Writers::finish(*pid).map_err(|e| map_failed(e, userns::wanted().ok()))?;
        }
        if self.lock.is_some() {
            holders::begin(root)?;
        }
        Ok(())
    }
}

/// Whether somebody who makes a namespace may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    None,
    Endless,
}

/// Makes the calling process root of the user's shared namespace, for a shim, which holds it from then on. `None`: it
/// would have to wait.
pub fn enter_shared(root: &Path, patience: Patience) -> Result<Option<Entered>> {
    let Some(shared) = holders::lock(root, Hold::Shared, patience)? else { return Ok(None) };
    if holders::join(root) {
        return holders::enlist(root, shared).map(|()| Some(Entered::Joined));
    }
    drop(shared);
    let Some(alone) = holders::lock(root, Hold::Alone, patience)? else { return Ok(None) };
    // Somebody may have made one meanwhile.
    if holders::join(root) {
        return holders::enlist(root, alone).map(|()| Some(Entered::Joined));
    }
    create(Some(alone)).map(Some)
}

/// The same for a short job: what is there is joined, otherwise the namespace is private to the job.
fn enter_for_job(root: &Path) -> Result<Entered> {
    if holders::join(root) { Ok(Entered::Joined) } else { create(None) }
}

fn create(lock: Option<OwnedFd>) -> Result<Entered> {
    let wanted = userns::wanted()?;
    let writers = Writers::prepare(&wanted)?;
    process::unshare(libc::CLONE_NEWUSER).map_err(Error::NoUserNamespace)?;
    let writers = writers.begin(&wanted).map_err(|e| map_failed(e, Some(wanted.clone())))?;
    Ok(Entered::Created(Pending { writers, lock }))
}

fn map_failed(source: sys::Error, wanted: Option<Wanted>) -> Error {
    let helpers = wanted.is_some_and(|w| w.helpers.is_some());
    Error::IdMap { source, helpers }
}

/// The map that the namespace has, or would have, and why it has no range.
pub fn id_map(store: &Store) -> Result<IdMap> {
    match holders::living(store.root()) {
        Some(holder) => Ok(IdMap::of_process(holder.pid)?),
        None => Ok(userns::wanted()?.map),
    }
}

/// Why this user is confined to a single id; `None` when it is not.
pub fn lacking_range() -> Result<Option<WhyNoRange>> {
    let wanted = userns::wanted()?;
    Ok(wanted.lacking.filter(|_| wanted.map.kind == MapKind::Single))
}

/// Which of the host's switches refuses user namespaces, as advice.
pub fn why_refused() -> String {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|s| s.trim().to_string());
    if read("user/max_user_namespaces").as_deref() == Some("0") {
        return "the administrator can allow them: sysctl user.max_user_namespaces=15000".into();
    }
    if read("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return "the administrator can allow them: sysctl kernel.unprivileged_userns_clone=1".into();
    }
    if read("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor restricts them: the administrator can give kelp a profile with `userns,`, or set \
                sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            .into();
    }
    "an outer container's seccomp or AppArmor profile may forbid unshare(2); run the outer container with \
     user namespaces allowed"
        .into()
}

/// Runs `job` in a forked child that is root of the user namespace, and hands its result back. The calling
/// process must have one thread. The job's error is shown to the user as it is.
pub fn run_inside<T: Serialize + DeserializeOwned>(
    store: &Store,
    job: impl FnOnce() -> std::result::Result<T, String>,
) -> Result<T> {
    begin(store.root(), None, job)?.finish()
}

/// As [`run_inside`], beside the calling process. The child has no descriptors but the first three and `kept`: the
/// job must not use or drop a value that owns another.
pub fn begin_inside<T: Serialize + DeserializeOwned>(
    store: &Store,
    kept: &[BorrowedFd<'_>],
    job: impl FnOnce() -> std::result::Result<T, String>,
) -> Result<Job<T>> {
    begin(store.root(), Some(kept), job)
}

/// A job under way. Dropped, it is killed.
#[derive(Debug)]
pub struct Job<T> {
    /// `None` once it has been waited for.
    child: Option<process::Child>,
    result: OwnedFd,
    kind: PhantomData<fn() -> T>,
}

impl<T> AsFd for Job<T> {
    /// Readable when the job has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.result.as_fd()
    }
}

impl<T: DeserializeOwned> Job<T> {
    /// Waits for the end.
    pub fn finish(mut self) -> Result<T> {
        let mut bytes = Vec::new();
        let result = std::fs::File::from(self.result.try_clone().op("dup")?);
        result.take(MAX_RESULT).read_to_end(&mut bytes).op("read the job's result")?;
        let status = self.child.take().map(|child| process::wait_pid(child.pid)).transpose()?;
        match serde_json::from_slice::<std::result::Result<T, JobFailure>>(&bytes) {
            Ok(result) => result.map_err(|f| Error::Job { message: f.message, hint: f.hint }),
            Err(_) => {
                let message = format!("the storage job ended unexpectedly ({status:?})");
                Err(Error::Job { message, hint: None })
            }
        }
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }
}

fn begin<T: Serialize + DeserializeOwned>(
    root: &Path,
    kept: Option<&[BorrowedFd<'_>]>,
    job: impl FnOnce() -> std::result::Result<T, String>,
) -> Result<Job<T>> {
    let (read, write) = process::pipe()?;
    let parent = std::process::id();
    match process::fork(0)? {
        Fork::Parent(child) => Ok(Job { child: Some(child), result: read, kind: PhantomData }),
        Fork::Child => {
            if let Some(kept) = kept {
                let kept: Vec<_> = kept.iter().copied().chain([write.as_fd()]).collect();
                let _ = process::close_all_but(&kept);
                std::mem::forget(read);
            } else {
                drop(read);
            }
            // The job must not outlive the command that waits for it: nobody would tell it of more, and its staging
            // directory would be busy.
            process::die_with(parent);
            let run = std::panic::AssertUnwindSafe(|| inside(root, parent, job));
            // A panic must not unwind into what the parent was doing.
            let Ok(result) = std::panic::catch_unwind(run) else { process::exit_now(101) };
            let bytes = serde_json::to_vec(&result).unwrap_or_default();
            let sent = std::fs::File::from(write).write_all(&bytes);
            process::exit_now(u8::from(sent.is_err()));
        }
    }
}

/// An error on its way out of the namespace.
#[derive(Debug, Serialize, Deserialize)]
struct JobFailure {
    message: String,
    hint: Option<String>,
}

impl From<Error> for JobFailure {
    fn from(error: Error) -> Self {
        Self { message: crate::error::chain(&error), hint: error.hint() }
    }
}

fn inside<T>(
    root: &Path,
    parent: u32,
    job: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, JobFailure> {
    if let Entered::Created(pending) = enter_for_job(root)? {
        pending.finish(root)?;
    }
    become_root().map_err(Error::from)?;
    // Entering and becoming root change the credentials, which clears the parent-death signal.
    process::die_with(parent);
    job().map_err(|message| JobFailure { message, hint: None })
}

/// Makes the namespace's root the process's ids where the map's first id is not already that.
fn become_root() -> sys::Result<()> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    if rustix::process::getegid() != gid {
        rustix::thread::set_thread_res_gid(gid, gid, gid).op("setresgid")?;
    }
    if rustix::process::geteuid() != uid {
        rustix::thread::set_thread_res_uid(uid, uid, uid).op("setresuid")?;
    }
    Ok(())
}
