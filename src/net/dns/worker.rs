//! The thread that answers: what it knows at once, the rest when the host's resolvers have answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::lookup::{Lookup, Progress, Transport};
use super::message::{self, Asked, Question};
use super::names::Names;
use super::resolvers::Resolvers;
use super::stream::{Stream, Wants};
use crate::net::handle::{Handle, Query, ReplyTo};
use crate::sys::poll::Poller;
use crate::sys::{self, inet};

/// Queries that may be under way at a time, and connections that may be open.
const LOOKUPS: usize = 1024;
const STREAMS: usize = 2048;
/// How often what waits for names to be gathered is looked at.
const STEP: Duration = Duration::from_millis(10);
/// The wake-up's number; all others count from the next one.
const WAKE: u64 = 0;

/// Everything the thread has.
pub(super) struct Worker {
    queries: mpsc::Receiver<Query>,
    wake: Arc<OwnedFd>,
    handle: Handle,
    names: Names,
    resolvers: Resolvers,
    poller: Poller,
    lookups: HashMap<u64, (Origin, Lookup)>,
    streams: HashMap<u64, Stream>,
    /// Queries for names that somebody may be about to tell, and when to look again.
    early: Vec<(Origin, Vec<u8>)>,
    again: Option<Instant>,
    /// Numbers are not used twice, so an event of something that is gone means nothing.
    next: u64,
    buffer: Vec<u8>,
}

/// Whom an answer goes to.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Datagram(ReplyTo),
    Stream(u64),
}

impl Worker {
    pub(super) fn new(
        queries: mpsc::Receiver<Query>,
        wake: Arc<OwnedFd>,
        handle: Handle,
        names: Names,
        resolvers: Resolvers,
    ) -> sys::Result<Self> {
        let poller = Poller::new()?;
        poller.add_readable(&wake, WAKE)?;
        Ok(Self {
            queries,
            wake,
            handle,
            names,
            resolvers,
            poller,
            lookups: HashMap::new(),
            streams: HashMap::new(),
            early: Vec::new(),
            again: None,
            next: WAKE + 1,
            buffer: vec![0; message::LONGEST],
        })
    }

    /// Until nobody can ask any more, or the kernel refuses to wait.
    pub(super) fn run(&mut self) {
        loop {
            let now = Instant::now();
            let timeout =
                self.deadline().map(|at| at.saturating_duration_since(now) + Duration::from_millis(1));
            if self.poller.wait(timeout).is_err() {
                return;
            }
            let now = Instant::now();
            let mut at = 0;
            while let Some((number, _)) = self.poller.event(at) {
                at += 1;
                match number {
                    WAKE if !self.take(now) => return,
                    WAKE => {}
                    number if self.streams.contains_key(&number) => self.drive(number, now),
                    number => self.advance(number, now),
                }
            }
            self.expire(now);
        }
    }

    /// What can be said without asking.
    fn known(&self, origin: Origin, query: &[u8], question: &Question) -> Option<Vec<u8>> {
        if !question.is_internet() {
            return None;
        }
        let asker = self.asker(origin)?;
        if let Some(addresses) = self.names.find(&question.name, asker) {
            return Some(message::answer_addresses(query, question, &addresses));
        }
        question.is_single_label().then(|| message::answer(query, question, message::NO_SUCH_NAME))
    }

    fn asker(&self, origin: Origin) -> Option<IpAddr> {
        match origin {
            Origin::Datagram(to) => Some(to.client.ip()),
            Origin::Stream(number) => self.streams.get(&number).map(|stream| stream.client),
        }
    }

    /// Whether the name may be told in a moment.
    fn is_early(&self, origin: Origin, question: &Question, now: Instant) -> bool {
        let missing = |asker| self.names.find(&question.name, asker).is_none();
        !self.names.are_gathered(now)
            && question.is_internet()
            && self.early.len() < LOOKUPS
            && self.asker(origin).is_some_and(missing)
    }

    fn deadline(&self) -> Option<Instant> {
        let lookups = self.lookups.values().map(|(_, lookup)| lookup.deadline());
        lookups.chain(self.streams.values().filter_map(Stream::deadline)).chain(self.again).min()
    }

