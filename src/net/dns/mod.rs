//! Names for containers: those that are known here first, everything else by whom the host asks at that moment, or by
//! the servers that the container was given.
//!
//! A query is passed on as it came, under another id and from a port of its own, and its answer passed back as it
//! came: what is in them beyond the question is nobody's business here. An answer counts only when it comes from the
//! server that was asked and repeats id and question. Names of one label stay here (they are somebody's neighbours,
//! and a search domain of the host's is no reason to tell strangers). TCP and UDP are separate ways: an answer that
//! was cut short tells the container to come again by TCP, and then it is asked for by TCP.
//!
//! One thread, started by the first query, in which nothing blocks. Everything is bounded: lookups, connections, the
//! bytes of each, and the time that each may take.

mod lookup;
pub mod message;
mod names;
mod resolvers;
mod stream;
mod table;
mod upstreams;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, mpsc};

pub use names::{Names, View};
pub use resolvers::Resolvers;
pub use table::Reader;
pub use upstreams::Upstreams;

use self::worker::Worker;
use super::handle::{Handle, Query, TakeQuery};
use crate::sys::inet;

/// Queries that may wait for the thread. Those that find no room are lost, as datagrams may be.
const WAITING: usize = 1024;
/// What the thread needs, in bytes: its buffers are on the heap.
const STACK: usize = 128 << 10;

/// Answers what the container asks. To be given to [`super::Stack::serve_dns`] of the stack that `handle` leads to.
pub fn serve(handle: Handle, names: Names, resolvers: Resolvers) -> TakeQuery {
    let start = Mutex::new((Some((handle, names, resolvers)), None::<Way>));
    Arc::new(move |query| {
        let Ok(mut start) = start.lock() else { return };
        if let Some((handle, names, resolvers)) = start.0.take() {
            start.1 = begin(handle, names, resolvers);
        }
        if let Some((queries, wake)) = &start.1
            && queries.try_send(query).is_ok()
        {
            inet::raise(wake);
        }
    })
}

type Way = (mpsc::SyncSender<Query>, Arc<OwnedFd>);

/// `None` when the process may not have a thread or a descriptor: then nobody answers.
fn begin(handle: Handle, names: Names, resolvers: Resolvers) -> Option<Way> {
    let (sender, queries) = mpsc::sync_channel(WAITING);
    let wake = Arc::new(inet::event().ok()?);
    let woken = Arc::clone(&wake);
    let work = move || {
        if let Ok(mut worker) = Worker::new(queries, woken, handle, names, resolvers) {
            worker.run();
        }
    };
    let thread = std::thread::Builder::new().name("kelp-dns".into()).stack_size(STACK);
    thread.spawn(work).ok()?;
    Some((sender, wake))
}
