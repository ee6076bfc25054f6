//! What the container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` say. Rendering only.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::Place;
use crate::engine::options::HOST_GATEWAY;
use crate::engine::request::{CreateRequest, NetworkMode};
use crate::shim::network::HOST_NAMES;

/// docker's fixed lines.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                     ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The files that every container gets.
pub(super) const PATHS: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// [`PATHS`] and their texts.
pub fn texts(request: &CreateRequest, place: &Place) -> [(&'static str, String); 3] {
    let [hosts, hostname, resolver] = PATHS;
    [
        (hosts, hosts_file(request, place)),
        (hostname, format!("{}\n", super::hostname(request, place))),
        (resolver, resolv_conf(request, place)),
    ]
}

/// `/etc/hosts`: docker's lines, or with the host's network its own file; then the host's names, `--add-host`, and
/// the container's own name.
pub(super) fn hosts_file(request: &CreateRequest, place: &Place) -> String {
    if let Some(shared) = &place.shared {
        return shared.hosts.clone();
    }
    let mut text = match request.network {
        NetworkMode::Host => place.host_hosts.clone(),
        _ => HOSTS.to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Where the network is the host's, the host is on loopback; where there is none, it is nowhere.
    let gateway = match (&request.network, &place.addresses) {
        (NetworkMode::Host, _) => Some(Ipv4Addr::LOCALHOST),
        (_, addresses) => addresses.map(|a| a.ipv4.gateway),
    };
    let mut line = |address: &dyn std::fmt::Display, names: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    };
    if let Some(gateway) = gateway {
        let given = |name: &&&str| !request.add_hosts.iter().any(|(known, _)| known == **name);
        let names: Vec<&str> = HOST_NAMES.iter().filter(given).copied().collect();
        if !names.is_empty() {
            line(&gateway, &names.join(" "));
        }
    }
    // Without a gateway the name is left out, and the user told: `network::hostless`.
    for (name, address) in &request.add_hosts {
        match (address.as_str(), gateway) {
            (HOST_GATEWAY, Some(gateway)) => line(&gateway, name),
            (HOST_GATEWAY, None) => {}
            (address, _) => line(&address, name),
        }
    }
    for addresses in place.addresses.iter().chain(&place.others) {
        let name = super::hostname(request, place);
        line(&addresses.ipv4.address, &name);
        if let Some(ipv6) = &addresses.ipv6 {
            line(&ipv6.address, &name);
        }
    }
    text
}

/// `/etc/resolv.conf` from the host's and the `--dns*` options. In a network of kelp's the name server is kelp's own,
/// which asks those of `--dns`, or the host's of the moment ([`are_named`] tells the exception). Without a network, name
/// servers on loopback are left out: the host's loopback is not the container's.
pub(super) fn resolv_conf(request: &CreateRequest, place: &Place) -> String {
    if let Some(shared) = &place.shared {
        return shared.resolv_conf.clone();
    }
    let host = &place.host_resolv_conf;
    let shares_network = request.network == NetworkMode::Host;
    if shares_network
        && request.dns.is_empty()
        && request.dns_search.is_empty()
        && request.dns_options.is_empty()
    {
        return host.clone();
    }
    let values = |keyword: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(keyword));
        lines.filter(|rest| rest.starts_with([' ', '\t'])).map(|rest| rest.trim().to_owned()).collect()
    };
    let words = |lines: Option<&String>| -> Vec<String> {
        lines.map(|l| l.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    let reachable = |address: &String| shares_network || !is_loopback(address);
    let servers = match (&place.addresses, request.dns.is_empty()) {
        (Some(addresses), true) => vec![addresses.ipv4.dns.to_string()],
        (None, true) => values("nameserver").into_iter().filter(reachable).collect(),
        (Some(addresses), false) if !are_named(request, place) => vec![addresses.ipv4.dns.to_string()],
        (_, false) => request.dns.clone(),
    };
    // The last line counts, as the resolver has it.
    let search = match request.dns_search.as_slice() {
        [] => words(values("search").last().or(values("domain").last())),
        // `--dns-search .` is docker's way to say none.
        [dot] if dot == "." => Vec::new(),
        given => given.to_vec(),
    };
    let mut options = match request.dns_options.is_empty() {
        true => values("options").iter().flat_map(|line| words(Some(line))).collect(),
        false => request.dns_options.clone(),
    };
    // A neighbour's name is no part of a search domain: it is asked for as it is, first, and goes to nobody outside.
    let names_neighbours = place.addresses.is_some_and(|a| servers == [a.ipv4.dns.to_string()]);
    if names_neighbours && !request.joins().is_empty() && !request.dns_options.iter().any(|o| is_ndots(o)) {
        options.retain(|option| !is_ndots(option));
        options.push("ndots:0".into());
    }
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn is_ndots(option: &str) -> bool {
    option.starts_with("ndots:")
}

/// Whether the container asks the servers of `--dns` itself, and nobody in between: kelp's resolver has its sockets on
/// the host, from where it reaches neither a server in one of the container's networks, as another container is, nor
/// one on the container's own loopback. The host's loopback is another one, which is meant where it was asked for.
fn are_named(request: &CreateRequest, place: &Place) -> bool {
    let opens_loopback = request.slirp().is_some_and(|slirp| slirp.host_loopback);
    let networks = || place.addresses.iter().chain(&place.others);
    request.dns.iter().any(|server| is_loopback(server) && !opens_loopback)
        || request.name_servers().iter().any(|server| networks().any(|network| network.has(*server)))
}

fn is_loopback(address: &str) -> bool {
    // A link-local server may carry its interface: `fe80::1%eth0`.
    let bare = address.split('%').next().unwrap_or(address);
    bare.parse::<IpAddr>().is_ok_and(|ip| match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    })
}