    /// Queries that have come in. `false`: there will be no more.
    fn take(&mut self, now: Instant) -> bool {
        inet::lower(&self.wake);
        loop {
            match self.queries.try_recv() {
                Ok(Query::Datagram { from, bytes }) => self.begin(Origin::Datagram(from), bytes, now),
                Ok(Query::Stream { socket, client }) => self.open(socket, client.ip(), now),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn open(&mut self, socket: OwnedFd, client: IpAddr, now: Instant) {
        if self.streams.len() >= STREAMS {
            // The one that has been idle longest.
            let oldest = self.streams.iter().filter_map(|(n, s)| Some((s.deadline()?, *n))).min();
            let Some((_, oldest)) = oldest else { return };
            self.streams.remove(&oldest);
        }
        let number = self.number();
        if self.poller.add_edge(&socket, number).is_ok() {
            self.streams.insert(number, Stream::new(socket, client, now));
            self.drive(number, now);
        }
    }

    /// A connection goes on, query after query as long as they are answered at once.
    fn drive(&mut self, number: u64, now: Instant) {
        while let Some(stream) = self.streams.get_mut(&number) {
            match stream.ready(&mut self.buffer) {
                Wants::Nothing => return,
                Wants::End => drop(self.streams.remove(&number)),
                Wants::Answer(query) => self.begin(Origin::Stream(number), query, now),
            }
        }
    }

    /// A query is answered, or begins to be looked up.
    fn begin(&mut self, origin: Origin, query: Vec<u8>, now: Instant) {
        let question = match message::asked(&query) {
            Asked::Question(question) => question,
            Asked::Bad(answer) => return self.answer(origin, Some(answer), now),
            Asked::Nothing => return self.answer(origin, None, now),
        };
        if self.is_early(origin, &question, now) {
            self.early.push((origin, query));
            self.again.get_or_insert(now + STEP);
            return;
        }
        if let Some(answer) = self.known(origin, &query, &question) {
            return self.answer(origin, Some(answer), now);
        }
        if self.lookups.len() >= LOOKUPS {
            let busy = message::answer(&query, &question, message::SERVER_FAILURE);
            return self.answer(origin, Some(busy), now);
        }
        let transport = match origin {
            Origin::Datagram(_) => Transport::Udp,
            Origin::Stream(_) => Transport::Tcp,
        };
        let servers = self.resolvers.of(self.asker(origin));
        let mut lookup = Lookup::new(query, transport, servers, now);
        let progress = lookup.next(now);
        let number = self.number();
        self.lookups.insert(number, (origin, lookup));
        self.follow(number, progress, now);
    }

    /// A lookup goes on.
    fn advance(&mut self, number: u64, now: Instant) {
        let Some((origin, lookup)) = self.lookups.get_mut(&number) else { return };
        let (origin, progress) = (*origin, lookup.ready(&mut self.buffer, now));
        self.follow(number, progress, now);
        self.resume(origin, now);
    }

    /// A connection may have its answer.
    fn resume(&mut self, origin: Origin, now: Instant) {
        if let Origin::Stream(number) = origin {
            self.drive(number, now);
        }
    }

    fn follow(&mut self, number: u64, progress: Progress, now: Instant) {
        match progress {
            Progress::Waits => {}
            Progress::Moved => {
                let Some((origin, lookup)) = self.lookups.remove(&number) else { return };
                // Another number: events of the former socket are none of the new one's.
                let number = self.number();
                let watched = lookup.socket().map(|socket| self.poller.add_edge(socket, number));
                if matches!(watched, Some(Ok(()))) {
                    self.lookups.insert(number, (origin, lookup));
                } else {
                    self.fail(origin, &lookup, now);
                }
            }
            Progress::Ended(answer) => {
                let Some((origin, lookup)) = self.lookups.remove(&number) else { return };
                match answer {
                    Some(answer) => self.answer(origin, Some(answer), now),
                    None => self.fail(origin, &lookup, now),
                }
            }
        }
    }

    fn fail(&mut self, origin: Origin, lookup: &Lookup, now: Instant) {
        let failure = match message::asked(lookup.query()) {
            Asked::Question(q) => Some(message::answer(lookup.query(), &q, message::SERVER_FAILURE)),
            _ => None,
        };
        self.answer(origin, failure, now);
    }

    /// Without an answer a connection ends, and a datagram is as if it had been lost.
    fn answer(&mut self, origin: Origin, answer: Option<Vec<u8>>, now: Instant) {
        match (origin, answer) {
            (Origin::Datagram(to), Some(answer)) => self.handle.answer(to, answer),
            (Origin::Datagram(_), None) => {}
            (Origin::Stream(number), Some(answer)) => {
                if let Some(stream) = self.streams.get_mut(&number) {
                    stream.answer(&answer, now);
                }
            }
            (Origin::Stream(number), None) => drop(self.streams.remove(&number)),
        }
    }

    fn expire(&mut self, now: Instant) {
        self.streams.retain(|_, stream| stream.deadline().is_none_or(|at| at > now));
        if self.again.is_some_and(|at| at <= now) {
            self.again = None;
            for (origin, query) in std::mem::take(&mut self.early) {
                self.begin(origin, query, now);
                self.resume(origin, now);
            }
        }
        let late: Vec<u64> = self
            .lookups
            .iter()
            .filter(|(_, (_, l))| l.deadline() <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let Some((origin, lookup)) = self.lookups.get_mut(&number) else { continue };
            let (origin, progress) = (*origin, lookup.expire(now));
            self.follow(number, progress, now);
            self.resume(origin, now);
        }
    }
}
