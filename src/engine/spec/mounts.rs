//! The list of mounts: docker's own, less those that the user replaces, then the user's and `/etc`'s by depth.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::{Place, built, clean};
use crate::engine::request::{CreateRequest, MountRequest, NamespaceMode, Propagation};
use crate::engine::{Error, Result};
use crate::runtime::from_spec::TEXT;

/// docker's `/dev/shm`, in bytes.
const SHM_SIZE: u64 = 64 << 20;

pub(super) fn mounts(request: &CreateRequest, place: &Place) -> Result<Vec<Mount>> {
    let targets: Vec<PathBuf> = request.mounts.iter().map(|m| clean(m.target())).collect();
    for (i, target) in targets.iter().enumerate() {
        refuse(target, &request.mounts[i])?;
        if targets[..i].contains(target) {
            return Err(invalid(target, "duplicate mount point"));
        }
    }
    let mut list = system(request, place)?;
    // Who mounts something over /dev wants all of it.
    let dev = targets.iter().any(|t| t == Path::new("/dev"));
    list.retain(|m| {
        let replaced = targets.iter().any(|t| t == m.destination());
        !(replaced || dev && m.destination().starts_with("/dev"))
    });
    let mut late = Vec::new();
    for (mount, target) in request.mounts.iter().zip(&targets) {
        late.push(users(mount, target)?);
    }
    for path in super::files::PATHS {
        let target = Path::new(path);
        if !targets.iter().any(|t| t == target) {
            let access = if request.read_only { "ro" } else { "rw" };
            late.push(mount(target, TEXT, Path::new("none"), &[access])?);
        }
    }
    // Stable: a deeper target lies in what a shallower one mounts, never under it.
    late.sort_by_key(|m| m.destination().components().count());
    list.extend(late);
    Ok(list)
}

fn invalid(target: &Path, reason: &str) -> Error {
    Error::Invalid { what: "mount target", value: target.display().to_string(), reason: reason.to_owned() }
}

/// `from_spec` refuses the rest below `/proc`; here are the answers that a user of options deserves.
fn refuse(target: &Path, mount: &MountRequest) -> Result<()> {
    let is = |path: &str| target == Path::new(path);
    if is("/") {
        return Err(invalid(target, "destination can't be '/'"));
    }
    if is("/proc") || is("/sys") {
        return Err(invalid(target, "nothing can be mounted over it: the container's own is needed there"));
    }
    if is("/dev") && matches!(mount, MountRequest::Tmpfs { .. }) {
        return Err(invalid(target, "kelp makes /dev a tmpfs itself"));
    }
    Ok(())
}

fn system(request: &CreateRequest, place: &Place) -> Result<Vec<Mount>> {
    let none = |name: &'static str| Path::new(name).to_owned();
    let guarded = ["nosuid", "noexec", "nodev"];
    let sysfs: &[&str] = if request.privileged { &guarded } else { &["nosuid", "noexec", "nodev", "ro"] };
    let mut list = vec![
        mount(Path::new("/proc"), "proc", &none("proc"), &guarded)?,
        mount(Path::new("/dev"), "tmpfs", &none("tmpfs"), &["nosuid", "mode=755", "size=65536k"])?,
        mount(Path::new("/dev/pts"), "devpts", &none("devpts"), &["nosuid", "noexec", "newinstance"])?,
        mount(Path::new("/sys"), "sysfs", &none("sysfs"), sysfs)?,
        // Read-only even when privileged: as root in the container one is the owner of the session's cgroup.
        mount(Path::new("/sys/fs/cgroup"), "cgroup", &none("cgroup"), &["nosuid", "noexec", "nodev", "ro"])?,
    ];
    let (shm, mqueue) = (Path::new("/dev/shm"), Path::new("/dev/mqueue"));
    let bound = ["rbind", "nosuid", "noexec", "nodev", "rprivate"];
    // With the host's IPC namespace its queues; a host that has none mounted has none to show.
    list.push(mount(mqueue, "mqueue", &none("mqueue"), &guarded)?);
    match (&request.ipc, place.join_ipc.as_deref()) {
        (NamespaceMode::None, _) => {}
        (NamespaceMode::Host, _) => list.push(mount(shm, "bind", shm, &bound)?),
        (NamespaceMode::Container(_), Some(namespace)) => {
            // `/proc/PID/ns/ipc` to `/proc/PID/root/dev/shm`.
            let process = namespace.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
            list.push(mount(shm, "bind", &process.join("root/dev/shm"), &bound)?);
        }
        (NamespaceMode::Container(_) | NamespaceMode::Private, _) => {
            let size = format!("size={}", request.shm_size.unwrap_or(SHM_SIZE));
            let options = ["nosuid", "noexec", "nodev", "mode=1777", size.as_str()];
            list.push(mount(shm, "tmpfs", &none("shm"), &options)?);
        }
    }
    Ok(list)
}

fn users(request: &MountRequest, target: &Path) -> Result<Mount> {
    match request {
        MountRequest::Bind { source, read_only, recursive, writable_submounts, propagation, .. } => {
            let bind = if *recursive { "rbind" } else { "bind" };
            let access = match (read_only, *recursive && !writable_submounts) {
                (true, true) => "rro",
                (true, false) => "ro",
                (false, _) => "rw",
            };
            mount(target, "bind", source, &[bind, access, propagation_name(*propagation)])
        }
        MountRequest::Tmpfs { size, mode, uid, gid, inodes, read_only, exec, suid, dev, data, .. } => {
            let mut options = vec![if *read_only { "ro" } else { "rw" }.to_owned()];
            options.push(if *exec { "exec" } else { "noexec" }.to_owned());
            options.push(if *suid { "suid" } else { "nosuid" }.to_owned());
            options.push(if *dev { "dev" } else { "nodev" }.to_owned());
            options.extend(size.map(|bytes| format!("size={bytes}")));
            options.extend(mode.map(|bits| format!("mode={bits:o}")));
            options.extend(uid.map(|id| format!("uid={id}")));
            options.extend(gid.map(|id| format!("gid={id}")));
            options.extend(inodes.map(|count| format!("nr_inodes={count}")));
            options.extend(data.iter().cloned());
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            mount(target, "tmpfs", Path::new("tmpfs"), &options)
        }
    }
}

fn propagation_name(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::RPrivate => "rprivate",
        Propagation::Private => "private",
        Propagation::RSlave => "rslave",
        Propagation::Slave => "slave",
        Propagation::RShared => "rshared",
        Propagation::Shared => "shared",
    }
}

fn mount(target: &Path, kind: &str, source: &Path, options: &[&str]) -> Result<Mount> {
    built(
        MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(source)
            .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
            .build(),
    )
}
