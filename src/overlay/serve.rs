//! From layers to a mount that is served.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use fuser::{Config, Session, SessionACL};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::adapter::Adapter;
use super::company::Company;
use super::copy_up::Turns;
use super::counts::Counts;
use super::inode::{Found, Table};
use super::late::Late;
use super::linger::Lookout;
use super::lru::Lru;
use super::seek::Seeker;
use super::settle::Settling;
use super::whiteout::{Form, magic};
use super::{LayerIndex, Layers, Options, Overlay, Result, Upper};
use crate::sys::{self, Context};

/// Descriptors of content that are kept at most.
const FILES: u64 = 1024;
/// Copies that the disk has not been told of, each with a descriptor: more than are made in the second that they wait.
const SETTLING: u64 = 8192;
/// Directories that are held open at most, each layer of a merged one counted.
const DIRECTORIES: u64 = 8192;
/// Listings that are remembered.
const LISTINGS: usize = 64;

/// A mount that is nowhere yet, and who answers for it.
#[derive(Debug)]
pub struct Mounted {
    /// Detached; whoever touches it waits until the server runs.
    pub mount: OwnedFd,
    pub server: Server,
}

/// Answers the requests of one mount.
pub struct Server {
    overlay: Overlay,
    device: OwnedFd,
    workers: usize,
    clone_device: bool,
    lookout: Lookout,
    company: Arc<Company>,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("overlay", &self.overlay).finish_non_exhaustive()
    }
}

/// Mounts the layers as one tree. `name` is part of the type that is shown, `fuse.NAME`, `attributes` are
/// `MOUNT_ATTR_*` bits.
pub fn mount(layers: Layers, options: Options, name: &str, attributes: u64) -> sys::Result<Mounted> {
    let (mount, device) = sys::fuse::mount(name, attributes)?;
    Ok(Mounted { mount, server: Server::on(device, layers, options)? })
}

impl Server {
    /// Answers on a device that the caller mounted, or on a socket of his that keeps packets apart.
    pub fn on(device: OwnedFd, layers: Layers, options: Options) -> sys::Result<Self> {
        let (workers, clone_device) = (options.workers.max(1), options.clone_device);
        let overlay = Overlay::new(layers, options).op("read the layers")?;
        let lookout = Lookout::new(device.try_clone().op("keep the FUSE device")?);
        let watched = device.try_clone().op("keep the FUSE device")?;
        let company = Arc::new(Company::new(watched, workers));
        Ok(Self { overlay, device, workers, clone_device, lookout, company, counts: Arc::default() })
    }

    /// How many requests of each kind there were.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Answers requests until the last mount of the tree is gone. Returns then; an error is the end, too, and
    /// whoever uses the tree gets `ENOTCONN` from there on.
    pub fn serve(self) -> io::Result<()> {
        let Self { overlay, device, workers, clone_device, lookout, company, counts } = self;
        // Each worker has 16 MB to read into, of which requests of a few bytes use one page.
        sys::memory::map_large_blocks();
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(workers);
        config.clone_fd = workers > 1 && clone_device;
        let overlay = Arc::new(overlay);
        let seeker = Arc::new(Seeker::default());
        let late = Arc::new(Late::default());
        let adapter = Adapter::new(
            Arc::clone(&overlay),
            counts,
            lookout,
            company,
            Arc::clone(&seeker),
            Arc::clone(&late),
        );
        match Session::from_fd(adapter, device, SessionACL::All, config) {
            // Nobody wanted it after all.
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
            session => {
                let session = session?;
                seeker.prepare(&overlay, session.notifier());
                late.prepare(session.notifier());
                session.run()
            }
        }
    }
}

impl Overlay {
    fn new(layers: Layers, options: Options) -> Result<Self> {
        let Layers { lowers, upper } = layers;
        let mut all = Vec::with_capacity(lowers.len() + 1);
        let mut work = None;
        let mut hides = Form::Device;
        if let Some(Upper { dir, work: outer }) = upper {
            let inner = fresh_work(&outer)?;
            hides = Form::probe(&inner)?;
            all.push(dir);
            work = Some(inner);
        }
        all.extend(lowers);
        let top = all.first().ok_or(Errno::INVAL)?;
        let stat = rustix::fs::fstat(top)?;
        let mut below = Vec::new();
        for index in 1..all.len() {
            // What is under an opaque top shows no more.
            if hides.is_opaque(&all[index - 1])? {
                break;
            }
            below.push(LayerIndex::try_from(index).map_err(|_| Errno::TOOBIG)?);
        }
        let found = Found { layer: 0, stat, below };
        let descriptors = sys::limits::files();
        let bounded = |most: u64, share: u64| usize::try_from(most.min(descriptors / share)).unwrap_or(64);
        Ok(Self {
            layers: all.into_iter().map(Arc::new).collect(),
            work,
            volatile: options.volatile,
            owners: options.owners,
            hides,
            table: Mutex::new(Table::new(&found)),
            dirs: Mutex::new(Lru::new(bounded(DIRECTORIES, 4))),
            files: Mutex::new(Lru::new(bounded(FILES, 4))),
            clearing: RwLock::new(()),
            listings: Mutex::new(Lru::new(LISTINGS)),
            copying: Turns::default(),
            temporary: AtomicU64::new(0),
            settling: Settling::new(bounded(SETTLING, 4)),
        })
    }
}

/// An empty directory `work` in `outer`, as the kernel's overlay makes it: what a mount that died left is removed.
fn fresh_work(outer: &OwnedFd) -> Result<OwnedFd> {
    let raw = |e: sys::Error| Errno::from_raw_os_error(e.errno());
    sys::tree::remove_tree(outer.as_fd(), Path::new("work")).map_err(raw)?;
    rustix::fs::mkdirat(outer, "work", Mode::RWXU)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let work = rustix::fs::openat(outer, "work", flags, Mode::empty())?;
    // What is made in it has the access control list of where it is going, not of where the store lies.
    match rustix::fs::removexattr(magic(&work), "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(work),
        Err(e) => Err(e),
    }
}
