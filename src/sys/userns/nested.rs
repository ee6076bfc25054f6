//! A user namespace within the one whose root this process is: another view of the same ids.
//!
//! Nobody's help is needed: whoever may set ids in the outer namespace writes the maps of an inner one
//! (user_namespaces(7)). It lives as long as a process is in it, or a descriptor of it is open.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::{Gid, Uid};

use super::{Extent, contains, writer};
use crate::sys::process::{self, Fork};
use crate::sys::socket::{self, Received};
use crate::sys::{Context, Error, Result};

/// The ids of an inner namespace; `outside` are those of the one that it is made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    pub uids: Vec<Extent>,
    pub gids: Vec<Extent>,
}

impl Nested {
    pub fn has_gid(&self, inside: u32) -> bool {
        contains(&self.gids, inside)
    }

    /// What the outer root is inside. `None` where it is nobody there.
    pub fn outer_root(&self) -> Option<(u32, u32)> {
        let of = |extents: &[Extent]| extents.iter().find(|e| e.outside == 0).map(|e| e.inside);
        of(&self.uids).zip(of(&self.gids))
    }

    /// What is root inside, as the outer namespace numbers it. `None` where there is no root.
    pub fn own_root(&self) -> Option<(u32, u32)> {
        let of = |extents: &[Extent]| extents.iter().find(|e| e.inside == 0).map(|e| e.outside);
        of(&self.uids).zip(of(&self.gids))
    }

    /// Makes it. The calling process has one thread.
    pub fn make(&self) -> Result<OwnedFd> {
        let (wait, hold) = process::pipe()?;
        match fork_open(libc::CLONE_NEWUSER as u64)? {
            Fork::Parent(first) => {
                let made = self.write_maps(first.pid).and_then(|()| process::namespace(first.pid, "user"));
                drop(hold);
                let _ = process::wait_pid(first.pid);
                made
            }
            Fork::Child => {
                drop(hold);
                // Until the parent has what it wants, or is dead.
                let _ = rustix::io::read(&wait, &mut [0u8; 1]);
                process::exit_now(0)
            }
        }
    }

    fn write_maps(&self, pid: u32) -> Result<()> {
        writer::write_map(&format!("/proc/{pid}/uid_map"), &self.uids)?;
        writer::write_map(&format!("/proc/{pid}/gid_map"), &self.gids)
    }
}

/// Forks a process whose files in `/proc` are its user's own, whatever this one's are: those of an undumpable process
/// belong to a root whom an inner namespace does not have (proc(5)), and nobody in here could write its maps.
fn fork_open(flags: u64) -> Result<Fork> {
    use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
    let before = dumpable_behavior().op("prctl DUMPABLE")?;
    set_dumpable_behavior(DumpableBehavior::Dumpable).op("prctl DUMPABLE")?;
    let forked = process::fork(flags);
    if let Ok(Fork::Child) = forked {
        return forked;
    }
    // What a program that was not to be read ends up with (2) cannot be set again; this is what it means here.
    let before = if before == DumpableBehavior::Dumpable { before } else { DumpableBehavior::NotDumpable };
    set_dumpable_behavior(before).op("prctl DUMPABLE")?;
    forked
}

/// `NS_GET_USERNS` of ioctl_ns(2).
const GET_OWNER: libc::c_ulong = 0xb701;

/// Enters an inner namespace, given by itself or by the pidfd of a process in it, with every capability there. The
/// process keeps its ids, and with them its way to what they own.
pub fn enter_nested(namespace: impl AsFd) -> Result<()> {
    process::enter(namespace, libc::CLONE_NEWUSER)?;
    // A change of credentials clears it.
    process::die_with_parent()
}

/// Enters the user namespace that `namespace` belongs to, where that is an inner one, and becomes its root: nobody
/// else gets at what is mounted in there over FUSE.
pub fn enter_owner_of(namespace: impl AsFd) -> Result<()> {
    // SAFETY: the request takes no argument; its result is an error or a descriptor.
    let owner = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), GET_OWNER) };
    if owner < 0 {
        return Err(Error::last("find a user namespace"));
    }
    // SAFETY: it is new, and nobody else's.
    let owner = unsafe { OwnedFd::from_raw_fd(owner) };
    let own = process::thread_namespace("user")?;
    let (inner, outer) = (rustix::fs::fstat(&owner).op("stat")?, rustix::fs::fstat(&own).op("stat")?);
    if inner.st_ino == outer.st_ino {
        return Ok(());
    }
    enter_nested(owner)?;
    become_own_root()
}

/// Runs `make` in a process of its own in an inner namespace, and hands over the descriptors that it makes. `told`
/// makes an error of what failed there, and its errno. The calling process has one thread.
pub fn make_within(
    namespace: impl AsFd,
    make: impl FnOnce() -> Result<Vec<OwnedFd>>,
    told: impl FnOnce(&str, i32) -> Error,
) -> Result<Vec<OwnedFd>> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    match process::fork(0)? {
        Fork::Parent(child) => {
            drop(theirs);
            let (mut text, mut fds) = ([0u8; 512], Vec::new());
            let got = socket::receive(&ours, &mut text, &mut fds, true)?;
            process::wait_pid(child.pid)?;
            let Some(Received::Packet(length)) = got else {
                return Err(Error::new("work in the inner user namespace", libc::ECHILD));
            };
            let text = String::from_utf8_lossy(&text[..length]);
            match text.split_once(' ') {
                None => Ok(fds),
                Some((errno, what)) => Err(told(what, errno.parse().unwrap_or(libc::EIO))),
            }
        }
        Fork::Child => {
            let made = enter_nested(namespace).and_then(|()| make());
            let text = made.as_ref().map_or_else(|e| format!("{} {}", e.errno(), e.op()), |_| "made".into());
            let fds: Vec<_> = made.iter().flatten().map(AsFd::as_fd).collect();
            let _ = socket::send(&theirs, &[IoSlice::new(text.as_bytes())], &fds, true);
            process::exit_now(0)
        }
    }
}

/// Takes the ids of the namespace's root, where it has one: what is made from here on belongs to that.
pub fn become_own_root() -> Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    // An id that is not in the map.
    let missing = |e: &rustix::io::Errno| *e == rustix::io::Errno::INVAL;
    match rustix::thread::set_thread_res_gid(gid, gid, gid) {
        Err(e) if missing(&e) => {}
        set => set.op("setresgid")?,
    }
    match rustix::thread::set_thread_res_uid(uid, uid, uid) {
        Err(e) if missing(&e) => {}
        set => set.op("setresuid")?,
    }
    process::die_with_parent()
}
