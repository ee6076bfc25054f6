//! How the kernel schedules a thread: sched(7).

use std::path::Path;
use std::time::Duration;

use super::small::read_small;
use super::{Error, Result};

/// `struct sched_attr` of sched_setattr(2), its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// `SCHED_ATTR_SIZE_VER0`.
const SIZE: u32 = 48;
const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

/// Has the calling thread run only where nobody else wants to, and for `slice` at a time when its turn comes: `SCHED_IDLE`
/// with a slice of its own. There is no way back without a privilege. Kernels before 6.12 know no slices: `ENOTSUP`, and
/// nothing is changed.
pub fn give_way(slice: Duration) -> Result<()> {
    let wanted = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    set(&Attributes { size: SIZE, runtime: wanted, ..Attributes::default() })?;
    if get()?.runtime != wanted {
        return Err(Error::new("sched_setattr", libc::ENOTSUP));
    }
    set(&Attributes {
        size: SIZE,
        policy: libc::SCHED_IDLE.cast_unsigned(),
        runtime: wanted,
        ..Attributes::default()
    })
}

/// The processor that a thread is on, or was last; proc_pid_stat(5). `None`: there is none, or nobody may know.
pub fn processor_of(thread: u32) -> Option<usize> {
    let stat = read_small(Path::new(&format!("/proc/{thread}/stat"))).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // Its name may be anything; nothing behind it has a parenthesis.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// How many threads of the machine run or want to, proc_loadavg(5).
pub fn running() -> Option<u32> {
    let load = read_small(Path::new("/proc/loadavg")).ok()?;
    let load = String::from_utf8_lossy(&load);
    load.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

fn set(attributes: &Attributes) -> Result<()> {
    // SAFETY: attributes is valid and as long as it says; 0 is the calling thread.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) };
    if rc == 0 { Ok(()) } else { Err(Error::last("sched_setattr")) }
}

fn get() -> Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: attributes is valid for writes of SIZE bytes, and any bytes are one; 0 is the calling thread.
    let rc =
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, std::ptr::from_mut(&mut attributes), SIZE, 0) };
    if rc == 0 { Ok(attributes) } else { Err(Error::last("sched_getattr")) }
}
