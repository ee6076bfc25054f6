//! Threads beside the workers.
//!
//! A thread inherits how its maker is scheduled. The companion gives way to everybody else and stays on one processor:
//! whatever it has done beside it must not. So it has another thread make its threads.

use std::cell::RefCell;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// What a thread that makes threads needs: next to nothing.
const STACK: usize = 64 << 10;

type Work = Box<dyn FnOnce() + Send>;

/// A thread to be made, and who waits for it.
struct Order {
    builder: Builder,
    work: Work,
    made: Sender<io::Result<JoinHandle<()>>>,
}

thread_local! {
    /// Who makes the threads of this one, if not itself. Ends with it.
    static MAKER: RefCell<Option<Sender<Order>>> = const { RefCell::new(None) };
}

/// From now on the calling thread's threads are made by one that is scheduled as it is now.
pub(super) fn have_made_elsewhere() -> io::Result<()> {
    let (orders, ordered) = channel::<Order>();
    Builder::new().name("maker".into()).stack_size(STACK).spawn(move || {
        for order in ordered {
            let _ = order.made.send(order.builder.spawn(order.work));
        }
    })?;
    MAKER.set(Some(orders));
    Ok(())
}

/// The calling thread makes its threads itself, as it does in the beginning.
pub(super) fn have_made_here() {
    MAKER.set(None);
}

/// Begins a thread.
pub(super) fn spawn(builder: Builder, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let Some(maker) = MAKER.with_borrow(Clone::clone) else { return builder.spawn(work) };
    let (made, answer) = channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    maker.send(Order { builder, work: Box::new(work), made }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    #[test]
    fn what_is_made_elsewhere_is_not_bound_to_its_orderers_processor() {
        let before = sched_getaffinity(None).unwrap().count();
        let here = move || {
            let seen = move || assert_eq!(sched_getaffinity(None).unwrap().count(), before);
            have_made_elsewhere().unwrap();
            let mut one = CpuSet::new();
            one.set(0);
            sched_setaffinity(None, &one).unwrap();
            spawn(Builder::new(), seen).unwrap().join().unwrap();
        };
        std::thread::spawn(here).join().unwrap();
    }
}
