//! Where the data of a file is, and where its holes.
//!
//! The kernel asks without having written back what it keeps of the file, so whoever only looked on the disk would
//! call a hole what has just been written. Data on the disk is data in any case; of what looks like a hole, the kernel
//! is told to write it back and to forget it (`FUSE_NOTIFY_INVAL_INODE`), and then it is looked at again.
//!
//! Telling it takes until the writes are answered, so a thread of its own does that: were it a worker, the workers
//! could all come to wait for writes that none of them is left to answer.

use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{Builder, JoinHandle};

use fuser::{INodeNo, Notifier, ReplyLseek};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Overlay, Result, lock, threads};
use crate::sys::kernel;

/// Kernels before this one write back from copies of pages, and forget a page whose copy is still under way: what the
/// kernel changed with "fuse: remove tmp folio for writebacks and internal rb tree".
const WAITS_FOR_WRITES: (u32, u32) = (6, 16);

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Data,
    Hole,
}

impl Wanted {
    /// `SEEK_DATA` or `SEEK_HOLE`.
    pub(super) fn parse(whence: i32) -> Option<Self> {
        match whence {
            libc::SEEK_DATA => Some(Self::Data),
            libc::SEEK_HOLE => Some(Self::Hole),
            _ => None,
        }
    }

    fn from(self, offset: u64) -> SeekFrom {
        match self {
            Self::Data => SeekFrom::Data(offset),
            Self::Hole => SeekFrom::Hole(offset),
        }
    }
}

struct Question {
    id: u64,
    offset: u64,
    wanted: Wanted,
    reply: ReplyLseek,
}

/// Who answers, once the session stands, if this kernel can be asked to write back.
#[derive(Debug, Default)]
pub(super) struct Seeker {
    means: OnceLock<(Arc<Overlay>, Notifier)>,
    /// Begun by the first question.
    thread: Mutex<Option<(Sender<Question>, JoinHandle<()>)>>,
}

impl Seeker {
    pub(super) fn prepare(&self, overlay: &Arc<Overlay>, notifier: Notifier) {
        if kernel::version() >= WAITS_FOR_WRITES {
            let _ = self.means.set((Arc::clone(overlay), notifier));
        }
    }

    /// Without means the answer is `ENOSYS`: never again, and the kernel calls all of every file data.
    pub(super) fn answer(&self, id: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        let Some((overlay, notifier)) = self.means.get() else {
            return reply.error(fuser::Errno::ENOSYS);
        };
        let (Some(wanted), Ok(offset)) = (Wanted::parse(whence), u64::try_from(offset)) else {
            return reply.error(fuser::Errno::EINVAL);
        };
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (questions, asked) = channel();
            let (overlay, notifier) = (Arc::clone(overlay), notifier.clone());
            let work = move || answer_all(&overlay, &notifier, &asked);
            *thread = threads::spawn(Builder::new().name("seek".into()), work).ok().map(|t| (questions, t));
        }
        match &*thread {
            // It ends when nobody can ask any more.
            Some((questions, _)) => drop(questions.send(Question { id, offset, wanted, reply })),
            None => reply.error(fuser::Errno::EAGAIN),
        }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        if let Some((questions, thread)) = lock(&self.thread).take() {
            drop(questions);
            let _ = thread.join();
        }
    }
}

fn answer_all(overlay: &Overlay, notifier: &Notifier, asked: &Receiver<Question>) {
    for Question { id, offset, wanted, reply } in asked {
        let flush = |from: u64, end: Option<u64>| {
            let (from, end) = (i64::try_from(from), end.map(i64::try_from));
            // A length of 0 is all that follows.
            let length = |from: i64| end.and_then(std::result::Result::ok).map_or(0, |end| end - from);
            let told = from.is_ok_and(|from| notifier.inval_inode(INodeNo(id), from, length(from)).is_ok());
            if told { Ok(()) } else { Err(Errno::IO) }
        };
        match overlay.seek(id, offset, wanted, flush).map(i64::try_from) {
            Ok(Ok(found)) => reply.offset(found),
            Ok(Err(_)) => reply.error(fuser::Errno::EOVERFLOW),
            Err(e) => reply.error(fuser::Errno::from_i32(e.raw_os_error())),
        }
    }
}

impl Overlay {
    /// As lseek(2) has it. `flush` has what the kernel keeps of a range written back, to the end if none is given.
    fn seek(
        &self,
        id: u64,
        offset: u64,
        wanted: Wanted,
        flush: impl Fn(u64, Option<u64>) -> Result<()>,
    ) -> Result<u64> {
        match wanted {
            Wanted::Data => {
                let found = self.seek_on_disk(id, offset, wanted);
                if found == Ok(offset) {
                    return found;
                }
                flush(offset, found.ok())?;
            }
            Wanted::Hole => match self.seek_on_disk(id, offset, wanted) {
                Ok(hole) => {
                    let data = self.seek_on_disk(id, hole, Wanted::Data).ok();
                    flush(hole, data)?;
                    if self.seek_on_disk(id, offset, wanted) == Ok(hole) {
                        return Ok(hole);
                    }
                    flush(hole, None)?;
                }
                Err(_) => flush(offset, None)?,
            },
        }
        self.seek_on_disk(id, offset, wanted)
    }

    /// Opened anew each time: what was written back may have brought the file up.
    fn seek_on_disk(&self, id: u64, offset: u64, wanted: Wanted) -> Result<u64> {
        let data = self.data(id, false)?;
        rustix::fs::seek(data.fd.as_fd(), wanted.from(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for() {
        assert_eq!(Wanted::parse(libc::SEEK_DATA), Some(Wanted::Data));
        assert_eq!(Wanted::parse(libc::SEEK_HOLE), Some(Wanted::Hole));
        assert_eq!(Wanted::parse(libc::SEEK_END), None);
    }
}
