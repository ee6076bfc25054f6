//! `-v`, `--mount`, `--tmpfs`. Volumes are not built yet: a source that names one is an error.

use std::path::{Component, Path, PathBuf};

use super::{invalid, limits::size};
use crate::engine::request::{MountRequest, Propagation};
use crate::engine::{Error, Result};

const NO_VOLUMES: &str = "volumes are not built yet: give an absolute path of the host, or ./PATH";

/// Why a relative path leads nowhere where `cwd` is empty.
pub(super) const NO_DIRECTORY: &str = "it is relative, and the current directory does not exist any more";

/// `-v SOURCE:TARGET[:OPTIONS]`; `cwd` completes a source that begins with a dot, as docker does.
///
/// `z` and `Z` relabel for SELinux: on a host without SELinux there is nothing to do, elsewhere they are an error.
/// `consistent`, `cached` and `delegated` are promises that a Linux bind always keeps.
pub fn volume(spec: &str, cwd: &Path) -> Result<MountRequest> {
    let fail = |reason: &str| invalid("volume specification", spec, reason);
    if spec.is_empty() {
        return Err(fail("it is empty"));
    }
    let mut parts = spec.splitn(3, ':');
    let (source, target, options) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(target) = target else {
        return Err(fail(&format!("anonymous {NO_VOLUMES}")));
    };
    if source.is_empty() || target.is_empty() {
        return Err(fail("SOURCE:TARGET[:OPTIONS] is allowed"));
    }
    let mut access = None;
    let mut propagation = None;
    for option in options.iter().flat_map(|o| o.split(',')) {
        match option {
            "ro" | "rw" if access.is_none() => access = Some(option == "ro"),
            "z" | "Z" if !Path::new("/sys/fs/selinux/enforce").exists() => {}
            "z" | "Z" => return Err(fail("relabelling for SELinux is not built yet")),
            "consistent" | "cached" | "delegated" => {}
            "nocopy" => return Err(fail("nocopy is for volumes, which are not built yet")),
            other => match (propagation_of(other), propagation) {
                (Some(kind), None) => propagation = Some(kind),
                _ => return Err(fail(&format!("invalid mode: {}", options.unwrap_or_default()))),
            },
        }
    }
    Ok(MountRequest::Bind {
        source: host_path(source, cwd).map_err(|reason| fail(&reason))?,
        target: target_path(target).map_err(|reason| fail(&reason))?,
        read_only: access.unwrap_or(false),
        recursive: true,
        writable_submounts: false,
        propagation: propagation.unwrap_or_default(),
        create_source: true,
    })
}

/// Absolute as it is, with a leading dot completed; everything else would be a volume's name.
fn host_path(source: &str, cwd: &Path) -> std::result::Result<PathBuf, String> {
    if source.contains('\0') {
        return Err("a path cannot contain a NUL byte".to_owned());
    }
    if source.starts_with('/') {
        return Ok(source.into());
    }
    if !source.starts_with('.') {
        return Err(format!("`{source}` would be a named volume; {NO_VOLUMES}"));
    }
    if cwd.as_os_str().is_empty() {
        return Err(NO_DIRECTORY.to_owned());
    }
    Ok(cleaned(&cwd.join(source)))
}

/// An absolute path without `.` and `..`, as text: Go's `filepath.Clean`, docker's way with both ends of a mount.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

fn target_path(target: &str) -> std::result::Result<PathBuf, String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    if target.contains('\0') {
        return Err(format!("invalid mount path: '{target}' has a NUL byte"));
    }
    let target = cleaned(Path::new(target));
    if target.components().count() == 1 {
        return Err("destination can't be '/'".to_owned());
    }
    Ok(target)
}

fn propagation_of(name: &str) -> Option<Propagation> {
    Some(match name {
        "private" => Propagation::Private,
        "rprivate" => Propagation::RPrivate,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::RSlave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::RShared,
        _ => return None,
    })
}

/// What the keys of one `--mount` said.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    recursive: Option<Recursive>,
    tmpfs_size: Option<u64>,
    tmpfs_mode: Option<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Recursive {
    Enabled,
    Disabled,
    Writable,
    ReadOnly,
}

