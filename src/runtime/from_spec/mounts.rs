//! The spec's mounts: type and options to a source and flags. An option that is not carried out is an error.

use std::path::Path;

use oci_spec::runtime as oci;

use super::{Error, Result, TEXT, annotation, checked_path, invalid};
use crate::runtime::plan::{BindPropagation, Mount, MountFlags, MountSource, PropagationKind, Tmpfs};

/// Files of `/proc` that may be covered, as runc has them: what lxcfs and its like provide.
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

#[derive(Default)]
struct Options {
    flags: MountFlags,
    recursive_bind: bool,
    propagation: Option<BindPropagation>,
    /// The mode is the one that the kernel gives a tmpfs, unless said.
    tmpfs: Tmpfs,
}

pub(super) fn mount(mount: &oci::Mount, spec: &oci::Spec) -> Result<Mount> {
    let target = checked_path("mount target", mount.destination())?;
    if target == Path::new("/") {
        return Err(invalid("mount target `/`", "the root itself cannot be covered"));
    }
    let shown = target.display().to_string();
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(Error::NotBuilt(format!("an id-mapped mount (`{shown}`)")));
    }
    let names = mount.options().as_deref().unwrap_or_default();
    let bind = names.iter().any(|o| o == "bind" || o == "rbind");
    let kind = if bind { "bind" } else { mount.typ().as_deref().unwrap_or("bind") };
    let options = options(&shown, kind, names)?;
    refuse_covering(&target, kind)?;
    let mut flags = options.flags;
    let source = match kind {
        "proc" => MountSource::Proc,
        "sysfs" => MountSource::Sysfs,
        "cgroup" | "cgroup2" => MountSource::Cgroup,
        "mqueue" => MountSource::Mqueue,
        "devpts" => MountSource::Devpts,
        "tmpfs" if target == Path::new("/dev") => MountSource::Dev,
        "tmpfs" => MountSource::Tmpfs(options.tmpfs),
        "bind" => {
            let source = mount.source().as_ref();
            let source =
                source.ok_or_else(|| invalid(format!("mount `{shown}`"), "a bind needs a source"))?;
            let source = checked_path("mount source", source)?;
            MountSource::Bind { source, recursive: options.recursive_bind, propagation: options.propagation }
        }
        TEXT => MountSource::Text(text(spec, &shown)?),
        other => return Err(Error::NotBuilt(format!("a mount of type `{other}` (`{shown}`)"))),
    };
    if kind != "bind" && options.propagation.is_some() {
        return Err(invalid(format!("mount `{shown}`"), "propagation is for binds"));
    }
    flags.recursive &= kind == "bind";
    Ok(Mount { target, source, flags })
}

/// What the file at `target` will hold.
fn text(spec: &oci::Spec, target: &str) -> Result<String> {
    let name = format!("{}{target}", annotation::TEXT);
    let found = spec.annotations().as_ref().and_then(|all| all.get(&name));
    found.cloned().ok_or_else(|| invalid(format!("mount `{target}`"), "its text is missing"))
}

/// procfs is what runtime, security modules and container rely on: nothing may stand in for it, nor for sysfs.
fn refuse_covering(target: &Path, kind: &str) -> Result<()> {
    let clean: std::path::PathBuf = target.components().collect();
    let what = || format!("mount target `{}`", target.display());
    let below_proc = clean.starts_with("/proc");
    let procfs = clean == Path::new("/proc") && kind == "proc";
    if below_proc && !procfs && !PROC_FILES.iter().any(|f| clean == Path::new(f)) {
        return Err(invalid(what(), "nothing can be mounted over /proc"));
    }
    if clean == Path::new("/sys") && kind != "sysfs" {
        return Err(invalid(what(), "nothing can be mounted over /sys"));
    }
    Ok(())
}

fn options(shown: &str, kind: &str, names: &[String]) -> Result<Options> {
    let mut o = Options { tmpfs: Tmpfs { mode: 0o1777, ..Tmpfs::default() }, ..Options::default() };
    for name in names {
        let f = &mut o.flags;
        match name.as_str() {
            "ro" => f.read_only = true,
            "rro" => (f.read_only, f.recursive) = (true, true),
            "rw" => f.read_only = false,
            "nosuid" => f.no_suid = true,
            "suid" => f.no_suid = false,
            "nodev" => f.no_dev = true,
            "dev" => f.no_dev = false,
            "noexec" => f.no_exec = true,
            "exec" => f.no_exec = false,
            // The kernel's default.
            "relatime" => {}
            "bind" => {}
            "rbind" => o.recursive_bind = true,
            // How kelp mounts every devpts.
            "newinstance" | "ptmxmode=0666" | "mode=0620" if kind == "devpts" => {}
            other => match (propagation(other), other.split_once('=')) {
                (Some(p), _) => o.propagation = Some(p),
                (None, Some((key, value))) if kind == "tmpfs" => {
                    if !tmpfs_option(&mut o.tmpfs, shown, key, value)? {
                        return Err(Error::NotBuilt(format!("mount option `{other}` (`{shown}`)")));
                    }
                }
                _ => return Err(Error::NotBuilt(format!("mount option `{other}` (`{shown}`)"))),
            },
        }
    }
    Ok(o)
}

fn propagation(name: &str) -> Option<BindPropagation> {
    let (kind, recursive) = match name {
        "private" => (PropagationKind::Private, false),
        "rprivate" => (PropagationKind::Private, true),
        "slave" => (PropagationKind::Slave, false),
        "rslave" => (PropagationKind::Slave, true),
        "shared" => (PropagationKind::Shared, false),
        "rshared" => (PropagationKind::Shared, true),
        _ => return None,
    };
    Some(BindPropagation { kind, recursive })
}

/// `false`: there is no such option.
fn tmpfs_option(tmpfs: &mut Tmpfs, shown: &str, key: &str, value: &str) -> Result<bool> {
    let number = || -> Result<u32> {
        let reason = || format!("`{key}={value}` is not a number");
        value.parse().map_err(|_| invalid(format!("tmpfs `{shown}`"), reason()))
    };
    match key {
        "nr_blocks" | "mpol" => tmpfs.data.push((key.to_owned(), value.to_owned())),
        "size" if value.ends_with('%') => tmpfs.data.push((key.to_owned(), value.to_owned())),
        "size" => tmpfs.size = Some(tmpfs_size(shown, value)?),
        "mode" => tmpfs.mode = tmpfs_mode(shown, value)?,
        "uid" => tmpfs.uid = Some(number()?),
        "gid" => tmpfs.gid = Some(number()?),
        "nr_inodes" => tmpfs.inodes = Some(u64::from(number()?)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn tmpfs_size(shown: &str, text: &str) -> Result<u64> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1024),
        None => (text, 1),
    };
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    size.ok_or_else(|| invalid(format!("tmpfs `{shown}`"), format!("`size={text}` is not a size in bytes")))
}

fn tmpfs_mode(shown: &str, text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    mode.ok_or_else(|| invalid(format!("tmpfs `{shown}`"), format!("`mode={text}` is not an octal mode")))
}
