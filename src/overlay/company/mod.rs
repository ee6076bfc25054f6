//! Keeps the worker on its client's processor while there is one client.
//!
//! A request costs little more than waking somebody on another processor, twice: the worker for the question, the
//! client for the answer. On one processor the same is two switches, a third of it. The kernel takes whoever it wakes to
//! an idle processor, though, and the client's is not idle while the worker answers there — unless the worker's policy
//! is `SCHED_IDLE`: a processor that only such threads use counts as idle. So one of the workers, the companion, has
//! that policy and stays on the processor of its client. The client is woken where it was and goes on at once; the
//! companion waits in the run queue, not for a request, and needs no waking for the next.
//!
//! Three modes say who takes requests:
//! - apart: all but the companion, which is parked. Several clients are served best so.
//! - gathering: the same, but who has answered parks, so that nobody else waits for requests in the kernel, which would
//!   wake him for each.
//! - together: the companion alone. The last to park watches over it.
//!
//! What must hold: a request never waits for the companion for long. A thread of that policy hardly runs where others
//! want to, some 100 us in 30 ms for each of them, and there is no way back for it without a privilege. Hence:
//! - It comes in only where the machine has processors left, and leaves as soon as there are others, clients or not.
//! - Its time slice is so short that a request of the usual kind is answered in one. What takes longer is not its to do
//!   (`threads`).
//! - Once it waits for a request in the kernel it takes one more, whenever that comes: where nobody asks for a while, the
//!   watcher stays with it and waits for the same.
//! - The watcher ends the mode when nothing is answered for [`TICK`] while a request waits, or while others want to run.
//!
//! Whatever goes wrong, what takes over is the mode apart. Kernels before 6.12 have no such slices; there, and with one
//! processor, it is the only one.

mod follower;
mod streak;

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::{CpuSet, Pid};

use self::follower::{Follower, Verdict};
use self::streak::Streak;
use super::threads;
use crate::sys::sched;

/// The companion's time slice, the shortest that there is.
const SLICE: Duration = Duration::from_micros(100);
/// How often the watcher looks.
const TICK: Duration = Duration::from_millis(4);
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Looks in a row without an answer after which what was asked takes long, and the mode ends; or nobody asks, and the
/// watcher looks no more before somebody does.
const QUIET: u32 = 8;
/// How long to stay apart after it went wrong: at first, then twice as long each time, at most. It must have gone well
/// for so long to begin anew.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(6);
const WELL: Duration = Duration::from_secs(1);
/// Threads that may run beside one for each processor when the companion is called: the client, and workers that were
/// woken in vain.
const PASSERS_BY: u32 = 2;
/// The watcher itself, when it counts.
const WATCHER: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Apart,
    Gathering,
    Together,
}

/// The workers of one mount.
#[derive(Debug)]
pub(super) struct Company {
    device: OwnedFd,
    /// The processors that they may use. Empty, and thus no companion: the kernel did not say.
    processors: CpuSet,
    /// Workers beside the companion.
    others: u32,
    streak: Streak,
    /// What [`State`] says, to look at without its lock: the mode, and whether the companion is parked or there is none.
    mode: AtomicU8,
    companion_rests: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// Requests that the companion has answered, and whether it has one or has not gone on since.
    answered: AtomicU64,
    busy: AtomicBool,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    companion: Companion,
    /// A worker has left: the mount is gone.
    ended: bool,
    /// Workers that have answered at least once.
    joined: u32,
    /// Others that are parked, and whether the companion is.
    parked: u32,
    companion_is_parked: bool,
    /// When they came together, and when they may again.
    since: Instant,
    not_before: Instant,
    /// How long to stay apart after the next time that it goes wrong.
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Companion {
    /// Whoever answers first after another will be.
    Open,
    /// There is one processor or worker, or the kernel has no such threads.
    Impossible,
    Is(Pid),
}

/// What the calling thread is to the mount, of which it is a worker as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has not answered yet.
    New,
    Companion,
    Other,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::New) };
    static FOLLOWER: RefCell<Follower> = const { RefCell::new(Follower::new()) };
    static LEAVING: RefCell<Option<Leaving>> = const { RefCell::new(None) };
}

/// Tells the others when a worker ends: fuser asks nobody when the mount is gone.
struct Leaving(Arc<Company>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        self.0.enter(&mut state, Mode::Apart);
    }
}

