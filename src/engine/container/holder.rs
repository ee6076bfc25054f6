//! Who has a port of the host's that a container was to have, as far as the user may know.

use std::fs;
use std::net::SocketAddr;

use super::ps;
use crate::engine::Engine;
use crate::shim::protocol::TakenPort;
use crate::store::container::network::{Protocol, PublishedPort};

/// The state of a listening socket in `/proc/net/tcp`, and of an unconnected one in `/proc/net/udp`.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";

/// The message, with the holder's name where one is found.
pub(super) fn named(engine: &Engine, message: String, taken: Option<TakenPort>) -> String {
    let Some(taken) = taken else { return message };
    match container(engine, &taken).or_else(|| program(&taken)) {
        Some(holder) => format!("{message} by {holder}"),
        None => message,
    }
}

fn container(engine: &Engine, taken: &TakenPort) -> Option<String> {
    let running = ps::list(engine, &ps::Query::default()).ok()?;
    let has = |p: &PublishedPort| p.protocol == taken.protocol && p.host_port == taken.address.port();
    let holder = running.into_iter().find(|c| c.ports.iter().any(has))?;
    Some(format!("container {}", holder.name))
}

/// One of the user's own processes: other users' descriptors cannot be seen.
fn program(taken: &TakenPort) -> Option<String> {
    let (tables, state) = match taken.protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENING),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
    };
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| inodes(&table, taken.address, state))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut links = descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        if links.any(|link| inodes.iter().any(|inode| link.to_str() == Some(inode))) {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", comm.trim_end()));
        }
    }
    None
}

/// `socket:[INODE]` of the sockets at that port. The local address is the second word, `ADDRESS:PORT` in hexadecimal.
fn inodes(table: &str, at: SocketAddr, state: &str) -> Vec<String> {
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = u16::from_str_radix(words.get(1)?.rsplit(':').next()?, 16).ok()?;
        let matches = port == at.port() && *words.get(3)? == state;
        matches.then(|| words.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_process_is_found() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let found = program(&TakenPort { address, protocol: Protocol::Tcp }).unwrap();
        assert!(found.starts_with(&format!("process {} (", std::process::id())), "{found}");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        assert!(program(&TakenPort { address, protocol: Protocol::Udp }).is_some());
    }

    #[test]
    fn odd_tables_hold_nothing() {
        let at = "127.0.0.1:80".parse().unwrap();
        for table in [
            "",
            "head\n\n",
            "head\n0: 0100007F:0050",
            "head\n0: x:zz 0:0 0A",
            "head\n0: 1:0050 0:0 01 a b c d e 9",
        ] {
            assert!(inodes(table, at, LISTENING).is_empty(), "{table}");
        }
    }
}
