//! The mode of what a name names, be it a link: fchmodat2(2), Linux 6.6.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Changes the mode of `name` in `dir`, one component. A link is not followed: it has no mode, `EOPNOTSUPP`. `ENOSYS` from
/// kernels without the call; sandboxes that do not know it may say `EPERM`.
pub fn change(dir: impl AsFd, name: &[u8], mode: u32) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let (dir, follow) = (dir.as_fd().as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
    // SAFETY: the name ends with a NUL and outlives the call, `dir` is open as long; the rest are numbers.
    let rc = unsafe { libc::syscall(libc::SYS_fchmodat2, dir, name.as_ptr(), mode, follow) };
    if rc == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn of_a_file_and_not_of_what_a_link_leads_to() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(temporary.path()).unwrap();
        std::fs::File::create(temporary.path().join("file")).unwrap();
        std::os::unix::fs::symlink("file", temporary.path().join("link")).unwrap();
        match change(&dir, b"file", 0o4751) {
            // Before Linux 6.6.
            Err(Errno::NOSYS) => return,
            other => other.unwrap(),
        }
        let mode = || temporary.path().join("file").metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o4751);
        assert_eq!(change(&dir, b"link", 0o600), Err(Errno::OPNOTSUPP));
        assert_eq!(mode(), 0o4751);
        assert_eq!(change(&dir, b"gone", 0o600), Err(Errno::NOENT));
        assert_eq!(change(&dir, b"a\0b", 0o600), Err(Errno::INVAL));
    }
}
