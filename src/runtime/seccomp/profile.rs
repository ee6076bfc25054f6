//! docker's profile format: read strictly, since a misspelt key would be a rule that silently does nothing.

use serde::Deserialize;

use super::{Error, Result};
use crate::runtime::capabilities;

/// A parsed and checked profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The kernel's `SECCOMP_RET_*` word.
    pub(super) default: u32,
    pub(super) native: bool,
    /// The 32-bit entry point of x86_64 is filtered by its own numbers; without, its callers are killed.
    pub(super) i386: bool,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: u32,
    pub(super) args: Vec<Arg>,
    includes: Filter,
    excludes: Filter,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Arg {
    pub(super) index: u8,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Op,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Op {
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    /// `value` is the mask, `valueTwo` what must be left.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Filter {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawProfile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    arch_map: Vec<RawArch>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    syscalls: Vec<RawRule>,
    #[serde(default)]
    flags: Vec<String>,
    // Words for people: podman writes the errno's name beside its number.
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default, rename = "defaultErrno")]
    _default_errno: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawArch {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawRule {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Arg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default, rename = "errno")]
    _errno: Option<String>,
}

impl Profile {
    pub fn parse(text: &str) -> Result<Self> {
        let raw: RawProfile = serde_json::from_str(text).map_err(|e| Error::Profile(e.to_string()))?;
        if let Some(flag) = raw.flags.first() {
            return Err(Error::NotBuilt(format!("flag `{flag}`")));
        }
        if !raw.arch_map.is_empty() && !raw.architectures.is_empty() {
            return Err(Error::Profile("both `architectures` and `archMap` are given".to_owned()));
        }
        let native = native_architecture();
        let mut names: Vec<&str> = raw.architectures.iter().map(String::as_str).collect();
        for entry in raw.arch_map.iter().filter(|a| a.architecture == native) {
            names.push(native);
            names.extend(entry.sub_architectures.iter().flatten().map(String::as_str));
        }
        Ok(Self {
            default: action(&raw.default_action, raw.default_errno_ret)?,
            // Without a list, the machine's own architecture is meant.
            native: names.is_empty() || names.contains(&native),
            i386: cfg!(target_arch = "x86_64") && names.contains(&"SCMP_ARCH_X86"),
            rules: raw.syscalls.into_iter().map(rule).collect::<Result<_>>()?,
        })
    }
}

fn native_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" }
}

fn rule(raw: RawRule) -> Result<Rule> {
    let mut names = raw.names;
    names.extend(raw.name);
    if names.is_empty() {
        return Err(Error::Profile("a rule without names".to_owned()));
    }
    let args = raw.args.unwrap_or_default();
    if let Some(arg) = args.iter().find(|a| a.index > 5) {
        return Err(Error::Profile(format!("argument {} of `{}`: there are 0 to 5", arg.index, names[0])));
    }
    let (includes, excludes) = (raw.includes.unwrap_or_default(), raw.excludes.unwrap_or_default());
    for filter in [&includes, &excludes] {
        if let Some(text) = &filter.min_kernel {
            version(text).ok_or_else(|| Error::Profile(format!("minKernel `{text}` is not a version")))?;
        }
        if let Some(name) = filter.caps.iter().find(|c| capabilities::number(c).is_none()) {
            return Err(Error::Profile(format!("unknown capability `{name}`")));
        }
    }
    Ok(Rule { action: action(&raw.action, raw.errno_ret)?, names, args, includes, excludes })
}

/// The word that the kernel expects; an errno that is not given is EPERM.
fn action(name: &str, errno: Option<u16>) -> Result<u32> {
    let data = u32::from(errno.unwrap_or(1));
    if data > 4095 {
        return Err(Error::Profile(format!("errno {data} is above 4095")));
    }
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | data,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | data,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_NOTIFY" => return Err(Error::NotBuilt(format!("action `{name}`"))),
        _ => return Err(Error::Profile(format!("unknown action `{name}`"))),
    })
}

impl Rule {
    /// docker's conditions: everything in `includes`, nothing in `excludes`.
    pub(super) fn applies(&self, held: u64, kernel: (u32, u32)) -> bool {
        let has = |name: &String| capabilities::number(name).is_some_and(|n| held & (1 << n) != 0);
        let here = |name: &String| name == if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let recent = |text: &String| version(text).is_some_and(|wanted| kernel >= wanted);
        let (inside, outside) = (&self.includes, &self.excludes);
        inside.caps.iter().all(has)
            && (inside.arches.is_empty() || inside.arches.iter().any(here))
            && inside.min_kernel.iter().all(recent)
            && !outside.caps.iter().any(has)
            && !outside.arches.iter().any(here)
            && !outside.min_kernel.iter().any(recent)
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.splitn(3, ['.', '-']);
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

pub(super) fn running_kernel() -> (u32, u32) {
    rustix::system::uname().release().to_str().ok().and_then(version).unwrap_or((0, 0))
}
