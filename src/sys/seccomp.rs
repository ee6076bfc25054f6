//! Loading of seccomp filters, seccomp(2).

use super::{Error, Result};

/// One `struct sock_filter` in bytes.
const INSTRUCTION: usize = 8;

/// Loads a filter, an array of `struct sock_filter` in the machine's byte order, for this process and all that
/// come from it. Needs CAP_SYS_ADMIN in the user namespace, or no_new_privs.
pub fn load_filter(filter: &[u8]) -> Result<()> {
    let length = u16::try_from(filter.len() / INSTRUCTION).map_err(|_| Error::new("seccomp", libc::E2BIG))?;
    if filter.is_empty() || filter.len() % INSTRUCTION != 0 {
        return Err(Error::new("seccomp", libc::EINVAL));
    }
    // The kernel wants the array aligned as the structure is.
    let program: Vec<libc::sock_filter> = filter
        .chunks_exact(INSTRUCTION)
        .map(|i| libc::sock_filter {
            code: u16::from_ne_bytes([i[0], i[1]]),
            jt: i[2],
            jf: i[3],
            k: u32::from_ne_bytes([i[4], i[5], i[6], i[7]]),
        })
        .collect();
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: program points to `len` instructions that outlive the call; the kernel only reads them.
    let rc =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if rc == 0 { Ok(()) } else { Err(Error::last("seccomp")) }
}
