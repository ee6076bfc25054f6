//! The spec's process: strings within the kernel's limits, capability sets as masks, limits within the host's.

use std::collections::HashSet;
use std::ffi::CString;

use oci_spec::runtime as oci;
use oci_spec::runtime::{PosixRlimitType, Spec};

use super::{Error, Result, STRING_LIMIT, annotation, annotations, checked_path, flag, invalid};
use crate::runtime::plan::{self, Capabilities, Process, Rlimit};
use crate::runtime::{capabilities, rlimits};

/// What `exec` changes against the container's first process.
#[derive(Debug, Clone, Default)]
pub struct ExecChanges {
    /// Never empty.
    pub args: Vec<String>,
    /// Changes to the first process's environment: `KEY=VALUE` sets, `KEY` alone removes; later entries win.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub cwd: Option<String>,
    pub privileged: bool,
    pub terminal: bool,
}

/// The process that `exec` starts in a container made from `spec`: the first one's with `changes`.
pub fn exec_process(spec: &Spec, changes: &ExecChanges, seccomp: Option<Vec<u8>>) -> Result<Process> {
    let mut process = process(spec, seccomp, &mut Vec::new())?;
    process.args = strings("argument", &changes.args)?;
    if process.args.is_empty() {
        return Err(invalid("process.args", "no command specified"));
    }
    if changes.terminal {
        set_env(&mut process.env, "TERM=xterm")?;
    }
    for entry in &changes.env {
        set_env(&mut process.env, entry)?;
    }
    if let Some(user) = &changes.user {
        process.user.clone_from(user);
        // `--group-add` went with the user of the first process.
        process.additional_groups.clear();
    }
    if let Some(cwd) = &changes.cwd {
        process.cwd = checked_path("working directory", cwd.as_ref())?;
    }
    if changes.privileged {
        let all = capabilities::all();
        process.capabilities = Capabilities { bounding: all, permitted: all };
    }
    process.terminal = changes.terminal;
    process.create_cwd = false;
    Ok(process)
}

fn set_env(env: &mut Vec<CString>, entry: &str) -> Result<()> {
    let (key, value) = entry.split_once('=').map_or((entry, None), |(k, v)| (k, Some(v)));
    let is_key = |known: &CString| known.to_bytes().split(|b| *b == b'=').next() == Some(key.as_bytes());
    env.retain(|known| !is_key(known));
    if value.is_some() {
        env.push(string("environment entry", entry)?);
    }
    Ok(())
}

pub(super) fn process(spec: &Spec, seccomp: Option<Vec<u8>>, warnings: &mut Vec<String>) -> Result<Process> {
    let p = spec.process().as_ref().ok_or_else(|| invalid("process", "the section is missing"))?;
    refuse_unbuilt(p)?;
    let args = strings("argument", p.args().as_deref().unwrap_or_default())?;
    if args.is_empty() {
        return Err(invalid("process.args", "no command specified"));
    }
    let (user, additional_groups) = user(spec, p)?;
    Ok(Process {
        args,
        env: strings("environment entry", p.env().as_deref().unwrap_or_default())?,
        cwd: checked_path("working directory", p.cwd())?,
        user,
        additional_groups,
        capabilities: masks(p)?,
        no_new_privileges: p.no_new_privileges().unwrap_or(false),
        seccomp,
        rlimits: limits(p, warnings)?,
        umask: p.user().umask().unwrap_or(plan::UMASK) & 0o777,
        oom_score_adj: p.oom_score_adj(),
        terminal: p.terminal().unwrap_or(false),
        create_cwd: flag(spec, annotation::CREATE_CWD)?,
    })
}

fn refuse_unbuilt(p: &oci::Process) -> Result<()> {
    let present = [
        ("process.commandLine", p.command_line().is_some()),
        ("process.consoleSize", p.console_size().is_some()),
        ("process.apparmorProfile", p.apparmor_profile().is_some()),
        ("process.selinuxLabel", p.selinux_label().is_some()),
        ("process.ioPriority", p.io_priority().is_some()),
        ("process.scheduler", p.scheduler().is_some()),
        ("process.execCPUAffinity", p.exec_cpu_affinity().is_some()),
    ];
    match present.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(Error::NotBuilt(format!("`{name}` of the OCI spec"))),
        None => Ok(()),
    }
}

fn strings(what: &str, list: &[String]) -> Result<Vec<CString>> {
    list.iter().map(|s| string(what, s)).collect()
}

