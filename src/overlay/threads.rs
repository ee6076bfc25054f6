//! What a worker has done by other threads: those it begins, and work that takes long.
//!
//! A thread inherits how its maker is scheduled, and the companion gives way to everybody else and stays on one
//! processor: what it begins must not. Where others want its processor it runs some 100 us in 30 ms, so it must not do
//! itself what takes longer either: a copy of 50 ms would take a quarter of a minute, with somebody waiting for it. So it
//! has a deputy, a thread that is scheduled as usual, and waits for that.

use std::cell::RefCell;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Bytes to be copied, allocated or freed that take longer than having the deputy do it: more than 100 us.
pub(super) const LARGE: u64 = 256 << 10;
/// What the deputy needs at most: some paths and `stat` buffers.
const STACK: usize = 128 << 10;

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Whom this thread leaves work to, if not itself. Ends with it.
    static DEPUTY: RefCell<Option<Sender<Work>>> = const { RefCell::new(None) };
}

/// Gives the calling thread a deputy, which is scheduled as it is now.
pub(super) fn appoint_deputy() -> io::Result<()> {
    let (orders, ordered) = channel::<Work>();
    let obey = move || ordered.into_iter().for_each(|work| work());
    Builder::new().name("deputy".into()).stack_size(STACK).spawn(obey)?;
    DEPUTY.set(Some(orders));
    Ok(())
}

/// The calling thread does everything itself, as it does in the beginning.
pub(super) fn dismiss_deputy() {
    DEPUTY.set(None);
}

/// Begins a thread.
pub(super) fn spawn(builder: Builder, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    by_deputy_if(|| true, move || builder.spawn(work)).flatten()
}

/// Does `work`, which the deputy does where there is one and `is_long` says so. An error: the deputy died of it.
pub(super) fn by_deputy_if<T: Send + 'static>(
    is_long: impl FnOnce() -> bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let Some(deputy) = DEPUTY.with_borrow(Clone::clone).filter(|_| is_long()) else { return Ok(work()) };
    let (done, result) = channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let order: Work = Box::new(move || drop(done.send(work())));
    deputy.send(order).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())
}

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    #[test]
    fn what_is_begun_is_not_bound_to_the_processor_of_who_has_a_deputy() {
        let before = sched_getaffinity(None).unwrap().count();
        let here = move || {
            let seen = move || assert_eq!(sched_getaffinity(None).unwrap().count(), before);
            appoint_deputy().unwrap();
            let mut one = CpuSet::new();
            one.set((0..CpuSet::MAX_CPU).find(|cpu| sched_getaffinity(None).unwrap().is_set(*cpu)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            spawn(Builder::new(), seen).unwrap().join().unwrap();
        };
        std::thread::spawn(here).join().unwrap();
    }

    #[test]
    fn the_deputy_does_what_is_long_and_nothing_else() {
        let who = |long: bool| -> ThreadId { by_deputy_if(|| long, || current().id()).unwrap() };
        let here = move || {
            let me = current().id();
            assert_eq!(who(true), me, "there is none");
            appoint_deputy().unwrap();
            assert_eq!(who(false), me);
            assert_ne!(who(true), me);
            assert_eq!(who(true), who(true));
            dismiss_deputy();
            assert_eq!(who(true), me);
        };
        std::thread::spawn(here).join().unwrap();
    }

    #[test]
    fn a_deputy_that_died_is_an_error() {
        let here = || {
            appoint_deputy().unwrap();
            assert!(by_deputy_if(|| true, || panic!("expected here")).is_err());
            assert!(spawn(Builder::new(), || ()).is_err());
        };
        std::thread::spawn(here).join().unwrap();
    }
}
