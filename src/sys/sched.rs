//! How the kernel schedules a thread: sched(7).

use std::path::Path;
use std::time::Duration;

use super::small::read_small;
use super::{Error, Result};

/// `struct sched_attr` of sched_setattr(2), its first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
/// As `runtime`: the one that all have.
const DEFAULT_SLICE: u64 = 0;
const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

/// Has the calling thread run only where nobody else wants to, and for `slice` at a time when its turn comes: `SCHED_IDLE`
/// with a slice of its own; its nice value stays. There is no way back without a privilege. `ENOTSUP`, and nothing is
/// changed: kernels before 6.12 know no slices, and a policy other than the usual was somebody's choice.
pub fn give_way(slice: Duration) -> Result<()> {
    let usual = get()?;
    let runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    if usual.policy != libc::SCHED_OTHER.cast_unsigned() {
        return Err(Error::new("sched_setattr", libc::ENOTSUP));
    }
    // Kernels without slices ignore this one, and say none.
    set(&Attributes { runtime, ..usual })?;
    if get()?.runtime != runtime {
        return Err(Error::new("sched_setattr", libc::ENOTSUP));
    }
    let idle = Attributes { policy: libc::SCHED_IDLE.cast_unsigned(), runtime, ..usual };
    set(&idle).inspect_err(|_| {
        let _ = set(&Attributes { runtime: DEFAULT_SLICE, ..usual });
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

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_micros(100);

    /// On a thread of its own: there is no way back.
    fn on_a_thread(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn who_gives_way_stays_as_nice_as_he_was() {
        on_a_thread(|| {
            let nice = 7;
            set(&Attributes { nice, ..get().unwrap() }).unwrap();
            let before = get().unwrap();
            let given = give_way(SLICE);
            let after = get().unwrap();
            assert_eq!(after.nice, nice);
            match given {
                Ok(()) => {
                    assert_eq!((after.policy, after.runtime), (libc::SCHED_IDLE.cast_unsigned(), 100_000))
                }
                Err(e) => assert_eq!((e.errno(), after), (libc::ENOTSUP, before)),
            }
        });
    }

    #[test]
    fn whoever_has_another_policy_keeps_it() {
        on_a_thread(|| {
            let batch = libc::SCHED_BATCH.cast_unsigned();
            set(&Attributes { policy: batch, ..get().unwrap() }).unwrap();
            let before = get().unwrap();
            assert_eq!(give_way(SLICE).unwrap_err().errno(), libc::ENOTSUP);
            assert_eq!(get().unwrap(), before);
        });
    }

    #[test]
    fn a_threads_processor_is_one_that_it_may_use() {
        on_a_thread(|| {
            let mut one = rustix::thread::CpuSet::new();
            one.set(rustix::thread::sched_getcpu());
            rustix::thread::sched_setaffinity(None, &one).unwrap();
            let here = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            assert!(one.is_set(processor_of(here).unwrap()));
        });
        assert_eq!(processor_of(0), None);
        assert!(running().unwrap() > 0);
    }
}
