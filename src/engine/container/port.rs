//! `port`: where a container's published ports are reached on the host.

use super::find;
use crate::engine::{Engine, Error, Result};
use crate::store::container::network::{Protocol, PublishedPort};

/// All of them, or those of one port of the container's. None of that port is an error in docker's words.
pub fn port(engine: &Engine, container: &str, only: Option<(u16, Protocol)>) -> Result<Vec<PublishedPort>> {
    let (_, observed) = find::settled(engine, container, "read the ports of")?;
    let mut ports = observed.network.unwrap_or_default().ports;
    ports.sort_by_key(|p| (p.container_port, p.protocol, p.host_port, p.host_ip));
    let Some((number, protocol)) = only else { return Ok(ports) };
    ports.retain(|p| (p.container_port, p.protocol) == (number, protocol));
    if ports.is_empty() {
        let port = format!("{number}/{}", protocol.name());
        return Err(Error::NotPublished { port, container: container.to_owned() });
    }
    Ok(ports)
}
