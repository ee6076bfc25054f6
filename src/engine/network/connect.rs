//! `network connect`.

use super::change::{self, Held};
use super::{Shown, find};
use crate::engine::container::network;
use crate::engine::request::{CreateRequest, Join, NetworkMode};
use crate::engine::{Engine, Error, Result};
use crate::shim::launch::Member;
use crate::shim::network::change::Change;
use crate::store::network::NetworkRecord;

/// The container is in one more network: at once where it runs, else from its next start on. `asked` is what it wants
/// there; its `network` is what the user typed.
///
/// Recorded first, then done: a command that is killed between the two may be given once more.
pub fn connect(engine: &Engine, container: &str, asked: &Join) -> Result<()> {
    let network = find(engine, &asked.network)?;
    let held = Held::find(engine, container, "connect")?;
    refuse(&network, &held.request)?;
    let Some(record) = &network.record else { return connect_mode(engine, &network, &held) };
    let join = Join { network: network.name.clone(), ..asked.clone() };
    let present = held.state().members.iter().any(|m| m.id == record.id);
    if held.runs() && present {
        // docker's words.
        return Err(Error::Network(format!(
            "endpoint with name {} already exists in network {}",
            held.record.name, network.name
        )));
    }
    let mut request = held.request.clone();
    let mut joins = Vec::with_capacity(request.joins().len() + 1);
    for other in request.joins() {
        if !is(engine, other, record) {
            joins.push(other.clone());
        }
    }
    let recorded = joins.len() < request.joins().len();
    if recorded && !held.runs() {
        // As with docker, which leaves it as it was.
        return Ok(());
    }
    joins.push(join.clone());
    request.joined = Some(joins);
    enter(engine, &held, &request, &join, record, recorded)?;
    change::tell(engine, &network, &held, "connect");
    Ok(())
}

/// What cannot be together.
fn refuse(network: &Shown, request: &CreateRequest) -> Result<()> {
    let reason = match (&request.network, network.name.as_str()) {
        (NetworkMode::Container(_), _) => change::SHARED,
        (NetworkMode::Host, "host") => return Ok(()),
        (_, "host") => change::HOST,
        (NetworkMode::Host, _) => change::SHARED,
        (NetworkMode::None, "none") => return Ok(()),
        (NetworkMode::None, _) if request.joined.is_none() => change::NONE,
        (_, "none") => change::NONE,
        _ => return Ok(()),
    };
    Err(Error::Network(reason.into()))
}

/// One of the networks without members: what a container was made with, and has left.
fn connect_mode(engine: &Engine, network: &Shown, held: &Held) -> Result<()> {
    let mut request = held.request.clone();
    let own = |mode: &NetworkMode| match mode {
        NetworkMode::Slirp(_) => network.name == "slirp",
        NetworkMode::None => network.name == "none",
        NetworkMode::Host => network.name == "host",
        NetworkMode::Container(_) | NetworkMode::Networks(_) => false,
    };
    match request.network {
        ref mode if !own(mode) => {
            return Err(Error::Network(format!(
                "network {0} is each container's own: it is chosen when the container is made (--network {0})",
                network.name
            )));
        }
        NetworkMode::Slirp(_) if request.left_slirp && !held.runs() => request.left_slirp = false,
        NetworkMode::None if request.joined.as_ref().is_some_and(Vec::is_empty) => request.joined = None,
        NetworkMode::Slirp(_) if request.left_slirp => {
            return Err(Error::Network(format!(
                "network {} cannot come back while the container runs: stop it first",
                network.name
            )));
        }
        _ => {
            return Err(Error::Network(format!(
                "endpoint with name {} already exists in network {}",
                held.record.name, network.name
            )));
        }
    }
    held.save(engine, &request)?;
    change::tell(engine, network, held, "connect");
    Ok(())
}

/// Whether a join is of this network.
pub(super) fn is(engine: &Engine, join: &Join, record: &NetworkRecord) -> bool {
    join.network == record.name || network::record(engine, &join.network).is_ok_and(|r| r.id == record.id)
}

/// Leases the address, records the network, and has the shim join it. What was done is undone when one of these fails.
fn enter(
    engine: &Engine,
    held: &Held,
    request: &CreateRequest,
    join: &Join,
    record: &NetworkRecord,
    recorded: bool,
) -> Result<()> {
    let (id, name) = (&held.record.id, held.record.name.as_str());
    let state = held.state();
    let taken = |name: &String| state.members.iter().any(|m| m.interface == *name);
    let first = usize::from(request.slirp().is_some());
    let interface = (first..).map(|n| format!("eth{n}")).find(|name| !taken(name)).unwrap_or_default();
    let member = network::member(engine, id, name, request, join, record.clone())?;
    let member = Member { interface, ..member };
    let undo = || {
        let _ = held.save(engine, &held.request);
        if !recorded {
            let _ = engine.store.release(&record.id, id);
        }
    };
    held.save(engine, request).inspect_err(|_| undo())?;
    if !held.runs() {
        return Ok(());
    }
    let mut after = state.members;
    after.push(network::state_of(&member));
    let edits = held.edits(request, &after);
    held.apply(engine, &Change::Join { member: Box::new(member), edits }).inspect_err(|_| undo())
}
