//! Resource limits, setrlimit(2).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Error, Result};

/// Sets a limit of this process, given by the kernel's number; `u64::MAX` is unlimited.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit is a valid rlimit; an unknown resource gives EINVAL.
    let rc = unsafe { libc::setrlimit(resource as _, &raw const limit) };
    if rc == 0 { Ok(()) } else { Err(Error::last("setrlimit")) }
}

/// How many files this process may have open.
pub fn files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets this process open as many files as the host allows it. Whoever is allowed few gets EMFILE later, which says
/// what is wrong.
pub fn many_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
}
