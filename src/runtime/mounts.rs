//! The mounts of a plan, one after another: made detached, finished, moved onto a descriptor inside the root.
//!
//! The kernel's file systems go only where the root has a real directory: an image whose `/proc`, `/sys` or
//! `/dev` is a link is refused (CVE-2023-28642, CVE-2025-54867, CVE-2026-41579). Targets that the user chose
//! may be links, and are followed inside the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::handshake::{Failure, ProcessEnd, Step};
use super::plan::{BindPropagation, Mount, MountFlags, MountSource, Namespace, Plan, PropagationKind, Tmpfs};
use super::{dev, inner};
use crate::sys::mount::{self, FsContext, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::sys::path::{self, Make};
use crate::sys::{self, Context, process};

/// What later steps need from the mounts.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// The root of the container's own devpts.
    pub devpts: Option<OwnedFd>,
    /// The root of the container's own procfs.
    pub proc: Option<OwnedFd>,
}

/// What the mounts need besides the plan.
#[derive(Debug)]
pub(super) struct Helpers<'a> {
    /// Hears of what weakens the container.
    pub shim: &'a ProcessEnd,
    /// The `/dev/shm` of the container whose IPC namespace is shared.
    pub shm: Option<OwnedFd>,
    /// What was bound already, where the process is no longer the user who may.
    pub binds: Option<inner::Binds>,
    /// What [`super::texts::prepare`] has made.
    pub texts: Vec<OwnedFd>,
}

/// Carries out the plan's mounts below `root`, which is attached.
pub(super) fn all(plan: &Plan, root: &OwnedFd, helpers: &Helpers<'_>) -> Result<Mounted, Failure> {
    let mut mounted = Mounted::default();
    let mut texts = helpers.texts.iter();
    let context = At { plan, root, helpers };
    for mount in &plan.mounts {
        let doing = format!("mount {}", mount.target.display());
        context.one(mount, &mut texts, &mut mounted).map_err(|mut failure| {
            failure.message = format!("{doing}: {}", failure.message);
            failure
        })?;
    }
    Ok(mounted)
}

struct At<'a> {
    plan: &'a Plan,
    root: &'a OwnedFd,
    helpers: &'a Helpers<'a>,
}

