//! `network disconnect`.

use super::change::{self, Held};
use super::{Shown, find};
use crate::engine::request::{CreateRequest, NetworkMode};
use crate::engine::{Engine, Error, Result};
use crate::shim::network::change::{Change, OWN};

/// The container is in one network less: at once where it runs. `force`: also one that does not exist any more.
///
/// Done first, then recorded, so that nobody is given the address of one who still has it.
pub fn disconnect(engine: &Engine, word: &str, container: &str, force: bool) -> Result<()> {
    let network = match find(engine, word) {
        Err(e) if e.is_missing() && force => None,
        other => Some(other?),
    };
    let held = Held::find(engine, container, "disconnect")?;
    let Some(network) = network else { return forget(engine, word, &held) };
    if matches!(held.request.network, NetworkMode::Host) && network.name == "host" {
        return Err(Error::Network(change::HOST.into()));
    }
    let Some(record) = &network.record else { return disconnect_mode(engine, &network, &held) };
    let request = without(&held.request, |join| super::connect::is(engine, join, record));
    let state = held.state();
    let present = state.members.iter().any(|m| m.id == record.id);
    if !present && request.is_none() {
        return Err(not_connected(&held, &network.name));
    }
    let request = request.unwrap_or_else(|| held.request.clone());
    if held.runs() && present {
        let after: Vec<_> = state.members.into_iter().filter(|m| m.id != record.id).collect();
        let edits = held.edits(&request, &after);
        held.apply(engine, &Change::Leave { network: record.id.clone(), edits })?;
    }
    held.save(engine, &request)?;
    engine.store.release(&record.id, &held.record.id)?;
    change::tell(engine, &network, &held, "disconnect");
    Ok(())
}

/// The request without the joins that are meant; `None` where there are none.
fn without(
    request: &CreateRequest,
    is: impl Fn(&crate::engine::request::Join) -> bool,
) -> Option<CreateRequest> {
    let left: Vec<_> = request.joins().iter().filter(|join| !is(join)).cloned().collect();
    (left.len() < request.joins().len()).then(|| CreateRequest { joined: Some(left), ..request.clone() })
}

/// docker's words, which are not the same for both.
fn not_connected(held: &Held, network: &str) -> Error {
    let article = if held.runs() { "" } else { "the " };
    Error::Network(format!("container {} is not connected to {article}network {network}", held.record.id))
}

/// A network that was removed while the container did not run.
fn forget(engine: &Engine, word: &str, held: &Held) -> Result<()> {
    match without(&held.request, |join| join.network == word) {
        Some(request) => held.save(engine, &request),
        None => Err(Error::Network(format!(
            "container {} is not connected to the network {word}",
            held.record.id
        ))),
    }
}

/// What the container was made with, where that is no network with members.
fn disconnect_mode(engine: &Engine, network: &Shown, held: &Held) -> Result<()> {
    let mut request = held.request.clone();
    match (&request.network, network.name.as_str()) {
        (NetworkMode::Slirp(_), "slirp") if !request.left_slirp => request.left_slirp = true,
        (NetworkMode::None, "none") if request.joined.is_none() => request.joined = Some(Vec::new()),
        _ => return Err(not_connected(held, &network.name)),
    }
    if held.runs() && request.left_slirp {
        let edits = held.edits(&request, &held.state().members);
        held.apply(engine, &Change::Leave { network: OWN.into(), edits })?;
    }
    held.save(engine, &request)?;
    change::tell(engine, network, held, "disconnect");
    Ok(())
}