/// `--mount type=bind|tmpfs,…`, docker's keys in docker's CSV.
pub fn mount(spec: &str, cwd: &Path) -> Result<MountRequest> {
    let fail = |reason: String| invalid("mount", spec, reason);
    let mut fields = Fields::default();
    for entry in csv(spec).ok_or_else(|| fail("a quote is not closed".into()))? {
        field(&mut fields, &entry).map_err(fail)?;
    }
    let target = fields.target.take().ok_or_else(|| fail("target is required".into()))?;
    let target = target_path(&target).map_err(fail)?;
    match fields.kind.as_deref() {
        Some("bind") => bind(fields, target, cwd).map_err(fail),
        Some("tmpfs") => tmpfs_mount(&fields, target).map_err(fail),
        None | Some("volume") => Err(fail(format!("type=volume (the default): {NO_VOLUMES}"))),
        Some(kind @ ("image" | "npipe" | "cluster")) => Err(fail(format!("type={kind} is not built"))),
        Some(kind) => Err(fail(format!("unknown type `{kind}`; bind and tmpfs are allowed"))),
    }
}

fn bind(fields: Fields, target: PathBuf, cwd: &Path) -> std::result::Result<MountRequest, String> {
    if fields.tmpfs_size.is_some() || fields.tmpfs_mode.is_some() {
        return Err("cannot mix 'tmpfs-*' options with mount type 'bind'".to_owned());
    }
    let source = fields.source.ok_or("source is required for type=bind")?;
    if !source.starts_with(['/', '.']) {
        return Err(format!("invalid mount path: '{source}' mount path must be absolute"));
    }
    let recursive = fields.recursive.unwrap_or(Recursive::Enabled);
    if matches!(recursive, Recursive::Writable | Recursive::ReadOnly) && !fields.read_only {
        return Err("this bind-recursive requires 'readonly' to be specified in conjunction".to_owned());
    }
    if recursive == Recursive::ReadOnly && fields.propagation != Some(Propagation::RPrivate) {
        return Err("bind-recursive=readonly requires 'bind-propagation=rprivate' in conjunction".to_owned());
    }
    Ok(MountRequest::Bind {
        source: host_path(&source, cwd)?,
        target,
        read_only: fields.read_only,
        recursive: recursive != Recursive::Disabled,
        writable_submounts: recursive == Recursive::Writable,
        propagation: fields.propagation.unwrap_or_default(),
        create_source: false,
    })
}

fn tmpfs_mount(fields: &Fields, target: PathBuf) -> std::result::Result<MountRequest, String> {
    if fields.source.is_some() {
        return Err("source is not allowed for type=tmpfs".to_owned());
    }
    if fields.propagation.is_some() || fields.recursive.is_some() {
        return Err("cannot mix 'bind-*' options with mount type 'tmpfs'".to_owned());
    }
    Ok(MountRequest::Tmpfs {
        target,
        size: fields.tmpfs_size,
        mode: fields.tmpfs_mode,
        uid: None,
        gid: None,
        inodes: None,
        read_only: fields.read_only,
        exec: false,
        suid: false,
        dev: false,
        data: Vec::new(),
    })
}

fn field(fields: &mut Fields, entry: &str) -> std::result::Result<(), String> {
    let (key, value) = entry.split_once('=').map_or((entry, None), |(k, v)| (k, Some(v)));
    let key = key.to_ascii_lowercase();
    let needed =
        || value.filter(|v| !v.is_empty()).ok_or_else(|| format!("`{key}` must be a key=value pair"));
    let switch = || match value {
        None => Ok(true),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    };
    match key.as_str() {
        "type" => fields.kind = Some(needed()?.to_ascii_lowercase()),
        "source" | "src" => fields.source = Some(needed()?.to_owned()),
        "target" | "dst" | "destination" => fields.target = Some(needed()?.to_owned()),
        "readonly" | "ro" => fields.read_only = switch()?,
        // On Linux every bind is consistent.
        "consistency" if matches!(needed()?, "consistent" | "cached" | "delegated" | "default") => {}
        "bind-propagation" => {
            let name = needed()?;
            let kind = propagation_of(name).ok_or_else(|| format!("invalid propagation mode: {name}"))?;
            fields.propagation = Some(kind);
        }
        "bind-nonrecursive" => fields.recursive = switch()?.then_some(Recursive::Disabled),
        "bind-recursive" => {
            fields.recursive = Some(match needed()? {
                "enabled" => Recursive::Enabled,
                "disabled" => Recursive::Disabled,
                "writable" => Recursive::Writable,
                "readonly" => Recursive::ReadOnly,
                other => {
                    return Err(format!(
                        "invalid value for {key}: {other} (enabled, disabled, writable, readonly)"
                    ));
                }
            });
        }
        "tmpfs-size" => {
            let text = needed()?;
            fields.tmpfs_size = Some(size("tmpfs-size", text).map_err(|e| e.to_string())?);
        }
        "tmpfs-mode" => fields.tmpfs_mode = Some(mode(needed()?)?),
        name if name.starts_with("volume-") => return Err(format!("`{name}`: volumes are not built yet")),
        _ => return Err(format!("unexpected key '{key}' in '{entry}'")),
    }
    Ok(())
}

