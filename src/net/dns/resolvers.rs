//! Whom the host asks for names at this moment: its resolv.conf(5), read again whenever it has changed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::upstreams::Upstreams;

/// As many as the C library asks.
pub(super) const SERVERS: usize = 3;
/// What is read of the file, in bytes.
const LIMIT: u64 = 64 << 10;
/// How long a server may take before the next one is asked, and the bounds of what the file says.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST: u64 = 5;
pub(super) const PORT: u16 = 53;

/// The servers and how patiently they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Servers {
    /// Empty only where nobody is to be asked: without any in the file the C library asks this host.
    pub addresses: Vec<SocketAddr>,
    pub timeout: Duration,
    /// Address of the host that they are asked from, of each family, where it is not the one that its routes choose.
    pub outbound: [Option<IpAddr>; 2],
}

impl Servers {
    /// Where the socket that asks `server` has to be bound.
    pub(super) fn outbound(&self, server: IpAddr) -> Option<IpAddr> {
        let like = |from: &&IpAddr| from.is_ipv4() == server.is_ipv4() && !server.is_loopback();
        self.outbound.iter().flatten().find(like).copied()
    }
}

/// The file, and what it said when it was last read.
#[derive(Debug)]
pub struct Resolvers {
    path: PathBuf,
    seen: Option<(Stamp, Servers)>,
    /// Who asks others.
    upstreams: Upstreams,
}

/// What tells one state of a file from another.
type Stamp = (u64, u64, u64, i64, i64);

impl Resolvers {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: None, upstreams: Upstreams::default() }
    }

    /// Nobody is asked: what is not known is not found out.
    pub fn nobody() -> Self {
        Self::new(PathBuf::new())
    }

    /// But for those who have servers of their own.
    #[must_use]
    pub fn apart_from(self, upstreams: Upstreams) -> Self {
        Self { upstreams, ..self }
    }

    /// Whom to ask for this asker.
    pub(super) fn of(&mut self, asker: Option<IpAddr>) -> Servers {
        asker.and_then(|asker| self.upstreams.of(asker)).unwrap_or_else(|| self.now())
    }

    /// One look at the file's state for each query.
    fn now(&mut self) -> Servers {
        if self.path.as_os_str().is_empty() {
            return Servers { addresses: Vec::new(), timeout: TIMEOUT, outbound: [None; 2] };
        }
        let stamp =
            fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        match (&self.seen, stamp) {
            (Some((seen, servers)), Some(stamp)) if *seen == stamp => servers.clone(),
            (_, stamp) => {
                let servers = parse(&self.read());
                self.seen = stamp.map(|stamp| (stamp, servers.clone()));
                servers
            }
        }
    }

    fn read(&self) -> String {
        use std::io::Read;
        let mut bytes = Vec::new();
        let _ = fs::File::open(&self.path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn parse(text: &str) -> Servers {
    let mut servers = Servers { addresses: Vec::new(), timeout: TIMEOUT, outbound: [None; 2] };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") if servers.addresses.len() < SERVERS => {
                servers.addresses.extend(words.next().and_then(address));
            }
            Some("options") => {
                let seconds = words.find_map(|w| w.strip_prefix("timeout:")).and_then(|n| n.parse().ok());
                servers.timeout =
                    seconds.map_or(servers.timeout, |n: u64| Duration::from_secs(n.clamp(1, LONGEST)));
            }
            _ => {}
        }
    }
    if servers.addresses.is_empty() {
        servers.addresses.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// Link-local ones carry their interface: `fe80::1%eth0`.
fn address(word: &str) -> Option<SocketAddr> {
    match word.split_once('%') {
        None => Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT)),
        Some((ip, scope)) => {
            let scope = scope.parse().ok().or_else(|| index(scope))?;
            Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope).into())
        }
    }
}

fn index(interface: &str) -> Option<u32> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    rustix::net::netdevice::name_to_index(socket.ok()?, interface).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_the_c_library_does() {
        let text = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver  fd01::1\nnameserver nonsense\n\
                    options edns0 timeout:1 trust-ad\nnameserver fe80::1%lo\nnameserver 9.9.9.9\n";
        let servers = parse(text);
        let shown: Vec<String> = servers.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.53:53", "[fd01::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(servers.timeout, Duration::from_secs(1));
        assert_eq!(parse("").addresses, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(parse("options timeout:0\noptions timeout:x\n").timeout, Duration::from_secs(1));
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut resolvers = Resolvers::new(&path);
        assert_eq!(resolvers.now().addresses, ["127.0.0.1:53".parse().unwrap()], "no file");
        let write = |text: &str| {
            let mut file = fs::File::create(&path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        write("nameserver 192.0.2.1\n");
        assert_eq!(resolvers.now().addresses, ["192.0.2.1:53".parse().unwrap()]);
        write("nameserver 192.0.2.17\n");
        assert_eq!(resolvers.now().addresses, ["192.0.2.17:53".parse().unwrap()]);
    }
}
