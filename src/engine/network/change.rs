//! What `connect` and `disconnect` have in common: the container, kept from starting and going meanwhile, what is
//! recorded of its networks, and what of its files is another thing afterwards.

use std::collections::BTreeMap;

use crate::engine::container::stored::Stored;
use crate::engine::container::{find, network};
use crate::engine::request::{CreateRequest, NetworkMode};
use crate::engine::{Engine, Error, Result, spec};
use crate::shim::network::change::{Change, Edit};
use crate::shim::{self, client};
use crate::store::container::network::{Addresses, Member, Network};
use crate::store::container::{ContainerRecord, Observed, Status};
use crate::store::events::Event;
use crate::store::lock::OperationLock;

/// docker's words.
pub(super) const HOST: &str =
    "container cannot be disconnected from host network or connected to host network";
pub(super) const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";
pub(super) const NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// A container whose networks are changed.
pub(super) struct Held {
    pub record: ContainerRecord,
    pub observed: Observed,
    pub request: CreateRequest,
    /// Two at once come one after the other, and no start comes between.
    #[allow(dead_code, reason = "held, not read")]
    lock: OperationLock,
}

impl Held {
    /// `verb` is for messages.
    pub(super) fn find(engine: &Engine, word: &str, verb: &'static str) -> Result<Self> {
        let (record, _) = find::find(engine, word)?;
        let gone = |e| match e {
            crate::store::Error::NoSuchContainer(_) => Error::NoSuchContainer(word.into()),
            other => other.into(),
        };
        let lock = engine.store.operation_lock(&record.id).map_err(gone)?;
        let (record, observed) = find::settled(engine, record.id.as_str(), verb)?;
        let request = Stored::of(&record)?.request()?;
        let mut held = Self { record, observed, request, lock };
        if held.runs() {
            // A command that was killed may have left the shim at work, which does one thing after the other, and what
            // it says holds is only true afterwards.
            held.apply(engine, &Change::Rename(BTreeMap::new()))?;
            held.observed = find::settled(engine, held.record.id.as_str(), verb)?.1;
        }
        Ok(held)
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.observed.status, Status::Running | Status::Paused | Status::Restarting)
    }

    /// As it is while the container runs.
    pub(super) fn state(&self) -> Network {
        self.observed.network.clone().unwrap_or_default()
    }

    /// From its next start on the container is in these networks.
    pub(super) fn save(&self, engine: &Engine, request: &CreateRequest) -> Result<()> {
        let parts = Stored::of(&self.record)?.with_request(request)?;
        Ok(engine.store.change_request(&self.record.id, &parts)?)
    }

    /// Has its shim make the change. One that has just ended is as if it had not been running.
    pub(super) fn apply(&self, engine: &Engine, change: &Change) -> Result<()> {
        let dir = engine.store.container_dir(&self.record.id);
        match client::connect(&dir).and_then(|socket| client::change_network(&socket, change)) {
            Ok(()) | Err(shim::Error::Gone) => {}
            Err(e) => return Err(e.into()),
        }
        if let Change::Join { edits, .. } | Change::Leave { edits, .. } = change
            && !edits.is_empty()
        {
            self.tell_sharers(engine, edits);
        }
        Ok(())
    }

    /// Those who share the container's network have its files, and the files follow there too. That one of them cannot
    /// be told, as when it has just ended, undoes nothing.
    fn tell_sharers(&self, engine: &Engine, edits: &[Edit]) {
        let sharers: Vec<_> = engine
            .store
            .containers()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|record| {
                let request = Stored::of(&record).and_then(|stored| stored.request()).ok()?;
                let NetworkMode::Container(word) = &request.network else { return None };
                let owner = find::find(engine, word).ok()?.0.id;
                Some((record.id, request, owner))
            })
            .collect();
        let mut told = vec![self.record.id.clone()];
        let mut at = 0;
        while let Some(owner) = told.get(at).cloned() {
            at += 1;
            for (id, request, _) in sharers.iter().filter(|(_, _, of)| *of == owner) {
                if told.contains(id) {
                    continue;
                }
                told.push(id.clone());
                let edits = edits.iter().filter(|edit| !is_users(request, &edit.path)).cloned().collect();
                let socket = client::connect(&engine.store.container_dir(id));
                let _ = socket.and_then(|socket| client::change_network(&socket, &Change::Files(edits)));
            }
        }
    }

    /// What of the container's files changes when its networks become these. Files that the user put there are the
    /// user's.
    pub(super) fn edits(&self, request: &CreateRequest, after: &[Member]) -> Vec<Edit> {
        let before = self.state();
        let own = before.addresses.filter(|_| self.request.slirp().is_some());
        let place = |first: Option<Addresses>, members: &[Member]| spec::Place {
            addresses: first,
            others: members.iter().map(|m| m.addresses).filter(|a| Some(*a) != first).collect(),
            ..spec::Place::new(self.record.id.as_str())
        };
        let old = spec::texts(&self.request, &place(before.addresses, &before.members));
        let first = own.filter(|_| request.slirp().is_some()).or_else(|| network::first_of(after));
        let new = spec::texts(request, &place(first, after));
        let edits = old.into_iter().zip(new).filter(|((path, _), _)| !is_users(request, path));
        edits.filter_map(|((path, old), (_, new))| difference(path, &old, &new)).collect()
    }
}

/// Whether the user has put something of their own there.
fn is_users(request: &CreateRequest, path: &str) -> bool {
    request.mounts.iter().any(|m| m.target() == std::path::Path::new(path))
}

/// Lines of which there are more in the one than in the other.
fn difference(path: &str, old: &str, new: &str) -> Option<Edit> {
    let only = |these: &str, those: &str| {
        let mut those: Vec<&str> = those.lines().collect();
        let mut left = Vec::new();
        for line in these.lines() {
            match those.iter().position(|l| *l == line) {
                Some(at) => drop(those.swap_remove(at)),
                None => left.push(line.to_owned()),
            }
        }
        left
    };
    let edit = Edit { path: path.to_owned(), remove: only(old, new), add: only(new, old) };
    (!edit.remove.is_empty() || !edit.add.is_empty()).then_some(edit)
}

/// `connect` or `disconnect`, for the log: docker's attributes.
pub(super) fn tell(engine: &Engine, network: &super::Shown, held: &Held, action: &str) {
    let attributes =
        [("container", held.record.id.as_str()), ("name", &network.name), ("type", network.driver)];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    // What happened has happened.
    let _ = engine.store.append_event(&Event::new("network", action, &network.id, attributes.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ() {
        let edit = difference("/x", "a\nb\nb\n", "b\nc\na\n").unwrap();
        assert_eq!((edit.remove, edit.add), (vec!["b".to_owned()], vec!["c".to_owned()]));
        assert_eq!(difference("/x", "a\nb\n", "b\na\n"), None);
    }
}