fn string(what: &str, text: &str) -> Result<CString> {
    let shown = || {
        let start: String = text.chars().take(40).collect();
        format!("{what} `{start}{}`", if start.len() < text.len() { "…" } else { "" })
    };
    if text.len() > STRING_LIMIT {
        let reason = format!("{} bytes, the kernel's limit is {STRING_LIMIT}", text.len());
        return Err(invalid(shown(), reason));
    }
    CString::new(text).map_err(|_| invalid(shown(), "it contains a NUL byte"))
}

/// The unresolved user and the additional groups: from kelp's annotations, else the spec's numbers.
fn user(spec: &Spec, p: &oci::Process) -> Result<(String, Vec<String>)> {
    let texts = annotations(spec);
    let user = match texts.and_then(|a| a.get(annotation::USER)) {
        Some(text) => text.clone(),
        None => format!("{}:{}", p.user().uid(), p.user().gid()),
    };
    if user.len() > 512 || user.contains('\0') {
        return Err(invalid(annotation::USER, "at most 512 bytes, no NUL"));
    }
    let groups = match texts.and_then(|a| a.get(annotation::GROUPS)) {
        Some(_) => super::names(spec, annotation::GROUPS)?,
        None => p.user().additional_gids().iter().flatten().map(u32::to_string).collect(),
    };
    Ok((user, groups))
}

fn masks(p: &oci::Process) -> Result<Capabilities> {
    let Some(sets) = p.capabilities() else { return Ok(Capabilities::default()) };
    let filled = |set: &Option<HashSet<oci::Capability>>| set.as_ref().is_some_and(|s| !s.is_empty());
    if filled(sets.inheritable()) || filled(sets.ambient()) {
        let reason = "inheritable and ambient sets would outlive the change to another user";
        return Err(invalid("process.capabilities", reason));
    }
    let (bounding, permitted) = (mask(sets.bounding())?, mask(sets.permitted())?);
    if permitted != mask(sets.effective())? || permitted & !bounding != 0 {
        let reason = "effective must equal permitted, and bounding must hold both";
        return Err(invalid("process.capabilities", reason));
    }
    Ok(Capabilities { bounding, permitted })
}

fn mask(set: &Option<HashSet<oci::Capability>>) -> Result<u64> {
    let known = capabilities::all();
    let mut mask = 0;
    for capability in set.iter().flatten() {
        let name = capability.to_string();
        let bit = capabilities::number(&name).map(|n| 1u64 << n).filter(|bit| bit & known != 0);
        mask |= bit.ok_or_else(|| invalid(format!("capability {name}"), "this kernel does not know it"))?;
    }
    Ok(mask)
}

fn limits(p: &oci::Process, warnings: &mut Vec<String>) -> Result<Vec<Rlimit>> {
    let mut list: Vec<Rlimit> = Vec::new();
    for limit in p.rlimits().iter().flatten() {
        let name = limit_name(limit.typ());
        let what = || format!("ulimit {name}");
        let resource = rlimits::number(name).ok_or_else(|| invalid(what(), "unknown"))?;
        if list.iter().any(|l| l.resource == resource) {
            return Err(invalid(what(), "it is set twice"));
        }
        if limit.soft() > limit.hard() {
            return Err(invalid(what(), "the soft limit is above the hard one"));
        }
        let wanted = Rlimit { resource, soft: limit.soft(), hard: limit.hard() };
        let (given, warning) = rlimits::clamp(wanted).ok_or_else(|| invalid(what(), "unknown"))?;
        list.push(given);
        warnings.extend(warning);
    }
    Ok(list)
}

fn limit_name(kind: PosixRlimitType) -> &'static str {
    use PosixRlimitType as T;
    match kind {
        T::RlimitCpu => "cpu",
        T::RlimitFsize => "fsize",
        T::RlimitData => "data",
        T::RlimitStack => "stack",
        T::RlimitCore => "core",
        T::RlimitRss => "rss",
        T::RlimitNproc => "nproc",
        T::RlimitNofile => "nofile",
        T::RlimitMemlock => "memlock",
        T::RlimitAs => "as",
        T::RlimitLocks => "locks",
        T::RlimitSigpending => "sigpending",
        T::RlimitMsgqueue => "msgqueue",
        T::RlimitNice => "nice",
        T::RlimitRtprio => "rtprio",
        T::RlimitRttime => "rttime",
    }
}
