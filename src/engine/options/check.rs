//! The rules that span several options.

use super::invalid;
use crate::engine::Result;
use crate::engine::request::{CreateRequest, NamespaceMode, NetworkMode, RootfsSource, UsernsMode};
use crate::runtime::sysctl;

/// Checks a complete request; to be called once by `create`, before anything is made.
pub fn check(request: &CreateRequest) -> Result<()> {
    if let (Some(name), false) = (&request.hostname, request.uts == NamespaceMode::Private) {
        return Err(invalid("hostname", name, "conflicting options: hostname and the UTS mode"));
    }
    if let RootfsSource::Directory { path, write_through: true } = &request.rootfs
        && path.components().count() == 1
    {
        return Err(invalid(
            "rootfs",
            "/:rw",
            "the host's own root is never written through; leave `:rw` out",
        ));
    }
    network(request)?;
    joined_from_inside(request)?;
    // Joined is not the host's, so setting it harms no one outside.
    let own = sysctl::Own {
        network: request.network != NetworkMode::Host,
        ipc: request.ipc != NamespaceMode::Host,
        uts: request.uts != NamespaceMode::Host,
    };
    for name in request.sysctls.keys() {
        sysctl::check(name, own).map_err(|e| invalid("sysctl", name, e.to_string()))?;
    }
    Ok(())
}

/// What another container's processes, and its messages, belong to is out of reach of a user namespace beside theirs.
fn joined_from_inside(request: &CreateRequest) -> Result<()> {
    if request.userns == UsernsMode::Host {
        return Ok(());
    }
    for (flag, mode) in [("--pid", &request.pid), ("--ipc", &request.ipc)] {
        if matches!(mode, NamespaceMode::Container(_)) {
            let reason =
                format!("it cannot be combined with {flag} container:NAME, whose user namespace is another");
            return Err(invalid("USER mode", request.userns.words(), reason));
        }
    }
    Ok(())
}

/// docker's words where the network is another container's, or there is none that ports could be published from.
fn network(request: &CreateRequest) -> Result<()> {
    if !matches!(request.network, NetworkMode::Container(_)) {
        return Ok(());
    }
    let dns = !(request.dns.is_empty() && request.dns_search.is_empty() && request.dns_options.is_empty());
    let conflicts = [
        (request.hostname.is_some(), "hostname and the network mode"),
        (dns, "dns and the network mode"),
        (!request.add_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (
            !request.publish.is_empty() || request.publish_all,
            "port publishing and the container type network mode",
        ),
        (!request.expose.is_empty(), "port exposing and the container type network mode"),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, what)) => Err(invalid("network", "container", format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other() {
        check(&CreateRequest::default()).unwrap();
        let shared = CreateRequest {
            hostname: Some("x".into()),
            uts: NamespaceMode::Host,
            ..CreateRequest::default()
        };
        assert!(check(&shared).unwrap_err().to_string().contains("UTS"));
        let mut request = CreateRequest::default();
        request.sysctls.insert("net.core.somaxconn".into(), "5".into());
        check(&request).unwrap();
        request.network = NetworkMode::Host;
        assert!(check(&request).unwrap_err().to_string().contains("network namespace"));
    }

    #[test]
    fn another_containers_network_is_taken_as_it_is() {
        let joined =
            CreateRequest { network: NetworkMode::Container("x".into()), ..CreateRequest::default() };
        check(&joined).unwrap();
        let named = CreateRequest { hostname: Some("h".into()), ..joined.clone() };
        assert!(check(&named).unwrap_err().to_string().contains("hostname and the network mode"));
        let published = CreateRequest { publish_all: true, ..joined };
        assert!(check(&published).unwrap_err().to_string().contains("port publishing"));
    }

    #[test]
    fn the_hosts_root_is_never_written_through() {
        let rootfs = RootfsSource::Directory { path: "/".into(), write_through: true };
        assert!(check(&CreateRequest { rootfs, ..CreateRequest::default() }).is_err());
    }
}
