//! Loading of seccomp filters, seccomp(2).

use super::{Error, Result};

/// One `struct sock_filter` in bytes.
const INSTRUCTION: usize = 8;

/// Loads a filter, an array of `struct sock_filter` in the machine's byte order, for this process and all that
/// come from it. Needs CAP_SYS_ADMIN in the user namespace, or no_new_privs.
pub fn load_filter(filter: &[u8]) -> Result<()> {
    let length = u16::try_from(filter.len() / INSTRUCTION).map_err(|_| Error::new("seccomp", libc::E2BIG))?;
    if filter.is_empty() || !filter.len().is_multiple_of(INSTRUCTION) {
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

/// Forks; the child loads the filter and makes the calls, one after another; the answers are their results, a
/// failure as its negative errno. The second list goes through i386's entry point.
#[cfg(all(test, target_arch = "x86_64"))]
#[expect(clippy::cast_possible_truncation, reason = "i386 answers in 32 bits")]
pub(crate) fn probe(filter: &[u8], calls: &[(i64, [u64; 6])], i386: &[(u32, [u32; 3])]) -> Vec<i64> {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // SAFETY: the child makes system calls and touches only memory of its own before _exit, but for load_filter's
    // one allocation, which glibc's and musl's malloc allow after fork.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: plain numbers.
        let locked = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let loaded = locked == 0 && load_filter(filter).is_ok();
        let put = |value: i64| {
            // SAFETY: value lives during the call.
            unsafe { libc::write(writer.as_raw_fd(), (&raw const value).cast(), 8) };
        };
        for (number, a) in calls.iter().filter(|_| loaded) {
            // SAFETY: the tests pass numbers and null pointers only.
            let rc = unsafe { libc::syscall(*number, a[0], a[1], a[2], a[3], a[4], a[5]) };
            put(if rc < 0 {
                -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
            } else {
                rc
            });
        }
        for (number, a) in i386.iter().filter(|_| loaded) {
            let mut rax = u64::from(*number);
            // SAFETY: as above; rbx is LLVM's, so it is swapped in and out; int 0x80 clobbers r8 to r11.
            unsafe {
                std::arch::asm!(
                    "xchg {b}, rbx", "int 0x80", "xchg {b}, rbx",
                    b = inout(reg) u64::from(a[0]) => _, inout("rax") rax,
                    in("rcx") u64::from(a[1]), in("rdx") u64::from(a[2]), in("rsi") 0u64, in("rdi") 0u64,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            put(i64::from(rax.cast_signed() as i32));
        }
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut bytes = Vec::new();
    let mut reader = reader;
    reader.read_to_end(&mut bytes).expect("the pipe is open");
    // SAFETY: the child is ours, and its status is not wanted.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    bytes.chunks_exact(8).map(|c| i64::from_ne_bytes(c.try_into().expect("chunks of eight"))).collect()
}
