//! Resource limits by number, setrlimit(2).

use super::{Error, Result};

/// Sets a limit of this process; `u64::MAX` is unlimited.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: limit is a valid rlimit; an unknown resource gives EINVAL.
    let rc = unsafe { libc::setrlimit(resource as _, &raw const limit) };
    if rc == 0 { Ok(()) } else { Err(Error::last("setrlimit")) }
}

/// This process's soft and hard limit.
pub fn get(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is valid for writes; an unknown resource gives EINVAL.
    let rc = unsafe { libc::getrlimit(resource as _, &raw mut limit) };
    if rc == 0 { Ok((limit.rlim_cur, limit.rlim_max)) } else { Err(Error::last("getrlimit")) }
}

/// Lets this process open as many files as the host allows it. Whoever is allowed few gets EMFILE later, which says
/// what is wrong.
pub fn many_files() {
    if let Ok((_, hard)) = get(libc::RLIMIT_NOFILE) {
        let _ = set(libc::RLIMIT_NOFILE, hard, hard);
    }
}