impl Company {
    /// `device` is the mount's, or a duplicate: what is waiting can be seen through each.
    pub(super) fn new(device: OwnedFd, workers: usize) -> Self {
        let processors = rustix::thread::sched_getaffinity(None).unwrap_or_default();
        let now = Instant::now();
        let several = processors.count() > 1 && workers > 1;
        let companion = if several { Companion::Open } else { Companion::Impossible };
        Self {
            device,
            processors,
            others: u32::try_from(workers).map_or(u32::MAX, |n| n.saturating_sub(1)),
            streak: Streak::default(),
            mode: AtomicU8::new(Mode::Apart as u8),
            companion_rests: AtomicBool::new(companion == Companion::Impossible),
            state: Mutex::new(State {
                mode: Mode::Apart,
                companion,
                ended: false,
                joined: 0,
                parked: 0,
                companion_is_parked: false,
                since: now,
                not_before: now,
                pause: FIRST_PAUSE,
            }),
            changed: Condvar::new(),
            answered: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }

    /// Called by a worker that has a request of `client`'s, a thread; 0 is the kernel itself.
    pub(super) fn asked(&self, client: u32) {
        self.streak.asked(client);
        if ROLE.get() == Role::Companion {
            self.busy.store(true, Relaxed);
        }
    }

    /// Called by a worker that has answered. Returns when it is to take the next request; `true`: it may look out for
    /// that.
    pub(super) fn answered(self: &Arc<Self>) -> bool {
        if ROLE.get() == Role::New {
            self.join();
        }
        match ROLE.get() {
            Role::Companion => {
                self.follow();
                false
            }
            // Whoever looks out takes all requests: a companion that waits for one, before it is known as one or after
            // it failed, would never get there.
            Role::New | Role::Other => self.is_apart_after_answer() && self.companion_rests.load(Relaxed),
        }
    }

    fn join(self: &Arc<Self>) {
        LEAVING.set(Some(Leaving(Arc::clone(self))));
        ROLE.set(Role::Other);
        let mut state = self.lock();
        state.joined += 1;
        // Another must have joined, who tells a companion that is parked of the mount's end.
        if state.companion == Companion::Open && state.joined > 1 {
            state.companion = Companion::Impossible;
            if become_companion() {
                state.companion = Companion::Is(rustix::thread::gettid());
                ROLE.set(Role::Companion);
            }
            self.companion_rests.store(state.companion == Companion::Impossible, Relaxed);
        }
    }

    /// What a worker other than the companion does before its next request. `true`: it takes it in mode apart.
    fn is_apart_after_answer(&self) -> bool {
        let one = self.streak.is_one_client();
        if self.is(Mode::Apart) && !one {
            return true;
        }
        let mut state = self.lock();
        if !one && state.mode == Mode::Gathering {
            self.enter(&mut state, Mode::Apart);
        }
        let mode = state.mode;
        match mode {
            Mode::Apart if self.may_gather(&mut state) => self.enter(&mut state, Mode::Gathering),
            Mode::Apart => return true,
            Mode::Gathering if state.parked + 1 < self.others => self.wait_for_the_rest(state),
            Mode::Gathering => {
                state.since = Instant::now();
                self.enter(&mut state, Mode::Together);
                self.watch(state);
            }
            Mode::Together => self.wait_while(state, Mode::Together),
        }
        false
    }

    fn may_gather(&self, state: &mut State) -> bool {
        let now = Instant::now();
        if !matches!(state.companion, Companion::Is(_)) || state.ended || now < state.not_before {
            return false;
        }
        if !state.companion_is_parked {
            return false;
        }
        let crowded = self.is_crowded(PASSERS_BY);
        if crowded {
            state.not_before = now + FIRST_PAUSE;
        }
        !crowded
    }

    /// Parks until all others are. Whoever they wait for may have long to do, and nobody be there for the next request.
    fn wait_for_the_rest(&self, mut state: MutexGuard<'_, State>) {
        state.parked += 1;
        let mut quiet = 0;
        while state.mode == Mode::Gathering {
            let (after, waited) =
                self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if !waited.timed_out() || state.mode != Mode::Gathering {
                continue;
            }
            quiet += 1;
            if self.somebody_waits(Some(AT_ONCE)) {
                self.fail(&mut state);
            } else if quiet > QUIET {
                self.enter(&mut state, Mode::Apart);
            }
        }
        while state.mode == Mode::Together {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.parked -= 1;
    }

    fn wait_while(&self, state: MutexGuard<'_, State>, mode: Mode) {
        let waited = self.changed.wait_while(state, |state| state.mode == mode);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Parks, and looks after the companion.
    fn watch<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        let mut seen = self.answered.load(Relaxed);
        let mut quiet = 0;
        while state.mode == Mode::Together {
            state = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            let answered = self.answered.load(Relaxed);
            if answered != seen {
                (seen, quiet) = (answered, 0);
                continue;
            }
            quiet += 1;
            let busy = self.busy.load(Relaxed);
            if self.somebody_waits(Some(AT_ONCE)) || (busy && self.is_crowded(WATCHER)) {
                self.fail(&mut state);
            } else if busy && quiet > QUIET {
                self.enter(&mut state, Mode::Apart);
            } else if busy {
                // It works, or its client does on the same processor: there may be another.
                self.let_roam(&state);
            } else if quiet > QUIET {
                // Nobody asks, and the companion waits for a request.
                self.let_roam(&state);
                drop(state);
                let _ = self.somebody_waits(None);
                state = self.lock();
                quiet = 0;
            }
        }
    }

    /// What the companion does before its next request.
    fn follow(&self) {
        self.busy.store(false, Relaxed);
        self.answered.fetch_add(1, Relaxed);
        if self.is(Mode::Together) {
            self.stay_with_client();
        }
        if !self.is(Mode::Together) {
            self.park();
        }
    }

    /// The companion parks until it is wanted, or the mount gone.
    fn park(&self) {
        let mut state = self.lock();
        state.companion_is_parked = true;
        self.companion_rests.store(true, Relaxed);
        let unwanted = |state: &mut State| state.mode != Mode::Together && !state.ended;
        let waited = self.changed.wait_while(state, unwanted);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.companion_is_parked = false;
        self.companion_rests.store(false, Relaxed);
        FOLLOWER.set(Follower::new());
    }

    fn stay_with_client(&self) {
        if !self.streak.is_nearly_one_client() {
            let mut state = self.lock();
            if state.mode == Mode::Together {
                self.enter(&mut state, Mode::Apart);
            }
            return;
        }
        let client = self.streak.client();
        if !FOLLOWER.with_borrow_mut(|follower| follower.is_to_look(client)) {
            return;
        }
        let crowded = self.is_crowded(0);
        let processor = sched::processor_of(client).filter(|cpu| self.processors.is_set(*cpu));
        match FOLLOWER.with_borrow_mut(|follower| follower.looked(client, processor, crowded)) {
            Verdict::Stay => {}
            Verdict::Move(cpu) => {
                let mut there = CpuSet::new();
                there.set(cpu);
                let _ = rustix::thread::sched_setaffinity(None, &there);
            }
            Verdict::Leave => self.fail(&mut self.lock()),
        }
    }

    /// It does not work out: stays apart for a while, each time longer.
    fn fail(&self, state: &mut State) {
        if state.mode == Mode::Apart {
            return;
        }
        self.enter(state, Mode::Apart);
        state.not_before = Instant::now() + state.pause;
        state.pause = (state.pause * 2).min(LONGEST_PAUSE);
    }

    fn enter(&self, state: &mut State, mode: Mode) {
        if state.mode == Mode::Together {
            self.let_roam(state);
            self.streak.forget();
            if state.since.elapsed() > WELL {
                state.pause = FIRST_PAUSE;
            }
        }
        state.mode = if state.ended { Mode::Apart } else { mode };
        self.mode.store(state.mode as u8, Relaxed);
        self.changed.notify_all();
    }

    /// Takes the companion's processor from it, which others may want.
    fn let_roam(&self, state: &State) {
        if let Companion::Is(thread) = state.companion {
            let _ = rustix::thread::sched_setaffinity(Some(thread), &self.processors);
        }
    }

    /// Whether a request waits within this time, if there is a limit, or the device has failed.
    fn somebody_waits(&self, within: Option<Timespec>) -> bool {
        let mut device = [PollFd::new(&self.device, PollFlags::IN)];
        rustix::event::poll(&mut device, within.as_ref()) != Ok(0)
    }

    /// Whether more threads want to run than there are processors, and these beside them. Nobody knows: it may be.
    fn is_crowded(&self, beside: u32) -> bool {
        sched::running().is_none_or(|n| n > self.processors.count() + beside)
    }

    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Relaxed) == mode as u8
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `false`: the calling worker is what it was.
fn become_companion() -> bool {
    let able = threads::appoint_deputy().is_ok() && sched::give_way(SLICE).is_ok();
    if !able {
        threads::dismiss_deputy();
    }
    able
}