impl At<'_> {
    fn one<'t>(
        &self,
        mount: &Mount,
        texts: &mut impl Iterator<Item = &'t OwnedFd>,
        mounted: &mut Mounted,
    ) -> Result<(), Failure> {
        let bits = attribute_bits(mount.flags);
        match &mount.source {
            MountSource::Proc => {
                mounted.proc = self.proc(mount, bits)?;
                Ok(())
            }
            MountSource::Sysfs => self.sysfs(mount, bits),
            MountSource::Cgroup => self.cgroup(mount, bits),
            MountSource::Mqueue => self.mqueue(mount, bits),
            MountSource::Devpts => {
                let devpts = self.devpts()?.mount(bits).step("devpts")?;
                self.attach_strict(&devpts, &mount.target)?;
                mounted.devpts = Some(devpts);
                Ok(())
            }
            MountSource::Dev => {
                let dev = dev::tmpfs()?;
                self.attach_strict(&dev, &mount.target)?;
                dev::populate(&dev, self.plan)
            }
            MountSource::Tmpfs(options) => {
                let tmpfs = owned_tmpfs(options)?.mount(bits).step("tmpfs")?;
                self.attach(&tmpfs, &mount.target, Make::Directory)
            }
            MountSource::Text(_) => {
                let text = texts.next().ok_or_else(|| Failure::own("text", "it was not prepared"))?;
                if bits != 0 {
                    mount::set_attributes(text, bits, false).step("text")?;
                }
                self.attach(text, &mount.target, Make::EmptyFile)
            }
            MountSource::Bind { source, recursive, propagation } => {
                self.bind(mount, source, *recursive, *propagation)
            }
        }
    }

    fn proc(&self, mount: &Mount, bits: u64) -> Result<Option<OwnedFd>, Failure> {
        if self.plan.namespaces.pid == Namespace::Host {
            return self.bind_host("/proc", &mount.target, bits).map(|()| None);
        }
        match FsContext::open("proc").and_then(|proc| proc.mount(bits)) {
            Ok(proc) => self.attach_strict(&proc, &mount.target).map(|()| Some(proc)),
            // The kernel shows a new procfs only to those who see all of an old one (mount_too_revealing).
            Err(e) if e.is(libc::EPERM) => {
                self.helpers.shim.warn(
                    "the outer container hides parts of /proc, so no procfs of the container's own can be \
                     mounted: it sees the outer one's processes",
                );
                self.bind_host("/proc", &mount.target, bits).map(|()| None)
            }
            Err(e) => Err(e).step("procfs"),
        }
    }

    fn sysfs(&self, mount: &Mount, bits: u64) -> Result<(), Failure> {
        if self.plan.namespaces.network == Namespace::New
            && let Ok(sysfs) = FsContext::open("sysfs").and_then(|sysfs| sysfs.mount(bits))
        {
            return self.attach_strict(&sysfs, &mount.target);
        }
        self.bind_host("/sys", &mount.target, bits)
    }

    /// Without a cgroup file system of its own the container sees the empty directory of sysfs.
    fn cgroup(&self, mount: &Mount, bits: u64) -> Result<(), Failure> {
        let Ok(target) = path::find_in(self.root, &mount.target) else { return Ok(()) };
        match FsContext::open("cgroup2").and_then(|cgroup| cgroup.mount(bits)) {
            Ok(cgroup) => mount::attach(&cgroup, &target).step("cgroup2"),
            Err(e) => {
                tracing::debug!("no cgroup2 mount in the container: {e}");
                Ok(())
            }
        }
    }

    fn mqueue(&self, mount: &Mount, bits: u64) -> Result<(), Failure> {
        if self.plan.namespaces.ipc == Namespace::Host {
            if Path::new("/dev/mqueue").is_dir() {
                return self.bind_host("/dev/mqueue", &mount.target, bits);
            }
            return Ok(());
        }
        match FsContext::open("mqueue").and_then(|mqueue| mqueue.mount(bits)) {
            Ok(mqueue) => self.attach_strict(&mqueue, &mount.target),
            // A kernel without POSIX message queues.
            Err(e) if e.is(libc::ENODEV) => Ok(()),
            Err(e) => Err(e).step("mqueue"),
        }
    }

    fn devpts(&self) -> Result<FsContext, Failure> {
        let devpts = FsContext::open("devpts").step("devpts")?;
        devpts.flag("newinstance").step("devpts")?;
        devpts.set("ptmxmode", "0666").step("devpts")?;
        devpts.set("mode", "0620").step("devpts")?;
        devpts.set("gid", self.plan.tty_gid.to_string()).step("devpts")?;
        Ok(devpts)
    }

    /// A directory of the host's kernel, with what is mounted below it, closed to writing unless it is `/proc`.
    fn bind_host(&self, source: &str, target: &Path, bits: u64) -> Result<(), Failure> {
        let tree = mount::clone_tree(CWD, source, true).step("bind from the host")?;
        mount::set_attributes(&tree, bits, true).step("bind from the host")?;
        mount::set_propagation(&tree, libc::MS_PRIVATE, true).step("bind from the host")?;
        self.attach_strict(&tree, target)
    }

    fn bind(
        &self,
        mount: &Mount,
        source: &Path,
        recursive: bool,
        propagation: Option<BindPropagation>,
    ) -> Result<(), Failure> {
        let tree = match (&self.helpers.shm, inner::next(self.helpers.binds.as_ref())) {
            (_, Some(taken)) => taken,
            (Some(shm), None) if mount.target == Path::new("/dev/shm") => {
                process::duplicate(shm.as_fd()).step("bind")?
            }
            _ => {
                mount::clone_tree(CWD, source, recursive).map_err(|e| explain_bind(&e, source, recursive))?
            }
        };
        let bits = attribute_bits(mount.flags);
        if bits != 0 {
            mount::set_attributes(&tree, bits, mount.flags.recursive).step("set the bind's options")?;
        }
        let (kind, deep) = match propagation {
            None => (libc::MS_PRIVATE, true),
            Some(p) => (propagation_bits(p.kind), p.recursive),
        };
        mount::set_propagation(&tree, kind, deep).step("set the bind's propagation")?;
        let stat = rustix::fs::fstat(&tree).step("stat the bind's source")?;
        let make = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Make::Directory,
            _ => Make::EmptyFile,
        };
        self.attach(&tree, &mount.target, make)
    }

    fn attach(&self, mounted: &OwnedFd, target: &Path, make: Make) -> Result<(), Failure> {
        let place = path::make_in(self.root, target, make).map_err(|e| explain_target(&e, target))?;
        // To the kernel it is one invalid argument of many.
        mount::attach(mounted, &place).map_err(|e| match is_directory(mounted) == is_directory(&place) {
            true => explain_target(&e, target),
            false => two_kinds(target),
        })
    }

    /// Only onto a directory that is reached without a link.
    fn attach_strict(&self, mounted: &OwnedFd, target: &Path) -> Result<(), Failure> {
        let open = || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(self.root, target, flags, Mode::empty(), resolve).op_on("open", target)
        };
        let place = match open() {
            Err(e) if e.is(libc::ENOENT) => {
                path::make_in(self.root, target, Make::Directory).map_err(|e| explain_target(&e, target))?;
                open()
            }
            other => other,
        };
        let place = place.map_err(|e| match e.errno() {
            libc::ELOOP => Failure::own("refused", "the image has a symbolic link there"),
            _ => explain_target(&e, target),
        })?;
        mount::attach(mounted, &place).map_err(|e| explain_target(&e, target))
    }
}

