//! Name servers that an asker is to have instead of the host's: `--dns`.
//!
//! The forwarder asks by sockets of the host, and yet a server is asked only where the asker's own packets would get to
//! it: not on the host's loopback, nor where clouds keep credentials, and not at all where nothing leaves the network.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};

use super::resolvers::{PORT, SERVERS, Servers, TIMEOUT};
use crate::net::Config;
use crate::net::policy::{self, Route};

/// Who has servers of their own, by their address. Clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Arc<RwLock<HashMap<IpAddr, Servers>>>);

impl Upstreams {
    /// From now on `asker` has these servers; without any, those of the host. Of servers that cannot be asked nothing is
    /// left but that the host's are not asked either.
    pub fn set(&self, asker: IpAddr, given: &[IpAddr], config: &Config) {
        let servers = servers(given, config);
        let Ok(mut all) = self.0.write() else { return };
        match servers {
            Some(servers) => all.insert(asker, servers),
            None => all.remove(&asker),
        };
    }

    /// The asker has gone.
    pub fn forget(&self, asker: IpAddr) {
        if let Ok(mut all) = self.0.write() {
            all.remove(&asker);
        }
    }

    pub(super) fn of(&self, asker: IpAddr) -> Option<Servers> {
        self.0.read().ok()?.get(&asker).cloned()
    }
}

/// `None`: those of the host.
fn servers(given: &[IpAddr], config: &Config) -> Option<Servers> {
    // Whoever names this resolver among them wants what it knows.
    if given.is_empty() || given.iter().any(|server| config.is_dns(*server)) {
        return None;
    }
    let addresses = given.iter().filter_map(|server| reached(SocketAddr::new(*server, PORT), config));
    let outbound = [config.outbound_v4.map(IpAddr::from), config.outbound_v6.map(IpAddr::from)];
    Some(Servers { addresses: addresses.take(SERVERS).collect(), timeout: TIMEOUT, outbound })
}

/// Where a socket of the host reaches what the asker means.
fn reached(server: SocketAddr, config: &Config) -> Option<SocketAddr> {
    if server.ip().is_loopback() {
        return (config.host_loopback && !config.closed).then_some(server);
    }
    match policy::route(config, server) {
        Route::Host(to) => Some(to),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{V4, V6};

    fn config() -> Config {
        let ip = |last: u8| std::net::Ipv4Addr::new(10, 0, 2, last);
        Config {
            v4: Some(V4 { address: ip(100), prefix: 24, gateway: ip(2), dns: ip(3) }),
            ..Config::default()
        }
    }

    /// The addresses that are asked; `None` is the host's choice.
    fn asked(given: &[&str], config: &Config) -> Option<Vec<String>> {
        let upstreams = Upstreams::default();
        let asker = "10.0.2.100".parse().unwrap();
        let given: Vec<IpAddr> = given.iter().map(|word| word.parse().unwrap()).collect();
        upstreams.set(asker, &given, config);
        assert!(upstreams.of("10.0.2.101".parse().unwrap()).is_none(), "somebody else's");
        let found = upstreams.of(asker).map(|s| s.addresses.iter().map(|a| a.ip().to_string()).collect());
        upstreams.forget(asker);
        assert!(upstreams.of(asker).is_none());
        found
    }

    fn these(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn servers_are_asked_where_the_asker_could() {
        let config = config();
        assert_eq!(asked(&[], &config), None);
        let four = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        assert_eq!(asked(&four, &config), these(&four[..3]));
        for closed in
            ["127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.2.7", "10.0.2.2"]
        {
            assert_eq!(asked(&[closed], &config), these(&[]), "{closed}");
            assert_eq!(asked(&[closed, "192.0.2.1"], &config), these(&["192.0.2.1"]), "{closed}");
        }
        assert_eq!(asked(&["10.0.2.3", "192.0.2.1"], &config), None, "the resolver itself");
        assert_eq!(asked(&["2001:db8::1"], &config), these(&[]), "no IPv6");
        let address = "fd00::64".parse().unwrap();
        let v6 = Some(V6 { address, prefix: 64, gateway: address, dns: address });
        assert_eq!(asked(&["2001:db8::1"], &Config { v6, ..config }), these(&["2001:db8::1"]));
    }

    #[test]
    fn the_hosts_loopback_only_where_it_was_asked_for() {
        let open = Config { host_loopback: true, ..config() };
        assert_eq!(asked(&["127.0.0.53", "10.0.2.2"], &open), these(&["127.0.0.53", "127.0.0.1"]));
        let closed = Config { closed: true, ..open };
        assert_eq!(asked(&["127.0.0.53", "10.0.2.2", "192.0.2.1"], &closed), these(&[]));
    }
}