fn mode(text: &str) -> std::result::Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    bits.ok_or_else(|| format!("`{text}` is not an octal mode"))
}

/// One line of CSV: commas part fields, a field in double quotes may hold commas, `""` is a quote. `None` where a
/// quote is not closed or stands inside a field.
fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                (Some(field.to_owned()).filter(|f| !f.contains('"'))?, &rest[end..])
            }
            Some(quoted) => {
                let mut field = String::new();
                let mut text = quoted;
                loop {
                    let end = text.find('"')?;
                    field.push_str(&text[..end]);
                    text = &text[end + 1..];
                    match text.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            text = more;
                        }
                        None => break (field, text),
                    }
                }
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// `--tmpfs TARGET[:OPTIONS]`: `noexec,nosuid,nodev` unless said otherwise, as docker.
pub fn tmpfs(spec: &str) -> Result<MountRequest> {
    let fail = |reason: String| -> Error { invalid("tmpfs", spec, reason) };
    let (target, options) = spec.split_once(':').unwrap_or((spec, ""));
    let target = target_path(target).map_err(fail)?;
    let number = |text: &str| text.parse().map_err(|_| fail(format!("`{text}` is not a number")));
    let (mut bytes, mut bits, mut inodes) = (None, None, None);
    let (mut uid, mut gid) = (None, None);
    let mut data = Vec::new();
    let (mut read_only, mut exec, mut suid, mut dev) = (false, false, false, false);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" | "rw" => read_only = option == "ro",
            "exec" | "noexec" => exec = option == "exec",
            "suid" | "nosuid" => suid = option == "suid",
            "dev" | "nodev" => dev = option == "dev",
            _ => match option.split_once('=') {
                Some(("size" | "nr_blocks" | "mpol", text)) if is_for_kernel(option) => {
                    let key = |given: &String| given.split('=').next() == option.split('=').next();
                    data.retain(|given| !key(given));
                    data.push(option.to_owned());
                    bytes = bytes.filter(|_| !(option.starts_with("size=") && text.ends_with('%')));
                }
                Some(("size", text)) => {
                    data.retain(|given: &String| !given.starts_with("size="));
                    bytes = Some(size("tmpfs size", text)?);
                }
                Some(("mode", text)) => bits = Some(mode(text).map_err(fail)?),
                Some(("uid", text)) => uid = Some(number(text)?),
                Some(("gid", text)) => gid = Some(number(text)?),
                Some(("nr_inodes", text)) => inodes = Some(u64::from(number(text)?)),
                _ => {
                    let known = "size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, mpol=, ro, rw, exec, noexec, \
                                 suid, nosuid, dev and nodev are";
                    return Err(fail(format!("option `{option}` is not built; {known}")));
                }
            },
        }
    }
    Ok(MountRequest::Tmpfs {
        target,
        size: bytes,
        mode: bits,
        uid,
        gid,
        inodes,
        read_only,
        exec,
        suid,
        dev,
        data,
    })
}

/// A share of the host's memory, a number of pages, or a NUMA policy: what only the kernel can make sense of.
fn is_for_kernel(option: &str) -> bool {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match option.split_once('=') {
        Some(("size", text)) => text.strip_suffix('%').is_some_and(is_number),
        Some(("nr_blocks", text)) => {
            is_number(text.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']).unwrap_or(text))
        }
        Some(("mpol", text)) => !text.is_empty() && !text.contains('\0'),
        _ => false,
    }
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