pub(super) fn tmpfs(size: Option<u64>, mode: u32) -> Result<FsContext, Failure> {
    let tmpfs = FsContext::open("tmpfs").step("tmpfs")?;
    tmpfs.set("mode", format!("{mode:o}")).step("tmpfs")?;
    if let Some(size) = size {
        tmpfs.set("size", size.to_string()).step("tmpfs")?;
    }
    Ok(tmpfs)
}

fn owned_tmpfs(options: &Tmpfs) -> Result<FsContext, Failure> {
    let tmpfs = tmpfs(options.size, options.mode)?;
    let owner = [("uid", options.uid), ("gid", options.gid)];
    for (key, id) in owner.into_iter().filter_map(|(key, id)| Some((key, id?))) {
        let doing = || Failure::own("tmpfs", format!("{key}={id} is not among the ids that you may map"));
        tmpfs.set(key, id.to_string()).map_err(|_| doing())?;
    }
    if let Some(inodes) = options.inodes {
        tmpfs.set("nr_inodes", inodes.to_string()).step("tmpfs")?;
    }
    for (key, value) in &options.data {
        let refused = |e| Failure::own("tmpfs", format!("the kernel does not take {key}={value}: {e}"));
        tmpfs.set(key, value.as_str()).map_err(refused)?;
    }
    Ok(tmpfs)
}

fn attribute_bits(flags: MountFlags) -> u64 {
    let choose = |on: bool, bit: u64| if on { bit } else { 0 };
    choose(flags.read_only, READ_ONLY)
        | choose(flags.no_suid, NO_SUID)
        | choose(flags.no_dev, NO_DEV)
        | choose(flags.no_exec, NO_EXEC)
}

fn propagation_bits(kind: PropagationKind) -> u64 {
    match kind {
        PropagationKind::Private => libc::MS_PRIVATE,
        PropagationKind::Slave => libc::MS_SLAVE,
        PropagationKind::Shared => libc::MS_SHARED,
    }
}

pub(super) fn explain_bind(error: &sys::Error, source: &Path, recursive: bool) -> Failure {
    let failure = Failure::own("bind", error);
    match error.errno() {
        libc::ENOENT => Failure::own("bind", format!("the source {} does not exist", source.display())),
        libc::EINVAL if !recursive => failure.with_hint(
            "the kernel lets a user namespace copy a directory with mounts below it only as a whole: bind it \
             recursively",
        ),
        _ => failure,
    }
}

fn explain_target(error: &sys::Error, target: &Path) -> Failure {
    let failure = Failure::own("target", error);
    match error.errno() {
        libc::ENOTDIR => two_kinds(target),
        libc::EROFS | libc::EACCES => {
            failure.with_hint("the mount point does not exist and cannot be made in a read-only root")
        }
        _ => failure,
    }
}

fn two_kinds(target: &Path) -> Failure {
    Failure::own("target", format!("{} is a file on one side and a directory on the other", target.display()))
}

fn is_directory(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Whether the open file is the character device `major:minor`.
pub(super) fn is_device(fd: impl AsFd, major: u32, minor: u32) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (major, minor)
    })
}
