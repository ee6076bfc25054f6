//! The process that serves a container's files, where the root is a FUSE overlay.
//!
//! A process and not threads of the shim: the shim forks for every `exec`, and a fork of a process with threads would
//! leave the child with locks that nobody opens any more. It has nothing of the shim's but a socket, and the user
//! namespace that the container has of its own, opens the layers itself, hands the mount over, and answers requests
//! until the mount is gone. It dies with the shim. When it dies first, the shim ends the container, whose files are
//! gone.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::overlay::{self, Layers, Mounted, Options, Owners, Server, Upper};
use crate::sys::process::{self, Child, Fork};
use crate::sys::socket::{self, Received};
use crate::sys::userns::{IdMap, MapKind};
use crate::sys::{self, Context};

/// What is to be mounted.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    /// The user namespace of the container's own whose ids the mount shows.
    pub user: Option<&'a OwnedFd>,
    /// From the top one down.
    pub lowers: &'a [PathBuf],
    pub upper: &'a Path,
    pub work: &'a Path,
    pub volatile: bool,
}

/// The process, and the mount that it serves.
#[derive(Debug)]
pub struct FileServer {
    pub process: Child,
    /// Detached.
    pub mount: OwnedFd,
}

/// Forks the process, and waits until its mount is there. The calling process must have one thread.
pub(super) fn start(tree: &Tree<'_>) -> sys::Result<FileServer> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    match process::fork(0)? {
        Fork::Parent(process) => {
            drop(theirs);
            let mount = receive_mount(&ours).inspect_err(|_| process.kill())?;
            Ok(FileServer { process, mount })
        }
        Fork::Child => {
            let _ = process::die_with_parent();
            let kept: Vec<_> = tree.user.into_iter().chain([&theirs]).map(AsFd::as_fd).collect();
            let _ = process::close_all_but(&kept);
            // Closed already, by number.
            std::mem::forget(ours);
            process::exit_now(serve(tree, theirs))
        }
    }
}

fn receive_mount(socket: &OwnedFd) -> sys::Result<OwnedFd> {
    let mut text = [0; 512];
    let mut fds = Vec::new();
    match socket::receive(socket, &mut text, &mut fds, true)? {
        Some(Received::Packet(length)) => fds.pop().ok_or_else(|| refused(&text[..length])),
        _ => Err(sys::Error::new("mount the layers: the file server died", libc::EIO)),
    }
}

/// An error on its way between the processes: the errno, and what the kernel was asked for.
fn refused(text: &[u8]) -> sys::Error {
    let text = String::from_utf8_lossy(text);
    let (errno, subject) = text.split_once(' ').unwrap_or(("", &text));
    sys::Error::with_subject("mount the layers:", subject, errno.parse().unwrap_or(libc::EIO))
}

fn serve(tree: &Tree<'_>, socket: OwnedFd) -> u8 {
    let _ = process::retitle(c"kelp-files");
    // What is made gets the mode that its maker wants, without another thought.
    rustix::process::umask(Mode::empty());
    sys::limits::many_files();
    let server = match mount(tree) {
        Ok(Mounted { mount, server }) => {
            let sent = socket::send(&socket, &[IoSlice::new(b"mounted")], &[mount.as_fd()], true);
            sent.map(|_| server)
        }
        Err(e) => {
            let text = format!("{} {e}", e.errno());
            let _ = socket::send(&socket, &[IoSlice::new(text.as_bytes())], &[], true);
            return 1;
        }
    };
    drop(socket);
    let ended = server.map(Server::serve);
    u8::from(!matches!(ended, Ok(Ok(()))))
}

fn mount(tree: &Tree<'_>) -> sys::Result<Mounted> {
    let open = |path: &PathBuf| -> sys::Result<OwnedFd> { open_dir(path) };
    let lowers = tree.lowers.iter().map(open).collect::<sys::Result<_>>()?;
    let upper = Upper { dir: open_dir(tree.upper)?, work: open_dir(tree.work)? };
    let kind = IdMap::of_process(std::process::id())?.kind;
    let owners = match kind {
        MapKind::Single => Owners::Kept,
        MapKind::Range | MapKind::Identity => Owners::AsStored,
    };
    let user = tree.user.filter(|_| kind != MapKind::Single);
    let clone_device = user.is_none();
    let options = Options { volatile: tree.volatile, owners, clone_device, ..Options::default() };
    let layers = Layers { lowers, upper: Some(upper) };
    match user {
        // What is root's on disk is root's in there: the kernel hands over the numbers that are seen inside, and they
        // are stored as they come.
        Some(user) => {
            let (mount, device) = sys::fuse::mount_within(user, "kelp", 0)?;
            Ok(Mounted { mount, server: Server::on(device, layers, options)? })
        }
        // The only id there is shows as whatever the container calls it.
        None => overlay::mount(layers, options, "kelp", 0),
    }
}

fn open_dir(path: &Path) -> sys::Result<OwnedFd> {
    Ok(File::open(path).op_on("open", path)?.into())
}
