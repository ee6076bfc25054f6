//! This very program, as something to execute that nobody can write to.

use std::os::fd::{AsRawFd, OwnedFd};

use super::{Context, Error, Result, mount};

/// A descriptor of this very program that no process can reopen for writing: a detached read-only clone of
/// the mount that holds it, or, where the kernel has no such thing, a sealed copy in memory.
///
/// The caller must be privileged over its mount namespace. Guards against the class of CVE-2019-5736.
pub fn own_program() -> Result<OwnedFd> {
    read_only_mount().or_else(|_| sealed_copy())
}

/// The magic link itself leads to a mount of the namespace in which this program was executed, which cannot be
/// cloned from another one: so its text is followed, and what is found there must be the same file.
fn read_only_mount() -> Result<OwnedFd> {
    let path = std::fs::read_link("/proc/self/exe").op_on("readlink", "/proc/self/exe")?;
    let tree = mount::clone_tree(rustix::fs::CWD, &path, false)?;
    let own = rustix::fs::stat("/proc/self/exe").op_on("stat", "/proc/self/exe")?;
    let found = rustix::fs::fstat(&tree).op_on("stat", &path)?;
    if (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino) {
        return Err(Error::with_subject("find own program", path, libc::ESTALE));
    }
    mount::set_attributes(&tree, mount::READ_ONLY, false)?;
    Ok(tree)
}

fn sealed_copy() -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("kelp", flags).op("memfd_create")?;
    let mut from = std::fs::File::open("/proc/self/exe").op_on("open", "/proc/self/exe")?;
    let mut to = std::fs::File::from(copy);
    std::io::copy(&mut from, &mut to).op("copy own program")?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&to, seals).op("seal own program")?;
    // An open for writing would make exec fail with ETXTBSY.
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    Ok(std::fs::File::open(path).op("reopen own program")?.into())
}
